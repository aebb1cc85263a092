//! Promises that are settled from libuv's thread pool: nothing blocks the JavaScript thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Env, Result, Task};

use crate::error::Failure;

/// What becomes of a promise.
pub(crate) type Answer<T> = std::result::Result<T, Failure>;

/// Work for the thread pool.
pub struct Work<T> {
    work: Option<Box<dyn FnOnce() -> Answer<T> + Send>>,
}

/// A promise of what the work comes to.
pub(crate) fn promise<T>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> AsyncTask<Work<T>>
where
    T: Send + ToNapiValue + TypeName + 'static,
{
    AsyncTask::new(Work { work: Some(Box::new(work)) })
}

impl<T: Send + ToNapiValue + TypeName + 'static> Task for Work<T> {
    type Output = Answer<T>;
    type JsValue = T;

    fn compute(&mut self) -> Result<Answer<T>> {
        let Some(work) = self.work.take() else { return Ok(Err(Failure::work_ended())) };
        // A panic must not take the process along; nothing of this task is used after it.
        Ok(catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Failure::work_ended())))
    }

    fn resolve(&mut self, env: Env, answer: Answer<T>) -> Result<T> {
        answer.map_err(|failure| failure.into_rejection(env))
    }
}
