//! The handle of the side that a VM arrives at: start it, tell it what the VM does, ask it, stop it.
//!
//! - [`reception`]: the thread that listens, and leads each source to its netdev
//! - [`state`]: the states of a netdev; [`frames`]: frames parked, compared and injected; [`twins`]: those that came twice
//! - [`discard`]: a migration that came to nothing
//! - [`worker`]: the thread of one netdev, with the state machine; [`talk`]: what is heard and said; [`tap`]: the gate and
//!   the TAP's queue

mod discard;
mod frames;
pub(crate) mod reception;
mod state;
mod talk;
mod tap;
mod twins;
mod worker;

use tapferry_redirect::StreamPlan;
use tapferry_redirect::thread::{Handle, Reply};

use crate::error::HandoverError;
use crate::event::Observer;
use crate::plan::DestinationPlan;
use crate::report::DestinationReport;
use crate::survey::Survey;
use reception::{Guest, Reception, Visit};
use worker::Worker;

/// What the VM did, who came, and questions.
pub(crate) enum Command {
    /// A source has connected for this netdev.
    Welcome(Box<Visit>),
    /// The VM runs since this time (nanoseconds since 1970); `None`: now.
    Resumed(Option<u64>),
    /// The VM's process has ended, or its monitor.
    Gone,
    /// Answer with a snapshot.
    Report(Reply<DestinationReport>),
    /// End.
    Stop,
}

/// The netdevs of a VM that is going to arrive. Dropping it stops it.
pub struct Destination {
    /// Ends first: what is on its way to a netdev then has one.
    _reception: Reception,
    netdevs: Vec<Handle<Command, DestinationReport>>,
}

impl Destination {
    /// Closes the gates before the VM and listens for the source, in threads of its own.
    pub fn start(
        from: &StreamPlan,
        plans: Vec<DestinationPlan>,
        observer: &Observer,
    ) -> Result<Self, HandoverError> {
        let mut guests = Vec::new();
        let mut netdevs = Vec::new();
        for plan in plans {
            let (identity, survey) = (plan.identity.clone(), Survey::of(&plan.netdev)?);
            let name = format!("handover-{}", plan.netdev);
            let observer = observer.clone();
            let open = move |inbox| Worker::open(plan, observer, inbox);
            let handle = Handle::start(&name, || Command::Stop, open, Worker::run)?;
            guests.push(Guest { identity, survey, outbox: handle.outbox() });
            netdevs.push(handle);
        }
        let reception = Reception::open(from, guests, observer.clone(), None)?;
        Ok(Self { _reception: reception, netdevs })
    }

    /// The VM runs since `at` (CLOCK_REALTIME, nanoseconds since 1970).
    pub fn resumed(&self, at: Option<u64>) {
        self.netdevs.iter().for_each(|netdev| netdev.send(Command::Resumed(at)));
    }

    /// The VM's process or its monitor is gone.
    pub fn gone(&self) {
        self.netdevs.iter().for_each(|netdev| netdev.send(Command::Gone));
    }

    /// A snapshot of each netdev, in the order of their plans; the final one of those that have ended. One whose
    /// thread has panicked is left out.
    pub fn reports(&self) -> Vec<DestinationReport> {
        self.netdevs.iter().filter_map(|netdev| netdev.ask(Command::Report)).collect()
    }

    /// Ends the handover, whatever its state, and puts the host back as it was.
    pub fn stop(&self) -> Vec<DestinationReport> {
        self.netdevs.iter().filter_map(Handle::stop).collect()
    }
}
