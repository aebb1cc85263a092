//! The kernel's timestamps for frames, which it makes only while somebody on the machine asks for them.
//!
//! It begins in a work queue of its own, usually within a millisecond, later on a busy machine: asking is
//! not enough. A ring stamps its frames itself; frames on a plain socket that came before would have none.

use std::mem::size_of;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::control::{CONTROL_WORDS, ControlData};
use crate::error::checked;
use crate::packet::set_option;

/// How long to wait for the first stamp. Where the loopback interface is down none can be seen.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(500);

/// What asks for SO_TIMESTAMPING: software stamps of what is received (networking/timestamping.rst).
pub(crate) const SOFTWARE_STAMPS: u32 = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;

/// While this lives, the kernel stamps every frame.
#[derive(Debug)]
pub struct Stamping {
    /// Kept for its option alone.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is there to be open"))]
    socket: UdpSocket,
}

impl Stamping {
    /// Asks the kernel for timestamps and waits until it makes them: datagrams to ourselves tell.
    pub fn start() -> Result<Self, Errno> {
        let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &SOFTWARE_STAMPS)?;
        let ourselves = socket.local_addr().map_err(io)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // Unreachable where the loopback interface is down: then only time can help.
            socket.send_to(&[0], ourselves).ok();
            if let Ok(true) = is_stamped(&socket) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Ok(Self { socket })
    }
}

/// Whether the next datagram bears a stamp.
fn is_stamped(socket: &UdpSocket) -> Result<bool, Errno> {
    let mut data = [0_u8; 1];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut iovec = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: a msghdr is plain data for which all zeros is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
    // SAFETY: the header points to buffers of ours with their lengths, which outlive the call.
    checked(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) })?;
    Ok(ControlData::of(&header, &control).timestamp_ns.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_it_has_begun_every_datagram_is_stamped() {
        let stamping = Stamping::start().unwrap();
        let ourselves = stamping.socket.local_addr().unwrap();
        for _ in 0..100 {
            while is_stamped(&stamping.socket).is_ok() {}
            stamping.socket.send_to(&[0], ourselves).unwrap();
            assert_eq!(is_stamped(&stamping.socket), Ok(true));
        }
    }
}
