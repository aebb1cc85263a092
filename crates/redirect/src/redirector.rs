//! The handle of a redirector: start it, steer it, ask it, stop it.

use crate::counters::Statistics;
use crate::error::StartError;
use crate::event::Observer;
use crate::plan::Plan;
use crate::thread::{Handle, Reply};
use crate::worker::Worker;

/// A message to a redirector's thread.
pub(crate) enum Command {
    /// `status=on|off`, from now on.
    SetStatus(bool),
    /// The VM's run state, from `at` (nanoseconds since 1970) on; `None`: from now on.
    SetRunning { running: bool, at: Option<u64> },
    /// Answer with a snapshot.
    Report(Reply<Statistics>),
    /// Drain, close, end.
    Stop,
}

/// A running redirector. Dropping the handle stops it and waits until it has closed its sockets.
pub struct Redirector(Handle<Command, Statistics>);

impl Redirector {
    /// Starts a redirector in the calling thread's network namespace and waits until it has opened its
    /// endpoints, or, where the plan says so, waits for them in its own thread.
    pub fn start(plan: Plan, observer: Observer) -> Result<Self, StartError> {
        let name = format!("ferry-{}", plan.input);
        let open = move |inbox| Worker::open(plan, observer, inbox);
        Handle::start(&name, || Command::Stop, open, Worker::run).map(Self)
    }

    /// `status=on|off`, from now on.
    pub fn set_status(&self, on: bool) {
        self.0.send(Command::SetStatus(on));
    }

    /// The VM's run state, from `at` (CLOCK_REALTIME, nanoseconds since 1970) on; without it from the
    /// moment this is called.
    pub fn set_running(&self, running: bool, at: Option<u64>) {
        self.0.send(Command::SetRunning { running, at });
    }

    /// A snapshot; the final one once the redirector has ended. `None` only after a panic of its thread.
    pub fn statistics(&self) -> Option<Statistics> {
        self.0.ask(Command::Report)
    }

    /// Drains what was captured before this call, closes the sockets and ends the thread. Returns the
    /// final statistics, also when called again.
    pub fn stop(&self) -> Option<Statistics> {
        self.0.stop()
    }
}
