//! Why a redirector could not start, in words an operator can act on.

use std::fmt;

use tapferry_sys::Errno;

pub use crate::stream::error::{Attempt, Lack, StreamError};
use crate::thread::NotStarted;

/// Which end of a redirector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The interface that is captured from.
    InNetdev,
    /// The interface that is injected into.
    OutNetdev,
    /// The stream that is read.
    Indev,
    /// The stream that is written.
    Outdev,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InNetdev => "in_netdev",
            Self::OutNetdev => "out_netdev",
            Self::Indev => "indev",
            Self::Outdev => "outdev",
        })
    }
}

/// Why a redirector could not start or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is no such interface in this network namespace.
    #[error("{role} '{name}' not found: no interface of that name in this network namespace")]
    NotFound {
        /// Which end.
        role: Role,
        /// The interface's name.
        name: String,
    },
    /// The interface carries no Ethernet frames.
    #[error("{role} '{name}' does not carry Ethernet frames")]
    NotEthernet {
        /// Which end.
        role: Role,
        /// The interface's name.
        name: String,
    },
    /// A stream could not be opened, or is closed for good.
    #[error("{role} '{address}': {error}")]
    Stream {
        /// Which end.
        role: Role,
        /// Where it is.
        address: String,
        /// Why.
        error: StreamError,
    },
    /// The kernel wants a privilege that we do not have.
    #[error("{0}")]
    Permission(tapferry_sys::Error),
    /// The network namespace of an interface is closed to us.
    #[error("{0}")]
    Namespace(tapferry_sys::Error),
    /// Another refusal of the kernel.
    #[error("{0}")]
    System(tapferry_sys::Error),
    /// The thread could not be started, or ended before it could say why.
    #[error("the redirector's thread did not start: {0}")]
    Thread(String),
}

impl StartError {
    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NETDEV_NOT_FOUND",
            Self::NotEthernet { .. } => "NETDEV_NOT_ETHERNET",
            Self::Stream { error, .. } => error.code(),
            Self::Permission(_) => "PERMISSION",
            Self::Namespace(error) if error.errno == Errno::PERM => "PERMISSION",
            Self::Namespace(_) | Self::System(_) | Self::Thread(_) => "SYSTEM",
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => {
                "see `ip link` for the names there are, `tapferry netdevs` for those of VMs; `--netns` looks in \
                 another network namespace, `--wait` waits for an interface that appears later"
                    .into()
            }
            Self::NotEthernet { name, .. } => {
                format!(
                    "a TUN, ppp or WireGuard interface has no Ethernet header; see `ip -d link show {name}`"
                )
            }
            Self::Stream { error, .. } => error.hint().into_owned(),
            Self::Permission(_) => {
                "run it as root, or as another user with CAP_NET_RAW: `setpriv --reuid=USER \
                 --regid=GROUP --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw tapferry ...`"
                    .into()
            }
            Self::Namespace(_) => {
                "another network namespace is entered with CAP_SYS_ADMIN: run it as root, or start it inside \
                 that namespace with `nsenter --net=FILE`"
                    .into()
            }
            Self::System(error) if error.errno == Errno::NOMEM => {
                "a capture ring takes 80 MiB; `--latency=low` does without one".into()
            }
            Self::System(_) | Self::Thread(_) => "`dmesg` may have the kernel's view".into(),
        }
    }

    /// What is wrong with a stream end.
    pub(crate) fn stream(role: Role, address: &impl fmt::Display, error: StreamError) -> Self {
        Self::Stream { role, address: address.to_string(), error }
    }

    /// Sorts a refusal of the kernel on the way to one end.
    pub(crate) fn at(role: Role, error: tapferry_sys::Error) -> Self {
        match error.errno {
            Errno::NODEV | Errno::NXIO => Self::NotFound { role, name: error.object },
            Errno::PERM | Errno::ACCESS => Self::Permission(error),
            _ => Self::System(error),
        }
    }
}

impl From<tapferry_sys::Error> for StartError {
    fn from(error: tapferry_sys::Error) -> Self {
        match error.errno {
            Errno::PERM | Errno::ACCESS => Self::Permission(error),
            _ => Self::System(error),
        }
    }
}

impl From<NotStarted> for StartError {
    fn from(NotStarted(why): NotStarted) -> Self {
        Self::Thread(why)
    }
}
