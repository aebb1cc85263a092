//! A migration that came to nothing, as its source says. A VM that still waits here may be sent for again: one that was
//! paused and continued while it migrated is on its way all the time.

use tapferry_sys::queue_length;

use super::state::State;
use super::twins::Twins;
use super::worker::Worker;
use crate::report::DestinationReport;

impl Worker {
    /// Goes back to where it was before the source came: the next session begins with nothing of this one.
    pub(super) fn discard(&mut self, reason: &str) {
        if self.resumed_at.is_some() {
            return;
        }
        self.close_gate_again();
        self.empty_tap();
        self.parked.advance(self.parked.len());
        self.twins = Twins::default();
        self.discarded = Some(reason.to_owned());
        (self.next_index, self.parked_first, self.acked, self.has_end) = (0, 0, 0, false);
        self.passed_over = 0;
        (self.cut, self.stopped_there, self.stopped_at) = (None, None, None);
        let report = std::mem::take(&mut self.report);
        self.report = DestinationReport {
            states: report.states,
            received: report.received,
            before_cut: report.before_cut,
            discarded: report.received - report.before_cut,
            gate: report.gate,
            links_lost: report.links_lost,
            timeline: report.timeline,
            ..DestinationReport::default()
        };
        self.enter(State::Gated, format!("{reason}; waiting for the source again, as the VM here does"));
    }

    /// What came to nothing is no part of the report on what comes now.
    pub(super) fn forget_discarded(&mut self) {
        if self.discarded.take().is_some() {
            let DestinationReport { states, gate, links_lost, .. } = std::mem::take(&mut self.report);
            self.report = DestinationReport { states, gate, links_lost, ..DestinationReport::default() };
        }
    }

    /// Nobody reads what was injected; the guest has it at the source.
    fn empty_tap(&mut self) {
        let backlog = self.tap_backlog();
        if backlog > 0 {
            let length = u32::try_from(self.queue_room).unwrap_or(u32::MAX);
            // The kernel throws away what a shorter queue has no room for.
            let emptied =
                queue_length::set(self.ifindex, 0).and_then(|()| queue_length::set(self.ifindex, length));
            if let Err(error) = emptied {
                let message = format!(
                    "{backlog} frames of a migration that came to nothing are in the queue of {}, and stay there \
                     ({}): a VM that runs here yet gets them twice",
                    self.plan.netdev, error.errno
                );
                self.warn("queue_not_emptied", &message);
            }
        }
        self.tap_before = self.tap_counters();
    }
}
