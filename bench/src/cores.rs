//! Which thread runs on which core: the sender and the reader on one, the forwarder on another, as far as
//! there are two.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{Context, Error, Result};

/// The cores in use.
pub(crate) struct Cores {
    sender: usize,
    forwarder: usize,
    pub(crate) available: usize,
}

/// Who runs on a core.
#[derive(Clone, Copy)]
pub(crate) enum Core {
    /// The sending host and whoever reads the TAPs.
    Sender,
    Forwarder,
}

impl Cores {
    /// The first and the last core that this process may use.
    pub(crate) fn of_this_process() -> Result<Self> {
        let allowed = sched_getaffinity(None).on("sched_getaffinity", "this process")?;
        let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        match (numbers.first(), numbers.last()) {
            (Some(&sender), Some(&forwarder)) => Ok(Self { sender, forwarder, available: numbers.len() }),
            _ => Err(Error::new("this process may use no core")),
        }
    }

    /// Its number.
    pub(crate) fn number(&self, core: Core) -> usize {
        match core {
            Core::Sender => self.sender,
            Core::Forwarder => self.forwarder,
        }
    }

    /// Moves the calling thread, and what it starts from now on, to a core.
    pub(crate) fn run_on(&self, core: Core) -> Result<()> {
        let mut only = CpuSet::new();
        only.set(self.number(core));
        sched_setaffinity(None, &only).on("sched_setaffinity", "a thread")
    }

    /// Starts something on the forwarder's core: a child is born where its parent runs. The calling thread is
    /// on the sender's before and after.
    pub(crate) fn on_the_forwarders<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.run_on(Core::Forwarder)?;
        let started = start();
        self.run_on(Core::Sender)?;
        started
    }
}
