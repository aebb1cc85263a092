//! The gate: open or closed, a function of `status`, the VM's run state and the rule for a stopped VM,
//! each over time.
//!
//! A frame is judged by its kernel timestamp against what held at that moment, not by when a thread
//! happened to look at it. Run-state events arrive a little after their own timestamp, so a frame that
//! finds the gate closed by the VM's state may yet turn out to have met it open: its verdict is
//! [`Verdict::Undecided`] until a later event, or the end of the pre-roll, decides.

use std::collections::VecDeque;

use crate::plan::WhenStopped;

/// What the gate says to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The gate was open.
    Pass,
    /// The gate was closed, and no event can change that any more.
    Closed,
    /// The gate was closed as far as is known; an event still under way may say otherwise.
    Undecided,
}

/// Transitions a signal remembers. Frames wait a few hundred milliseconds at most, so a VM would have
/// to stop and resume hundreds of times a second for this to be too few.
const REMEMBERED: usize = 64;

/// A value over time: a step function that remembers its last transitions.
#[derive(Debug, Clone)]
struct Signal {
    /// The value before the first remembered transition.
    initial: bool,
    /// Moments in nanoseconds since 1970 and the value from then on, in order.
    transitions: VecDeque<(u64, bool)>,
}

impl Signal {
    fn new(value: bool) -> Self {
        Self { initial: value, transitions: VecDeque::with_capacity(REMEMBERED) }
    }

    fn now(&self) -> bool {
        self.transitions.back().map_or(self.initial, |(_, value)| *value)
    }

    fn last_change(&self) -> u64 {
        self.transitions.back().map_or(0, |(at, _)| *at)
    }

    fn at(&self, moment: u64) -> bool {
        let last = self.transitions.iter().rev().find(|(from, _)| *from <= moment);
        last.map_or(self.initial, |(_, value)| *value)
    }

    /// Changes the value from `at` on; never before the last change.
    fn set(&mut self, value: bool, at: u64) {
        if value == self.now() {
            return;
        }
        if self.transitions.len() == REMEMBERED
            && let Some((_, value)) = self.transitions.pop_front()
        {
            self.initial = value;
        }
        self.transitions.push_back((at.max(self.last_change()), value));
    }

    fn forget(&mut self) {
        *self = Self::new(self.now());
    }
}

/// The gate of one redirector.
#[derive(Debug, Clone)]
pub struct Gate {
    status: Signal,
    running: Signal,
    when_stopped: WhenStopped,
    /// Since when both signals are what they are now: frames from then on need no search.
    settled_since: u64,
}

impl Gate {
    /// A gate that has always been in this state.
    pub fn new(status: bool, running: bool, when_stopped: WhenStopped) -> Self {
        Self { status: Signal::new(status), running: Signal::new(running), when_stopped, settled_since: 0 }
    }

    /// Whether it is open now.
    pub fn is_open(&self) -> bool {
        self.rule(self.status(), self.running())
    }

    /// `status` now.
    pub fn status(&self) -> bool {
        self.status.now()
    }

    /// Whether the VM runs, as far as is known.
    pub fn running(&self) -> bool {
        self.running.now()
    }

    /// `status` changes at `at` (nanoseconds since 1970).
    pub fn set_status(&mut self, on: bool, at: u64) {
        self.status.set(on, at);
        self.settle();
    }

    /// The VM's run state changed at `at` (nanoseconds since 1970), which may lie in the past.
    pub fn set_running(&mut self, running: bool, at: u64) {
        self.running.set(running, at);
        self.settle();
    }

    /// Whether frames must be captured: while the gate is open, and while an event may open it for
    /// frames that are already here, unless there is no pre-roll to keep them in.
    pub fn wants_capture(&self, has_pre_roll: bool) -> bool {
        self.is_open() || (self.status() && has_pre_roll)
    }

    /// Judges a frame by its timestamp (nanoseconds since 1970).
    pub fn judge(&self, timestamp: u64) -> Verdict {
        let settled = timestamp >= self.settled_since;
        let (status, running) = if settled {
            (self.status(), self.running())
        } else {
            (self.status.at(timestamp), self.running.at(timestamp))
        };
        if self.rule(status, running) {
            Verdict::Pass
        } else if status && timestamp >= self.running.last_change() {
            Verdict::Undecided
        } else {
            Verdict::Closed
        }
    }

    /// After a step of the clock: old and new timestamps do not compare, so what holds now holds for
    /// every frame.
    pub fn forget_history(&mut self) {
        self.status.forget();
        self.running.forget();
        self.settle();
    }

    fn rule(&self, status: bool, running: bool) -> bool {
        status
            && match self.when_stopped {
                WhenStopped::Off => running,
                WhenStopped::On => true,
                WhenStopped::Only => !running,
            }
    }

    fn settle(&mut self) {
        self.settled_since = self.status.last_change().max(self.running.last_change());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: [WhenStopped; 3] = [WhenStopped::Off, WhenStopped::On, WhenStopped::Only];

    #[test]
    fn the_gate_follows_the_table_of_the_design() {
        for (status, running, expected) in [
            (false, false, [false, false, false]),
            (false, true, [false, false, false]),
            (true, true, [true, true, false]),
            (true, false, [false, true, true]),
        ] {
            for (rule, open) in RULES.into_iter().zip(expected) {
                let gate = Gate::new(status, running, rule);
                assert_eq!(gate.is_open(), open, "status={status} running={running} {rule:?}");
            }
        }
    }

    #[test]
    fn a_frame_is_judged_by_what_held_at_its_timestamp() {
        let mut gate = Gate::new(true, true, WhenStopped::Off);
        gate.set_running(false, 100);
        gate.set_running(true, 200);
        assert_eq!(gate.judge(99), Verdict::Pass);
        assert_eq!(gate.judge(100), Verdict::Closed);
        assert_eq!(gate.judge(199), Verdict::Closed);
        assert_eq!(gate.judge(200), Verdict::Pass);
    }

    #[test]
    fn a_frame_that_waits_is_decided_by_the_event_that_comes_late() {
        let mut gate = Gate::new(true, false, WhenStopped::Off);
        assert_eq!(gate.judge(150), Verdict::Undecided);
        assert_eq!(gate.judge(250), Verdict::Undecided);
        gate.set_running(true, 200);
        assert_eq!(gate.judge(150), Verdict::Closed);
        assert_eq!(gate.judge(250), Verdict::Pass);
    }

    #[test]
    fn closed_by_status_is_final() {
        let mut gate = Gate::new(true, true, WhenStopped::On);
        gate.set_status(false, 100);
        assert_eq!(gate.judge(99), Verdict::Pass);
        assert_eq!(gate.judge(100), Verdict::Closed);
        gate.set_status(true, 200);
        assert_eq!(gate.judge(150), Verdict::Closed);
        assert_eq!(gate.judge(200), Verdict::Pass);
    }

    #[test]
    fn after_a_step_of_the_clock_only_the_present_counts() {
        let mut gate = Gate::new(true, false, WhenStopped::Off);
        gate.set_running(true, 1_000);
        gate.forget_history();
        assert_eq!(gate.judge(1), Verdict::Pass);
    }

    #[test]
    fn the_capture_stays_closed_where_nothing_could_pass() {
        assert!(!Gate::new(false, true, WhenStopped::On).wants_capture(true));
        assert!(!Gate::new(true, false, WhenStopped::Off).wants_capture(false));
        assert!(Gate::new(true, false, WhenStopped::Off).wants_capture(true));
        assert!(Gate::new(true, true, WhenStopped::Off).wants_capture(false));
    }

    proptest! {
        /// Against a model that keeps every transition for ever and looks it up the slow way.
        #[test]
        fn the_verdict_is_that_of_an_exhaustive_model(
            rule in prop::sample::select(RULES.to_vec()),
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 1_u64..50), 0..REMEMBERED),
            timestamps in prop::collection::vec(0_u64..4_000, 1..50),
        ) {
            let mut gate = Gate::new(true, true, rule);
            let mut history = vec![(0_u64, true, true)];
            let mut moment = 0;
            for (of_status, value, later) in steps {
                moment += later;
                let (_, mut status, mut running) = history[history.len() - 1];
                if of_status { status = value } else { running = value }
                history.push((moment, status, running));
                if of_status { gate.set_status(value, moment) } else { gate.set_running(value, moment) }
            }
            for timestamp in timestamps {
                let (_, status, running) =
                    *history.iter().rev().find(|(from, ..)| *from <= timestamp).unwrap();
                let open = status && match rule {
                    WhenStopped::Off => running,
                    WhenStopped::On => true,
                    WhenStopped::Only => !running,
                };
                prop_assert_eq!(gate.judge(timestamp) == Verdict::Pass, open);
            }
        }
    }
}
