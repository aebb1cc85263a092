//! The handle of a redirector. Its promises are settled from libuv's thread pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use napi::bindgen_prelude::{AsyncTask, BigInt};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result, Status, Task};
use napi_derive::napi;
use tapferry_redirect::{Event, Plan, Redirector as Core};

use crate::error::Failure;
use crate::event::RedirectorEvent;
use crate::options::RedirectorOptions;
use crate::statistics::{EndNames, Statistics};

/// Events that may wait for JavaScript; more are counted and lost, never queued without end.
const EVENT_QUEUE: usize = 256;

/// Neither adds an error argument nor keeps the event loop alive.
type OnEvent = ThreadsafeFunction<RedirectorEvent, (), RedirectorEvent, Status, false, true, EVENT_QUEUE>;

/// What the handle and the tasks it starts share.
pub struct Shared {
    core: Core,
    ends: EndNames,
    events_lost: Arc<AtomicU64>,
}

impl Shared {
    fn start(plan: Plan, on_event: OnEvent) -> std::result::Result<Self, Failure> {
        let events_lost = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&events_lost);
        let observer = move |event: Event| {
            let told = on_event.call(event.into(), ThreadsafeFunctionCallMode::NonBlocking);
            if told != Status::Ok {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        };
        let ends = EndNames::of(&plan);
        let core = Core::start(plan, Box::new(observer))?;
        Ok(Self { core, ends, events_lost })
    }

    fn read(&self, how: Reading) -> std::result::Result<Statistics, Failure> {
        let statistics = match how {
            Reading::Snapshot => self.core.statistics(),
            Reading::Final => self.core.stop(),
        };
        let statistics = statistics.ok_or_else(Failure::thread_ended)?;
        let lost = self.events_lost.load(Ordering::Relaxed);
        Ok(Statistics::of(&statistics, &self.ends, lost))
    }
}

/// A running redirector. One that is forgotten is stopped when it is collected, or when its environment
/// ends.
#[napi]
pub struct Redirector {
    shared: Arc<Shared>,
}

#[napi]
impl Redirector {
    /// Starts a redirector in its own thread; resolves when its endpoints are open or waited for.
    /// Rejects with an error that has a stable `code`.
    #[napi(catch_unwind, ts_return_type = "Promise<Redirector>")]
    pub fn start(
        options: RedirectorOptions,
        #[napi(ts_arg_type = "(event: RedirectorEvent) => void")] on_event: OnEvent,
    ) -> AsyncTask<Start> {
        AsyncTask::new(Start { request: Some((options, on_event)) })
    }

    /// `status=on|off`, from now on.
    #[napi(catch_unwind)]
    pub fn set_status(&self, on: bool) {
        self.shared.core.set_status(on);
    }

    /// The VM's run state, from `atNs` (CLOCK_REALTIME, nanoseconds since 1970) on; without it from now.
    #[napi(catch_unwind)]
    pub fn set_run_state(&self, running: bool, at_ns: Option<BigInt>) {
        let at = at_ns.map(|at| at.get_u64()).and_then(|(_, at, lossless)| lossless.then_some(at));
        self.shared.core.set_running(running, at);
    }

    /// A snapshot of what was counted so far.
    #[napi(catch_unwind, ts_return_type = "Promise<Statistics>")]
    pub fn statistics(&self) -> AsyncTask<Read> {
        AsyncTask::new(Read { shared: Arc::clone(&self.shared), how: Reading::Snapshot })
    }

    /// Drains what was captured, closes the sockets and resolves with the final statistics; so does
    /// every further call.
    #[napi(catch_unwind, ts_return_type = "Promise<Statistics>")]
    pub fn stop(&self) -> AsyncTask<Read> {
        AsyncTask::new(Read { shared: Arc::clone(&self.shared), how: Reading::Final })
    }
}

/// Starting, in the thread pool: opening a ring takes milliseconds.
pub struct Start {
    request: Option<(RedirectorOptions, OnEvent)>,
}

impl Task for Start {
    type Output = std::result::Result<Shared, Failure>;
    type JsValue = Redirector;

    fn compute(&mut self) -> Result<Self::Output> {
        let Some((options, on_event)) = self.request.take() else { return Ok(Err(Failure::thread_ended())) };
        Ok(Plan::try_from(options).and_then(|plan| Shared::start(plan, on_event)))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> Result<Redirector> {
        output
            .map(|shared| Redirector { shared: Arc::new(shared) })
            .map_err(|failure| failure.into_rejection(env))
    }
}

#[derive(Clone, Copy)]
enum Reading {
    Snapshot,
    Final,
}

/// Asking or stopping, in the thread pool: the answer comes from the redirector's thread.
pub struct Read {
    shared: Arc<Shared>,
    how: Reading,
}

impl Task for Read {
    type Output = std::result::Result<Statistics, Failure>;
    type JsValue = Statistics;

    fn compute(&mut self) -> Result<Self::Output> {
        Ok(self.shared.read(self.how))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> Result<Statistics> {
        output.map_err(|failure| failure.into_rejection(env))
    }
}
