//! A TAP's descriptor in another process (pidfd_getfd(2), linux/if_tun.h): which interface it belongs to, and
//! holding it, so that the TAP stays as it is when that process ends.
//!
//! The descriptor is duplicated, for a moment or for as long as it is held, and never read: its holder would miss
//! the frame. While there is a duplicate, nobody else can attach to a TAP of one queue.

use std::ffi::{CStr, c_char, c_int};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::error::{Error, checked};
use crate::namespace::NamespaceId;
use crate::netdev::InterfaceName;

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
        let process = open_process(pid).map_err(on("open the process"))?;
        let tap = copy(&process, fd).map_err(on("get a copy by pidfd_getfd"))?;
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

/// A duplicate of a process's descriptor of a TAP, one of its queues. The TAP has its carrier, and exists, for as long
/// as this is held. What it has no room for meanwhile is lost as always.
#[derive(Debug)]
pub struct HeldTap {
    description: TapDescriptor,
    /// Never read.
    descriptor: OwnedFd,
}

impl HeldTap {
    /// Holds all descriptors of process `pid` that belong to the TAP or macvtap of that name: one for each of its
    /// queues, or more where the process itself has duplicates. Those that are known to be in another network
    /// namespace than the given one are others of the same name.
    ///
    /// Needs PTRACE_MODE_ATTACH_REALCREDS on the process (ptrace(2)): `Errno::PERM` without. `Errno::SRCH`: no such
    /// process; `Errno::NODEV`: it holds no such TAP.
    pub fn of_process(
        pid: i32,
        name: &InterfaceName,
        namespace: Option<NamespaceId>,
    ) -> Result<Vec<Self>, Error> {
        let on = |operation| Error::on(operation, &format!("{name} of process {pid}"));
        let process = open_process(pid).map_err(on("open the process"))?;
        let mut held = Vec::new();
        for fd in descriptors(pid).map_err(on("list the descriptors"))? {
            let descriptor = match copy(&process, fd) {
                Ok(descriptor) => descriptor,
                // It was closed a moment ago.
                Err(Errno::BADF) => continue,
                Err(errno) => return Err(on("get a copy by pidfd_getfd")(errno)),
            };
            // A descriptor of no interface yet, or no more.
            let Ok(description) = TapDescriptor::read(&descriptor) else { continue };
            let elsewhere = namespace.zip(description.namespace).is_some_and(|(wanted, told)| wanted != told);
            if description.interface == name.as_str() && !elsewhere {
                held.push(Self { description, descriptor });
            }
        }
        if held.is_empty() { Err(on("find a descriptor")(Errno::NODEV)) } else { Ok(held) }
    }

    /// Whether frames wait in this queue for the process to read them.
    pub fn has_unread(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec::default())) == Ok(1)
            && descriptors[0].revents().contains(PollFlags::IN)
    }

    /// What it told when it was taken.
    pub fn description(&self) -> &TapDescriptor {
        &self.description
    }
}

/// Later, this is the same process, or none.
fn open_process(pid: i32) -> Result<OwnedFd, Errno> {
    // Zero and below name no process, and rustix would panic on them.
    let pid = (pid > 0).then(|| Pid::from_raw(pid)).flatten().ok_or(Errno::SRCH)?;
    pidfd_open(pid, PidfdFlags::empty())
}

fn copy(process: &OwnedFd, fd: i32) -> Result<OwnedFd, Errno> {
    // rustix takes a descriptor below zero for a mistake of ours.
    let fd = (fd >= 0).then_some(fd).ok_or(Errno::BADF)?;
    pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
}

/// The descriptors of a process that may be a TAP's, by what they were opened as: `/dev/net/tun`, or `/dev/tapN` for
/// a macvtap.
fn descriptors(pid: i32) -> Result<Vec<i32>, Errno> {
    let errno = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => Errno::SRCH,
        // What ptrace's rules refuse has this name in /proc.
        Some(Errno::ACCESS) => Errno::PERM,
        Some(errno) => errno,
        None => Errno::IO,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).map_err(errno)? {
        let entry = entry.map_err(errno)?;
        let target = match fs::read_link(entry.path()).map_err(errno) {
            Ok(target) => target,
            // It was closed a moment ago.
            Err(Errno::SRCH) => continue,
            Err(errno) => return Err(errno),
        };
        let target = target.to_string_lossy();
        if target.ends_with("/net/tun") || target.starts_with("/dev/tap") {
            found.extend(entry.file_name().to_str().and_then(|fd| fd.parse::<i32>().ok()));
        }
    }
    found.sort_unstable();
    Ok(found)
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
