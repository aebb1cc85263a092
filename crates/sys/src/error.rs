//! One error for all system calls: the operation, the object, the errno.

use rustix::io::Errno;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to {operation} for '{object}': {errno}")]
pub struct Error {
    /// What was tried, as an infinitive: `bind AF_PACKET socket`.
    pub operation: &'static str,
    /// On what: an interface's name, mostly.
    pub object: String,
    /// Why the kernel refused.
    pub errno: Errno,
}

impl Error {
    /// An error of `operation` on `object`.
    pub fn new(operation: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self { operation, object: object.into(), errno }
    }

    /// For `map_err`: the closure that adds operation and object to an errno.
    pub fn on(operation: &'static str, object: &str) -> impl FnOnce(Errno) -> Self + use<> {
        let object = object.to_owned();
        move |errno| Self { operation, object, errno }
    }
}

/// The errno of the libc call that just failed on this thread.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// A libc result below zero is the errno, all else is the value: a C int, or a count of bytes.
pub(crate) fn checked<T: Default + PartialOrd>(result: T) -> Result<T, Errno> {
    if result < T::default() { Err(last_errno()) } else { Ok(result) }
}
