//! The errors of the testbed: what was tried, on which object, and what the system answered.

use std::io;

/// The result of a testbed operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong in the testbed itself, as opposed to in what it tests.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{operation} failed on {object}: {source}")]
    System {
        /// What was tried, as a system call or an ioctl.
        operation: &'static str,
        /// The interface or file it was tried on.
        object: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A command such as `ip` could not be started, or ended with a failure.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// The command line.
        command: String,
        /// Its standard error, or why it could not be started.
        reason: String,
    },
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The errno, when a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::Command { .. } | Self::Invalid(_) => None,
        }
    }
}

/// Says what was tried on what, when a system call fails.
pub(crate) trait Context<T> {
    fn on(self, operation: &'static str, object: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn on(self, operation: &'static str, object: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::System { operation, object: object.into(), source: source.into() })
    }
}
