//! The states of the destination.

/// Where a destination stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The VM does not run, and what the network delivers is kept from its TAP.
    Gated,
    /// The source's VM has stopped: its frames wait until the cut is known.
    Parked,
    /// They are given to the TAP, before anything else.
    Injecting,
    /// The gate is open: what the network delivers passes, and what the source sends is injected as it comes.
    Passing,
    /// Everything is here; the guest reads what its TAP still holds.
    Settling {
        /// Since when (CLOCK_MONOTONIC, nanoseconds).
        since: u64,
    },
    /// The guest has what came for it.
    Done,
    /// The migration was cancelled: nothing of this is the guest's.
    Discarded,
    /// It ended otherwise.
    Failed,
}

impl State {
    /// The stable name, as in events and reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gated => "gated",
            Self::Parked => "parked",
            Self::Injecting => "injecting",
            Self::Passing => "passing",
            Self::Settling { .. } => "settling",
            Self::Done => "done",
            Self::Discarded => "discarded",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing comes after it.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Discarded | Self::Failed)
    }

    /// Whether frames may be given to the TAP.
    pub(super) fn injects(self) -> bool {
        matches!(self, Self::Injecting | Self::Passing | Self::Settling { .. })
    }
}
