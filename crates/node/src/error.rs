//! Failures as JavaScript errors: `code` is stable, `message` says what failed and why, and on its next
//! line what to do.

use napi::{Env, Error, JsError};
use tapferry_handover::HandoverError;
use tapferry_inspect::InspectError;
use tapferry_redirect::{StartError, StreamError};

/// A failure on its way to JavaScript.
pub struct Failure {
    code: &'static str,
    message: String,
    hint: String,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: &dyn ToString, hint: &dyn ToString) -> Self {
        Self { code, message: message.to_string(), hint: hint.to_string() }
    }

    /// The thread of a redirector or a handover has panicked: a bug, which must not take the process along.
    pub(crate) fn thread_ended() -> Self {
        Self::new("SYSTEM", &"a thread ended unexpectedly", &"please report this, with what stands above")
    }

    /// Work for a promise has panicked: a bug, which must not take the process along.
    pub(crate) fn work_ended() -> Self {
        Self::new(
            "SYSTEM",
            &"what was asked of the host ended unexpectedly",
            &"please report this, with what stands above",
        )
    }

    /// The error to reject a promise with: napi's own carries only its status as `code`.
    pub(crate) fn into_rejection(self, env: Env) -> Error {
        let error = Error::<&str>::new(self.code, format!("{}\n{}", self.message, self.hint));
        Error::from(JsError::from(error).into_unknown(env))
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(error.code(), &error, &error.hint())
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::new(error.code(), &error, &error.hint())
    }
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        Self::new(error.code(), &error, &error.hint())
    }
}

impl From<HandoverError> for Failure {
    fn from(error: HandoverError) -> Self {
        Self::new(error.code(), &error, &error.hint())
    }
}
