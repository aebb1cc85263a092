//! What went wrong with the benchmark itself: what was tried, on what, and the answer.

use std::fmt::Display;

/// The result of a step of the benchmark.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A step that failed. The benchmark cannot go on then, so there is nothing to tell apart but the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was tried on what, when it fails.
pub(crate) trait Context<T> {
    fn on(self, operation: &str, object: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn on(self, operation: &str, object: impl Display) -> Result<T> {
        self.map_err(|error| Error(format!("{operation} failed on {object}: {error}")))
    }
}
