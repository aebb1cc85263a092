//! The states of the source.

/// Where a source stands. Times are of CLOCK_MONOTONIC, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The VM runs, and nothing is captured.
    Armed,
    /// A migration is going on: frames are captured and counted.
    Calibrate,
    /// The VM has stopped, and what was sent until then is on its way through the capture.
    Stopping {
        /// When it is surely there.
        until: u64,
    },
    /// Frames that the guest may lack go to the destination; where the cut is among them, the VM's monitor will tell.
    Asking,
    /// Frames from the cut on go to the destination.
    Forward {
        /// Since when.
        since: u64,
    },
    /// The VM runs at the destination; frames that still come here are the last.
    Drain {
        /// Since when.
        since: u64,
        /// Since when the end has been told.
        told: Option<u64>,
    },
    /// The VM runs on here; frames that it was about to be given are given back.
    GiveBack {
        /// Until when its queue is looked at.
        until: u64,
    },
    /// The guest has at the destination what came for it here.
    Done,
    /// The guest has it here.
    Cancelled,
    /// It ended otherwise.
    Failed,
}

impl State {
    /// The stable name, as in events and reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Calibrate => "calibrate",
            Self::Stopping { .. } => "stopping",
            Self::Asking => "asking",
            Self::Forward { .. } => "forward",
            Self::Drain { .. } => "drain",
            Self::GiveBack { .. } => "give_back",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing comes after it.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }

    /// Whether the VM has stopped, and may run on here or there.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Stopping { .. } | Self::Asking | Self::Forward { .. })
    }

    /// Whether frames are on their way to the destination.
    pub(super) fn forwards(self) -> bool {
        matches!(self, Self::Asking | Self::Forward { .. } | Self::Drain { .. })
    }
}
