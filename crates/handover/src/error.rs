//! Why a handover could not start, in words an operator can act on.

use tapferry_redirect::StreamError;
use tapferry_redirect::error::{Role, StartError};
use tapferry_redirect::thread::NotStarted;
use tapferry_sys::Error;

/// Why a side of a handover could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// The TAP is not there, or the kernel refuses something.
    #[error("{0}")]
    Netdev(StartError),
    /// The connection between the two sides cannot be had.
    #[error("{option} '{address}': {error}")]
    Stream {
        /// `--to` or `--from`.
        option: &'static str,
        /// Where it is.
        address: String,
        /// Why.
        error: StreamError,
    },
}

impl HandoverError {
    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Netdev(error) => error.code(),
            Self::Stream { error, .. } => error.code(),
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Netdev(error) => error.hint(),
            Self::Stream { error, .. } => error.hint().into_owned(),
        }
    }

    /// There is no such TAP.
    pub(crate) fn no_netdev(role: Role, name: &str) -> Self {
        Self::Netdev(StartError::NotFound { role, name: name.to_owned() })
    }
}

impl From<Error> for HandoverError {
    fn from(error: Error) -> Self {
        Self::Netdev(error.into())
    }
}

impl From<StartError> for HandoverError {
    fn from(error: StartError) -> Self {
        Self::Netdev(error)
    }
}

impl From<NotStarted> for HandoverError {
    fn from(error: NotStarted) -> Self {
        Self::Netdev(error.into())
    }
}
