//! A TAP's descriptor in another process (pidfd_getfd(2), linux/if_tun.h): which interface it belongs to.
//!
//! The descriptor is duplicated for a moment, and never read: its holder would miss the frame. While there is
//! a duplicate, nobody else can attach to a TAP of one queue.

use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::error::{Error, checked};
use crate::namespace::NamespaceId;

/// What a descriptor of a TUN or TAP tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapDescriptor {
    /// The interface's name, in its own network namespace.
    pub interface: String,
    /// Where the interface is. `None` where the kernel does not tell: it asks for CAP_NET_ADMIN in the user
    /// namespace that owns it, and tells nothing of a macvtap.
    pub namespace: Option<NamespaceId>,
    /// Frames with an Ethernet header, not packets without.
    pub tap: bool,
    /// One of several queues.
    pub multi_queue: bool,
    /// A virtio-net header before each frame.
    pub vnet_header: bool,
    /// Its length; 0 without one.
    pub vnet_header_bytes: u32,
}

impl TapDescriptor {
    /// Looks at descriptor `fd` of process `pid`. Needs PTRACE_MODE_ATTACH_REALCREDS on it (ptrace(2)):
    /// `Errno::PERM` without. `Errno::SRCH`: no such process; `Errno::BADF`: no such descriptor;
    /// `Errno::NOTTY`: not one of a TUN or TAP; `Errno::BADFD`: of none yet.
    pub fn of_process(pid: i32, fd: i32) -> Result<Self, Error> {
        let on = |operation| Error::on(operation, &format!("descriptor {fd} of process {pid}"));
        // Zero and below name no process, and rustix would panic on them.
        let process = (pid > 0).then(|| Pid::from_raw(pid)).flatten();
        let process = process.ok_or(Errno::SRCH).map_err(on("find the process"))?;
        let process = pidfd_open(process, PidfdFlags::empty()).map_err(on("open the process"))?;
        // rustix takes a descriptor below zero for a mistake of ours.
        let fd = (fd >= 0).then_some(fd).ok_or(Errno::BADF).map_err(on("find the descriptor"))?;
        let tap =
            pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).map_err(on("get a copy by pidfd_getfd"))?;
        Self::read(&tap).map_err(on("ask TUNGETIFF"))
    }

    fn read(tap: &OwnedFd) -> Result<Self, Errno> {
        // SAFETY: an ifreq is plain data for which all zeros is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: TUNGETIFF writes one ifreq, which outlives the call.
        checked(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
        // SAFETY: the call succeeded, so the kernel filled in this member of the union.
        let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        let has = |flag: c_int| flags & flag != 0;
        Ok(Self {
            interface: name(&request.ifr_name),
            namespace: namespace(tap).ok(),
            tap: has(libc::IFF_TAP),
            multi_queue: has(libc::IFF_MULTI_QUEUE),
            vnet_header: has(libc::IFF_VNET_HDR),
            vnet_header_bytes: if has(libc::IFF_VNET_HDR) { header_bytes(tap)? } else { 0 },
        })
    }
}

fn name(bytes: &[c_char; libc::IFNAMSIZ]) -> String {
    let bytes = bytes.map(c_char::cast_unsigned);
    CStr::from_bytes_until_nul(&bytes).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn header_bytes(tap: &OwnedFd) -> Result<u32, Errno> {
    let mut bytes: c_int = 0;
    // SAFETY: TUNGETVNETHDRSZ writes one int, which outlives the call.
    checked(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETVNETHDRSZ, &raw mut bytes) })?;
    Ok(bytes.unsigned_abs())
}

fn namespace(tap: &OwnedFd) -> Result<NamespaceId, Errno> {
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a new descriptor.
    let fd = checked(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETDEVNETNS) })?;
    // SAFETY: the descriptor was just opened and nobody else has it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    NamespaceId::of(&file)
}
