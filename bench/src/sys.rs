//! The benchmark's only unsafe code: what neither rustix nor the project's crates offer.

#![allow(unsafe_code)]

use std::ffi::c_ulong;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Attaches to a TAP that exists, has IFF_VNET_HDR and is held by nobody, as a guest that accepts `offloads`
/// (`TUN_F_*`). The descriptor does not block.
pub(crate) fn attach_to_tap(name: &str, offloads: u32) -> io::Result<OwnedFd> {
    // SAFETY: ifreq is plain old data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags =
        i16::try_from(flags).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let tun: File =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    let attached = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if attached < 0 {
        return Err(io::Error::last_os_error());
    }
    accept_offloads(&tun, offloads)?;
    Ok(tun.into())
}

/// Has the guest behind a TAP accept `offloads` (`TUN_F_*`).
pub(crate) fn accept_offloads(tap: impl AsFd, offloads: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let set = unsafe { libc::ioctl(tap.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(offloads)) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One frame as recvfrom(2) hands it out of a packet socket: the bytes written into `buffer`, and whether the
/// host sent it out of the interface (`sll_pkttype == PACKET_OUTGOING`).
pub(crate) fn receive_from(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    // SAFETY: sockaddr_ll is plain old data for which all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut room = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: buffer and address outlive the call, each given with its own length.
    let received = unsafe {
        libc::recvfrom(
            socket.as_fd().as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut address).cast(),
            &raw mut room,
        )
    };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((length, address.sll_pkttype == libc::PACKET_OUTGOING))
}

/// The CPU time of all threads of a process so far, to the nanosecond, also of a thread that runs right now.
pub(crate) fn process_cpu(process: u32) -> io::Result<Duration> {
    // CPUCLOCK_SCHED of the process, the number that clock_getcpuclockid(3) computes.
    const SCHED: libc::clockid_t = 2;
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: timespec is plain old data for which all zeros is a valid value.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: the kernel writes one timespec, which outlives the call.
    if unsafe { libc::clock_gettime((!process << 3) | SCHED, &raw mut time) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let parts = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    let (Ok(seconds), Ok(nanoseconds)) = parts else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Duration::new(seconds, nanoseconds))
}

/// Lets a command end with the thread that starts it, however that ends (PR_SET_PDEATHSIG).
pub(crate) fn end_with_parent(command: &mut Command) {
    let die = || {
        // SAFETY: prctl is async-signal-safe, and this option takes its argument by value.
        let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure calls nothing between fork and exec but prctl, and does not allocate.
    unsafe { command.pre_exec(die) };
}
