//! The handle of the side that the VM leaves: start it, tell it what the VM does, ask it, stop it.
//!
//! - [`worker`]: the thread behind it: commands, and transitions between its states; [`talk`]: what is said and heard
//! - [`state`]: these states; [`frames`]: frames captured, kept and sent; [`word`]: where the VM's monitor has a say in the
//!   cut; [`give_back`]: where the VM runs on here
//! - [`kept`]: frames by their index; [`link`]: the way to the destination

mod frames;
mod give_back;
mod kept;
mod link;
mod state;
mod talk;
mod word;
mod worker;

use std::sync::mpsc;

use crate::cut::RingLocation;
use crate::error::HandoverError;
use crate::event::Observer;
use crate::plan::SourcePlan;
use crate::report::SourceReport;
use tapferry_redirect::thread::{Handle, Reply};
use worker::Worker;

/// What the VM did, and questions.
pub(crate) enum Command {
    /// A migration has begun; the VM's process, if it is known.
    Calibrate(Option<i32>),
    /// Where the queue is through which the guest receives, or why that is not known; the answer is whether it can be
    /// read.
    ReceiveQueue(Result<RingLocation, String>, Reply<bool>),
    /// What the VM's monitor told of that queue's used index, if it did, and whether it was asked after the stop.
    UsedIndex {
        /// Mod 2^16.
        used: Option<u16>,
        /// Then there is nothing more to come.
        is_last: bool,
    },
    /// The VM stopped, at this time (nanoseconds since 1970); `None`: now.
    Stopped(Option<u64>),
    /// The VM runs on here: the migration was cancelled, or has failed.
    Resumed,
    /// The migration is complete, as far as the VM here is concerned.
    Completed,
    /// The VM's process has ended, or its monitor.
    Gone,
    /// Answer with a snapshot.
    Report(Reply<SourceReport>),
    /// End.
    Stop,
}

/// One netdev of a VM that is going to leave. Dropping it stops it.
pub struct Source(Handle<Command, SourceReport>);

impl Source {
    /// Opens what there is to open and waits for a migration, in a thread of its own. The destination may come later.
    pub fn start(plan: SourcePlan, observer: Observer) -> Result<Self, HandoverError> {
        let name = format!("handover-{}", plan.netdev);
        let open = move |inbox| Worker::open(plan, observer, inbox);
        Handle::start(&name, || Command::Stop, open, Worker::run).map(Self)
    }

    /// A migration of process `pid` has begun: frames are captured from now on, and the cut is prepared.
    pub fn calibrate(&self, pid: Option<i32>) {
        self.0.send(Command::Calibrate(pid));
    }

    /// Where that process keeps the queue through which its guest receives, or why that is not known, in one line for
    /// the report. Comes after [`Source::calibrate`]: finding it takes a moment, in which frames come. Answers whether it
    /// can be read; if not, [`Source::used_index`] is the next best.
    pub fn receive_queue(&self, queue: Result<RingLocation, String>) -> bool {
        let (reply, answer) = mpsc::channel();
        self.0.send(Command::ReceiveQueue(queue, reply));
        answer.recv().unwrap_or(false)
    }

    /// The used index (mod 2^16) of that queue, as the VM's monitor has just answered; `None` if it did not. `is_last`:
    /// the VM had stopped, and this was known here, before it was asked. Never two questions at once.
    pub fn used_index(&self, used: Option<u16>, is_last: bool) {
        self.0.send(Command::UsedIndex { used, is_last });
    }

    /// The VM stopped at `at` (CLOCK_REALTIME, nanoseconds since 1970). Means nothing without a migration.
    pub fn stopped(&self, at: Option<u64>) {
        self.0.send(Command::Stopped(at));
    }

    /// The VM runs on here.
    pub fn resumed(&self) {
        self.0.send(Command::Resumed);
    }

    /// The VM has told that its migration is complete.
    pub fn completed(&self) {
        self.0.send(Command::Completed);
    }

    /// The VM's process or its monitor is gone.
    pub fn gone(&self) {
        self.0.send(Command::Gone);
    }

    /// A snapshot; the final one once the handover has ended. `None` only after a panic of its thread.
    pub fn report(&self) -> Option<SourceReport> {
        self.0.ask(Command::Report)
    }

    /// Ends the handover, whatever its state, and puts the host back as it was.
    pub fn stop(&self) -> Option<SourceReport> {
        self.0.stop()
    }
}
