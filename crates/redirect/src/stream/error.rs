//! Why a stream end could not be opened, in words an operator can act on.

use std::fmt::Display;

use tapferry_stream::FramingError;
use tapferry_sys::{Errno, Error};

/// Why a stream end could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Somebody listens there already.
    #[error("another process listens there")]
    InUse,
    /// There is something at the path that is not ours to replace.
    #[error("there is a file of that name, and it is no socket")]
    NotASocket,
    /// A descriptor that frames cannot be sent over.
    #[error("this descriptor is no stream socket")]
    NotAStream,
    /// A peer that should be there is not.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The only peer that there will ever be sends what is no stream of frames.
    #[error("connection closed: {0}")]
    Malformed(FramingError),
    /// The only peer that there will ever be has left.
    #[error("its peer has closed it, and a descriptor cannot be connected again")]
    Closed,
    /// The kernel refuses.
    #[error("{0}")]
    System(Error),
}

impl StreamError {
    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse => "STREAM_IN_USE",
            Self::NotASocket | Self::NotAStream => "STREAM_INVALID",
            Self::Unreachable(_) => "STREAM_UNREACHABLE",
            Self::Malformed(_) => "STREAM_MALFORMED",
            Self::Closed => "STREAM_CLOSED",
            Self::System(error) if is_permission(error.errno) => "PERMISSION",
            Self::System(_) => "SYSTEM",
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InUse => {
                "see `ss -lxp` and `ss -ltnp` for who it is; take another address, or leave `,server` out to \
                 connect to it"
            }
            Self::NotASocket => "take another path",
            Self::NotAStream => {
                "pass a connected or listening stream socket, as a service manager or a socketpair(2) gives it"
            }
            Self::Unreachable(_) => {
                "start the other end first, or with `--wait` be patient; `,server` listens here instead"
            }
            Self::Malformed(error) => error.hint(),
            Self::Closed => {
                "start it again with a new descriptor, or use an address: that is connected to again"
            }
            Self::System(error) if is_permission(error.errno) => {
                "see `namei -l` for the path's permissions: connecting needs to write to the socket, listening to \
                 write to its directory"
            }
            Self::System(error) if error.errno == Errno::BADF => {
                "start tapferry with that descriptor open: in a shell `3<>...`, with systemd a socket unit"
            }
            Self::System(_) => "see the address for mistakes",
        }
    }

    /// A connection that was not made.
    pub(super) fn unreachable(why: impl Display) -> Self {
        Self::Unreachable(why.to_string())
    }
}

impl From<Error> for StreamError {
    fn from(error: Error) -> Self {
        Self::System(error)
    }
}

fn is_permission(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS)
}
