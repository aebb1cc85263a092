//! Why there is no answer, in words an operator can act on.

use tapferry_sys::{Errno, Error};

/// Why the host did not say what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is no such descriptor, or it is not one of a TAP.
    #[error("descriptor {fd} of process {pid} is no TAP: {why}")]
    NoTap {
        /// Whose.
        pid: i32,
        /// Which.
        fd: i32,
        /// What it is instead.
        why: &'static str,
    },
    /// The kernel wants a privilege over another process.
    #[error("{0}")]
    ProcessPermission(Error),
    /// The kernel wants a privilege that we do not have.
    #[error("{0}")]
    Permission(Error),
    /// Another refusal of the kernel.
    #[error("{0}")]
    System(Error),
}

impl InspectError {
    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTap { .. } => "NETDEV_NOT_FOUND",
            Self::ProcessPermission(_) | Self::Permission(_) => "PERMISSION",
            Self::System(_) => "SYSTEM",
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::NoTap { pid, .. } => {
                format!(
                    "`ls -l /proc/{pid}/fd` shows its descriptors; those of TAPs lead to /dev/net/tun or /dev/tapN"
                )
            }
            Self::ProcessPermission(_) => {
                "another process's descriptors are seen by root, or with CAP_SYS_PTRACE: run it as root"
                    .into()
            }
            Self::Permission(_) => {
                "another network namespace is entered with CAP_SYS_ADMIN: run it as root, or start it inside \
                 that namespace with `nsenter --net=FILE`"
                    .into()
            }
            Self::System(_) => "`dmesg` may have the kernel's view".into(),
        }
    }

    pub(crate) fn of_descriptor(pid: i32, fd: i32, error: Error) -> Self {
        let no_tap = |why| Self::NoTap { pid, fd, why };
        match error.errno {
            Errno::SRCH => no_tap("there is no such process"),
            Errno::BADF => no_tap("there is no such descriptor"),
            Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP => no_tap("it is of another kind"),
            Errno::BADFD => no_tap("it belongs to no interface yet"),
            Errno::PERM | Errno::ACCESS => Self::ProcessPermission(error),
            _ => Self::System(error),
        }
    }
}

impl From<Error> for InspectError {
    fn from(error: Error) -> Self {
        match error.errno {
            Errno::PERM | Errno::ACCESS => Self::Permission(error),
            _ => Self::System(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_none_of_a_tap_is_told_from_one_that_may_not_be_seen() {
        let told = |errno| InspectError::of_descriptor(7, 3, Error::new("duplicate", "it", errno));
        for errno in [Errno::SRCH, Errno::BADF, Errno::NOTTY, Errno::BADFD] {
            assert_eq!(told(errno).code(), "NETDEV_NOT_FOUND");
        }
        assert_eq!(told(Errno::PERM).code(), "PERMISSION");
        assert!(told(Errno::PERM).hint().contains("CAP_SYS_PTRACE"));
        assert_eq!(told(Errno::MFILE).code(), "SYSTEM");
    }
}
