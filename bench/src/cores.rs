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

    /// Moves the calling thread, and what it starts from now on, to a core.
    pub(crate) fn run_on(&self, core: Core) -> Result<()> {
        let mut only = CpuSet::new();
        only.set(match core {
            Core::Sender => self.sender,
            Core::Forwarder => self.forwarder,
        });
        sched_setaffinity(None, &only).on("sched_setaffinity", "a thread")
    }
}
