//! Datagrams of any socket: received in batches through recvmmsg(2), and what the kernel tells of those that are lost
//! (ip(7), sock_diag(7)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_int, iovec, mmsghdr, sock_extended_err};
use rustix::io::Errno;
use rustix::net::{AddressFamily, getsockname, sockopt};

use crate::error::checked;
use crate::packet::{set_option, socklen};
use crate::pages::Pages;

/// Datagrams of one call.
const BATCH: usize = 64;
/// Words of `SO_MEMINFO` (SK_MEMINFO_VARS of linux/sock_diag.h).
const MEMORY_WORDS: usize = 9;
/// Of these, the datagrams that the socket had no room for.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;

/// Words of control data: what went wrong, and where (a header of 16 bytes, 16, and an address of 28), with room to spare.
const ERROR_WORDS: usize = 16;

/// A datagram, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// Bytes that it had.
    pub len: usize,
}

/// A socket that receives, with room for a batch.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedFd,
    /// `BATCH` slots; pages that no datagram reached are never touched.
    data: Pages,
    /// Bytes kept of a datagram.
    slot: usize,
    _iovecs: Box<[iovec]>,
    messages: Box<[mmsghdr]>,
    /// Datagrams of the last call, and how many of them were advanced over.
    received: usize,
    next: usize,
    /// Losses that were told.
    told: u32,
}

// SAFETY: the raw pointers inside point into this value's own buffers, which do not move with it.
unsafe impl Send for Receiver {}

impl Receiver {
    /// Receives from a bound socket, `slot` bytes of each datagram.
    pub fn new(socket: OwnedFd, slot: usize) -> Result<Self, Errno> {
        let mut data = Pages::zeroed(BATCH * slot)?;
        let mut iovecs: Box<[iovec]> = data
            .chunks_exact_mut(slot)
            .map(|slot| iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let messages = iovecs
            .iter_mut()
            .map(|iovec| {
                // SAFETY: a msghdr is plain data for which all zeros is a valid value.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_iov = iovec;
                header.msg_iovlen = 1;
                mmsghdr { msg_hdr: header, msg_len: 0 }
            })
            .collect();
        let told = losses(&socket).unwrap_or(0);
        Ok(Self { socket, data, slot, _iovecs: iovecs, messages, received: 0, next: 0, told })
    }

    /// Whether a datagram is at hand, receiving the next batch when the last one is done. Says so in `arrived` when
    /// it received one.
    pub fn fill(&mut self, arrived: impl FnOnce()) -> Result<bool, Errno> {
        if self.next < self.received {
            return Ok(true);
        }
        (self.next, self.received) = (0, 0);
        // SAFETY: every header points to one iovec of ours with its length, and nothing borrows from the buffers while
        // `self` is borrowed mutably.
        let received = checked(unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                libc::c_uint::try_from(self.messages.len()).unwrap_or(0),
                // With MSG_TRUNC, a length is that of the datagram, however much was kept.
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        });
        match received {
            Ok(count) => self.received = usize::try_from(count).unwrap_or(0),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if self.received > 0 {
            arrived();
        }
        Ok(self.received > 0)
    }

    /// The datagrams at hand that were not advanced over.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let slots = self.data.chunks_exact(self.slot).zip(&self.messages);
        slots.take(self.received).skip(self.next).map(|(slot, message)| {
            let len = usize::try_from(message.msg_len).unwrap_or(usize::MAX);
            Datagram { bytes: &slot[..len.min(slot.len())], len }
        })
    }

    /// Steps over `count` datagrams.
    pub fn advance(&mut self, count: usize) {
        self.next = (self.next + count).min(self.received);
    }

    /// Datagrams that the socket had no room for, since the last call.
    pub fn take_losses(&mut self) -> u64 {
        let losses = losses(&self.socket).unwrap_or(self.told);
        u64::from(losses.wrapping_sub(std::mem::replace(&mut self.told, losses)))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn losses(socket: impl AsFd) -> Result<u32, Errno> {
    let mut words = [0_u32; MEMORY_WORDS];
    let mut length = socklen(size_of_val(&words));
    // SAFETY: the pointers are those of live values of ours, and the length is that of the array.
    checked(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(words[DROPS])
}

/// From now on, the kernel keeps what other hosts say of datagrams that could not be delivered: see [`take_refusal`].
pub fn keep_refusals(socket: impl AsFd) -> Result<(), Errno> {
    let on: c_int = 1;
    match getsockname(&socket)?.address_family() {
        AddressFamily::INET6 => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &on),
        _ => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &on),
    }
}

/// What the network said last of a datagram that was sent and could not be delivered, since the last call. The next
/// call that sends is then not about that one any more.
pub fn take_refusal(socket: impl AsFd) -> Option<Errno> {
    let mut refusal = None;
    while let Ok(error) = next_error(&socket) {
        // What this host says itself, it has said to whoever was sending, too.
        let is_local = error.ee_origin == libc::SO_EE_ORIGIN_LOCAL;
        let errno = i32::try_from(error.ee_errno).map(Errno::from_raw_os_error);
        refusal = errno.ok().filter(|_| !is_local).or(refusal);
    }
    sockopt::socket_error(socket).ok();
    refusal
}

/// The oldest error of a socket's queue (ip(7), IP_RECVERR).
fn next_error(socket: impl AsFd) -> Result<sock_extended_err, Errno> {
    let mut control = [0_u64; ERROR_WORDS];
    // SAFETY: a msghdr is plain data for which all zeros is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header points to a live buffer of ours with its length, and asks for nothing else.
    checked(unsafe {
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    })?;
    // SAFETY: the kernel has filled the buffer; the macro stays inside it.
    let message =
        std::ptr::NonNull::new(unsafe { libc::CMSG_FIRSTHDR(&raw const header) }).ok_or(Errno::NOMSG)?;
    // SAFETY: of a queue of errors the kernel puts nothing but whole structures of this type first, which may be read
    // unaligned.
    Ok(unsafe { libc::CMSG_DATA(message.as_ptr()).cast::<sock_extended_err>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn datagrams_come_in_order_and_a_long_one_says_how_long_it_was() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut receiver = Receiver::new(ours.into(), 100).unwrap();
        assert_eq!(receiver.fill(|| panic!("nothing has come")), Ok(false));
        for len in [0, 7, 300] {
            theirs.send(&vec![1; len]).unwrap();
        }
        let mut arrived = false;
        assert_eq!(receiver.fill(|| arrived = true), Ok(true));
        assert!(arrived);
        let lengths: Vec<_> =
            receiver.datagrams().map(|datagram| (datagram.bytes.len(), datagram.len)).collect();
        assert_eq!(lengths, [(0, 0), (7, 7), (100, 300)]);
        receiver.advance(2);
        assert_eq!(receiver.datagrams().count(), 1);
        receiver.advance(1);
        assert_eq!(receiver.fill(|| ()), Ok(false));
    }

    #[test]
    fn what_finds_no_room_in_a_socket_is_counted_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        let mut receiver = Receiver::new(socket.into(), 2048).unwrap();
        for _ in 0..100 {
            sender.send(&[0; 1000]).unwrap();
        }
        let mut received = 0;
        while receiver.fill(|| ()).unwrap() {
            let datagrams = receiver.datagrams().count();
            receiver.advance(datagrams);
            received += datagrams;
        }
        assert!((1..100).contains(&received), "{received}");
        assert_eq!(receiver.take_losses(), 100 - u64::try_from(received).unwrap());
        assert_eq!(receiver.take_losses(), 0);
    }

    #[test]
    fn a_datagram_to_nobody_is_told_once() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Without IPv6 there is nothing to see.
            let Ok(gone) = UdpSocket::bind(address) else { continue };
            let sender = UdpSocket::bind(address).unwrap();
            keep_refusals(&sender).unwrap();
            sender.connect(gone.local_addr().unwrap()).unwrap();
            sender.send(&[1]).unwrap();
            assert_eq!(take_refusal(&sender), None, "it was taken");
            drop(gone);
            for _ in 0..2 {
                sender.send(&[1]).unwrap();
                assert_eq!(take_refusal(&sender), Some(Errno::CONNREFUSED));
                assert_eq!(take_refusal(&sender), None);
            }
            assert!(sender.send(&[1; 65_530]).is_err(), "longer than a datagram");
            assert_eq!(take_refusal(&sender), None, "that has been told");
        }
    }
}
