//! The handle of a redirector: start it, steer it, ask it, stop it.
//!
//! Everything goes through messages to the redirector's thread, so nothing is shared and a snapshot is
//! taken between two frames.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

use crate::counters::Statistics;
use crate::error::StartError;
use crate::event::Observer;
use crate::plan::Plan;
use crate::worker::Worker;

/// A message to a redirector's thread.
pub(crate) enum Command {
    /// `status=on|off`, from now on.
    SetStatus(bool),
    /// The VM's run state, from `at` (nanoseconds since 1970) on; `None`: from now on.
    SetRunning { running: bool, at: Option<u64> },
    /// Answer with a snapshot.
    Report(Sender<Statistics>),
    /// Drain, close, end.
    Stop,
}

/// Messages for the thread, and the descriptor that wakes it.
pub(crate) struct Inbox {
    pub(crate) commands: Receiver<Command>,
    pub(crate) wake: Arc<OwnedFd>,
}

/// A running redirector. Dropping the handle stops it and waits until it has closed its sockets.
pub struct Redirector {
    /// `None` once it was told to stop: a handle that is kept keeps no descriptor.
    outbox: Mutex<Option<Outbox>>,
    thread: Mutex<Thread>,
}

struct Outbox {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
}

enum Thread {
    Running(JoinHandle<Option<Statistics>>),
    Ended(Option<Box<Statistics>>),
}

impl Redirector {
    /// Starts a redirector in the calling thread's network namespace and waits until it has opened its
    /// endpoints, or, where the plan says so, waits for them in its own thread.
    pub fn start(plan: Plan, observer: Observer) -> Result<Self, StartError> {
        let thread_error = |error: std::io::Error| StartError::Thread(error.to_string());
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| thread_error(errno.into()))?;
        let wake = Arc::new(wake);
        let (commands, inbox) = mpsc::channel();
        let inbox = Inbox { commands: inbox, wake: Arc::clone(&wake) };
        let (started, starting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(thread_name(&plan))
            .spawn(move || match Worker::open(plan, observer, inbox) {
                Ok(worker) => {
                    started.send(Ok(())).ok();
                    Some(worker.run())
                }
                Err(error) => {
                    started.send(Err(error)).ok();
                    None
                }
            })
            .map_err(thread_error)?;
        let outcome = starting.recv().unwrap_or_else(|_| Err(StartError::Thread("it panicked".into())));
        match outcome {
            Ok(()) => Ok(Self {
                outbox: Mutex::new(Some(Outbox { commands, wake })),
                thread: Mutex::new(Thread::Running(thread)),
            }),
            Err(error) => {
                thread.join().ok();
                Err(error)
            }
        }
    }

    /// `status=on|off`, from now on.
    pub fn set_status(&self, on: bool) {
        self.send(|| Command::SetStatus(on));
    }

    /// The VM's run state, from `at` (CLOCK_REALTIME, nanoseconds since 1970) on; without it from the
    /// moment this is called.
    pub fn set_running(&self, running: bool, at: Option<u64>) {
        self.send(|| Command::SetRunning { running, at });
    }

    /// A snapshot; the final one once the redirector has ended. `None` only after a panic of its thread.
    pub fn statistics(&self) -> Option<Statistics> {
        let (reply, answer) = mpsc::channel();
        self.send(|| Command::Report(reply));
        answer.recv().ok().or_else(|| self.join())
    }

    /// Drains what was captured before this call, closes the sockets and ends the thread. Returns the
    /// final statistics, also when called again.
    pub fn stop(&self) -> Option<Statistics> {
        self.send(|| Command::Stop);
        *self.outbox() = None;
        self.join()
    }

    fn join(&self) -> Option<Statistics> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match std::mem::replace(&mut *thread, Thread::Ended(None)) {
            Thread::Running(handle) => handle.join().ok().flatten().map(Box::new),
            Thread::Ended(statistics) => statistics,
        };
        *thread = Thread::Ended(ended.clone());
        ended.map(|statistics| *statistics)
    }

    fn send(&self, command: impl FnOnce() -> Command) {
        // A thread that has ended hears nothing, and need not.
        if let Some(outbox) = &*self.outbox()
            && outbox.commands.send(command()).is_ok()
        {
            rustix::io::write(&*outbox.wake, &1_u64.to_ne_bytes()).ok();
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Option<Outbox>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Redirector {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What `ps -T` and `top -H` show; the kernel keeps 15 bytes.
fn thread_name(plan: &Plan) -> String {
    format!("ferry-{}", plan.input).chars().take(15).collect()
}
