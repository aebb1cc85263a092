//! The cut where the VM's monitor has a say in it. A VM that has stopped answers when its state is on its way, most of the
//! downtime later: until then every frame that its guest may lack is sent, and the destination lets them wait.

use std::time::Duration;

use tapferry_sys::clock;

use super::frames::counters;
use super::state::State;
use super::worker::Worker;
use crate::connection::nanos;
use crate::cut::MAX_UNDELIVERED;

/// How long after the end of its migration the VM may take to answer: 0 to 31 ms, as measured.
const LAST_WORD: Duration = Duration::from_millis(300);

impl Worker {
    /// The VM's monitor has told how far its queue is, or has not.
    pub(super) fn note_used_index(&mut self, used: Option<u16>, is_last: bool) {
        let Self { evidence: Some(evidence), links, ifindex, state, .. } = self else { return };
        match used {
            Some(used) if is_last => evidence.note_last_used_index(used),
            // Of an answer that comes when the VM has stopped it is not known whether it is from before that.
            Some(used) if *state == State::Calibrate => {
                evidence.note_used_index(used, || counters(links, *ifindex));
            }
            _ => {}
        }
        if is_last {
            self.decide();
        }
    }

    /// Sends what the guest may lack, and waits for the VM's word. Should that not come in time, the TAP's counter holds.
    pub(super) fn await_word(&mut self, stopped_at: u64) {
        let Some(evidence) = &self.evidence else { return };
        let (cut, _) = evidence.find_cut(self.kept.frames(), self.kept.next(), stopped_at);
        self.kept.cut(cut.index.saturating_sub(MAX_UNDELIVERED).max(self.kept.first()));
        self.count_from_cut();
        self.cut = Some(cut);
        let message =
            format!("frames from {} on are sent: the VM will tell where the cut is", self.kept.first());
        self.enter(State::Asking, message);
        self.tell_cut();
    }

    /// Takes what is known for all there is to know.
    pub(super) fn decide(&mut self) {
        if self.state == State::Asking {
            self.make_cut(clock::monotonic_ns());
        }
    }

    /// Whether the VM should have answered by now.
    pub(super) fn is_word_late(&self, now: u64) -> bool {
        self.completed_at.is_some_and(|at| now.saturating_sub(at) > nanos(LAST_WORD))
    }
}
