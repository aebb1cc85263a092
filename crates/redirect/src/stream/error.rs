//! Why a stream end could not be opened, in words an operator can act on.

use std::borrow::Cow;
use std::fmt;

use tapferry_stream::FramingError;
use tapferry_sys::Errno;
use tapferry_tls::{CredentialsError, Failure};

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// To listen at a path.
    ListenAtPath,
    /// To listen on a port of TCP, or to take a port of UDP.
    ListenOnPort,
    /// To connect to a path.
    ConnectToPath,
    /// To connect to a port of TCP, or to send to one of UDP.
    ConnectToHost,
    /// To take the port of UDP that datagrams are to come from.
    SendFrom,
    /// To take over a descriptor.
    TakeDescriptor,
    /// To read from a connection.
    Read,
    /// To start the thread that dials.
    StartThread,
    /// To make room for datagrams.
    MakeRoom,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ListenAtPath | Self::ListenOnPort => "listen there",
            Self::ConnectToPath | Self::ConnectToHost => "connect to it",
            Self::SendFrom => "send from its local address",
            Self::TakeDescriptor => "take over this descriptor",
            Self::Read => "read from it",
            Self::StartThread => "start a thread for it",
            Self::MakeRoom => "make room for its datagrams",
        })
    }
}

/// What a connection lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Somebody who listens.
    Listener,
    /// An address for a name.
    Name,
    /// A way to the host.
    Route,
}

/// Why a stream end could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Somebody listens there already.
    #[error("another process listens there")]
    InUse,
    /// There is something at the path that is no socket.
    #[error("there is a file of that name, and it is no socket")]
    NotASocket,
    /// What is there is a socket of another kind.
    #[error("it is no stream socket that is connected or listens")]
    NotAStream,
    /// What is there takes no datagrams.
    #[error("it is a stream socket, and takes no datagrams")]
    NotDatagrams,
    /// A peer that should be there is not.
    #[error("no connection: {why}")]
    Unreachable {
        /// In words.
        why: String,
        /// What is missing.
        lack: Lack,
    },
    /// It is looked for later.
    #[error("no connection yet")]
    NotYet,
    /// The only peer that there will ever be sends what is no stream of frames.
    #[error("connection closed: {0}")]
    Malformed(FramingError),
    /// The only peer that there will ever be has left.
    #[error("its peer has closed it, and a descriptor cannot be connected again")]
    Closed,
    /// The credentials for TLS are of no use.
    #[error("{0}")]
    Credentials(CredentialsError),
    /// The peer and TLS do not get on.
    #[error("{0}")]
    Tls(Failure),
    /// There is nobody whose name a certificate could bear.
    #[error("there is no host here whose name a server's certificate could bear")]
    NoHost,
    /// The kernel refuses.
    #[error("cannot {attempt}: {errno}")]
    Refused {
        /// What was tried.
        attempt: Attempt,
        /// Why not.
        errno: Errno,
    },
}

impl StreamError {
    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse => "STREAM_IN_USE",
            Self::NotASocket | Self::NotAStream | Self::NotDatagrams => "STREAM_INVALID",
            Self::Unreachable { .. } | Self::NotYet => "STREAM_UNREACHABLE",
            Self::Malformed(_) => "STREAM_MALFORMED",
            Self::Closed => "STREAM_CLOSED",
            Self::Credentials(error) => error.code(),
            Self::Tls(failure) => failure.code(),
            Self::NoHost => "STREAM_INVALID",
            Self::Refused { errno: Errno::PERM | Errno::ACCESS, .. } => "PERMISSION",
            Self::Refused { attempt: Attempt::TakeDescriptor, .. } => "STREAM_INVALID",
            Self::Refused { .. } => "SYSTEM",
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Credentials(error) => return error.hint().into(),
            Self::Tls(failure) => return failure.hint().into(),
            Self::InUse => {
                "see `ss -xap` and `ss -tuanp` for who it is; take another address, or leave the `,server` of a \
                 stream out to connect to it"
            }
            Self::NotASocket => "take the path of a socket, or one where nothing is yet",
            Self::NotAStream => {
                "pass a connected or listening stream socket, as a service manager or a socketpair(2) gives it"
            }
            Self::NotDatagrams => "write unix:PATH to connect to it, without dgram:",
            Self::Unreachable { lack: Lack::Listener, .. } | Self::NotYet => {
                "start the other end first, or with `--wait` be patient; `,server` listens here instead"
            }
            Self::Unreachable { lack: Lack::Name, .. } => {
                "see `getent hosts NAME`, or give the address itself"
            }
            Self::Unreachable { lack: Lack::Route, .. } => {
                "see `ip route get ADDRESS` for the way to that host"
            }
            Self::Malformed(error) => error.hint(),
            Self::Closed => {
                "start it again with a new descriptor, or use an address: that is connected to again"
            }
            Self::NoHost => "with TLS a client dials `tcp:HOST:PORT`; a listening descriptor may be a server",
            Self::Refused { attempt, errno } => hint_of(*attempt, *errno),
        })
    }

    /// For `map_err`: the kernel's refusal of an attempt.
    pub(crate) fn refused(attempt: Attempt) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Refused { attempt, errno }
    }

    /// No thread could be started for it.
    pub(super) fn no_thread(error: &std::io::Error) -> Self {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::AGAIN);
        Self::Refused { attempt: Attempt::StartThread, errno }
    }
}

fn hint_of(attempt: Attempt, errno: Errno) -> &'static str {
    let is_permission = matches!(errno, Errno::PERM | Errno::ACCESS);
    match attempt {
        Attempt::ListenAtPath if errno == Errno::NOENT => "its directory does not exist: make it first",
        Attempt::ListenAtPath if is_permission => {
            "whoever listens must be allowed to write to the directory: see `namei -l` for the path"
        }
        Attempt::ConnectToPath if is_permission => {
            "whoever connects must be allowed to write to the socket: see `namei -l` for the path"
        }
        Attempt::ListenOnPort | Attempt::SendFrom if is_permission => {
            "a port below 1024 takes CAP_NET_BIND_SERVICE: choose a higher one"
        }
        Attempt::ListenOnPort | Attempt::SendFrom | Attempt::ConnectToHost => {
            "see `ip address` for the addresses of this host"
        }
        Attempt::TakeDescriptor => {
            "start tapferry with that descriptor open, as systemd does for a socket unit (fd:3)"
        }
        Attempt::ListenAtPath | Attempt::ConnectToPath => "see the path for mistakes",
        Attempt::Read => "see the other end for why",
        Attempt::StartThread => "`ulimit -u` and the memory may be exhausted",
        Attempt::MakeRoom => "the memory may be exhausted",
    }
}
