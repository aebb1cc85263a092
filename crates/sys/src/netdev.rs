//! Interfaces' names, numbers and addresses, and what an ioctl tells of an interface (netdevice(7)).

use std::ffi::c_char;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::checked;

/// A name that the kernel would accept for an interface: 1 to 15 bytes, no slash, no white space, not
/// `.` or `..` (dev_valid_name in net/core/dev.c).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

/// Not a name an interface can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot be an interface's name: 1 to 15 bytes without '/', ':' or white space")]
pub struct InvalidName(pub String);

impl InterfaceName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let fits = (1..libc::IFNAMSIZ).contains(&name.len());
        let allowed = !name.chars().any(|c| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace());
        if fits && allowed && name != "." && name != ".." {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidName(name.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An interface's number in its network namespace. A deleted interface's number may be given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IfIndex(pub(crate) libc::c_int);

impl IfIndex {
    /// The number as netlink writes it.
    pub fn get(self) -> u32 {
        self.0.cast_unsigned()
    }

    /// From the number as netlink writes it; `None` for one no interface can have.
    pub fn from_netlink(index: u32) -> Option<Self> {
        libc::c_int::try_from(index).ok().filter(|index| *index > 0).map(Self)
    }
}

/// Six bytes. Prints as `52:54:00:12:34:56`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Resolves a name (ioctl SIOCGIFINDEX) through `socket`, in that socket's network namespace.
/// `Errno::NODEV` when there is no such interface.
pub fn ifindex(socket: impl AsFd, name: &InterfaceName) -> Result<IfIndex, Errno> {
    let mut request = request_about(name);
    // SAFETY: the kernel reads the name from and writes the number into a valid ifreq of our own.
    checked(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) })?;
    // SAFETY: the call succeeded, so the kernel filled in this member of the union.
    Ok(IfIndex(unsafe { request.ifr_ifru.ifru_ifindex }))
}

/// An ioctl's question about the interface of that name (netdevice(7)).
pub(crate) fn request_about(name: &InterfaceName) -> libc::ifreq {
    // SAFETY: an ifreq is plain data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_kernel_s_rule() {
        for good in ["tap0", "a", "vnet0.100", "tap-0123456789a"] {
            assert_eq!(InterfaceName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "tap0123456789abc", "tap\0"] {
            assert!(InterfaceName::new(bad).is_err(), "{bad:?}");
        }
    }
    #[test]
    fn a_mac_address_prints_as_people_write_it() {
        assert_eq!(MacAddress([0x52, 0x54, 0, 0x0a, 0xff, 1]).to_string(), "52:54:00:0a:ff:01");
    }
}
