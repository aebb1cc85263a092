//! The buffer between gate and output: frames on hold, and frames that wait for an output which takes no more.
//!
//! ```text
//!   oldest                                 newest
//!   [ released: wait for the output ][ on hold ]
//! ```
//!
//! QEMU's filter-buffer is this with `hold=every`. All times are of CLOCK_MONOTONIC, in nanoseconds.

use std::time::Duration;

use crate::counters::{Counters, DropReason, count};
use crate::frame::Frame;
use crate::plan::{BufferPlan, Hold, WhenFull};
use crate::queue::FrameQueue;
use crate::worker::nanos;

/// Frames that have passed the gate and not left yet.
#[derive(Debug)]
pub(crate) struct Buffer {
    queue: FrameQueue,
    when_full: WhenFull,
    hold: Option<Hold>,
    running: bool,
    /// Frames at the front that may leave.
    released: usize,
    /// When what is on hold is released; only with [`Hold::Every`], and only while something is.
    release_at: Option<u64>,
}

impl Buffer {
    /// A buffer of the given bounds, for a VM that runs or not.
    pub(crate) fn new(plan: BufferPlan, hold: Option<Hold>, running: bool) -> Self {
        Self {
            queue: FrameQueue::new(plan.bytes, plan.frames),
            when_full: plan.when_full,
            hold,
            running,
            released: 0,
            release_at: None,
        }
    }

    /// Frames in it.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Whether a frame need not wait here: none is before it, and none is held back.
    pub(crate) fn lets_through(&self) -> bool {
        self.queue.is_empty() && !self.holds()
    }

    /// Puts a frame behind the others. What finds no room is counted.
    pub(crate) fn push(&mut self, frame: &Frame<'_>, now: u64, counters: &mut Counters) {
        let output_is_late = self.released > 0 || !self.holds();
        let reason = if output_is_late { DropReason::OutputFull } else { DropReason::HoldFull };
        let lost = match self.when_full {
            WhenFull::DropNewest => usize::from(!self.queue.push(frame)),
            WhenFull::DropOldest => {
                let outcome = self.queue.push_over(frame);
                self.released = self.released.saturating_sub(outcome.evicted);
                outcome.lost()
            }
        };
        counters.drop_many(reason, count(lost));
        match self.hold {
            _ if !self.holds() => self.release(),
            Some(Hold::Every(interval)) if self.released < self.queue.len() => {
                self.release_at.get_or_insert(now + nanos(interval));
            }
            _ => {}
        }
    }

    /// The VM runs from now on, or does not.
    pub(crate) fn set_running(&mut self, running: bool) {
        self.running = running;
        if !self.holds() {
            self.release();
        }
    }

    /// The gate was closed as of `moment` (nanoseconds since 1970): what came later and is still here does not leave.
    pub(crate) fn call_back(&mut self, moment: u64) -> usize {
        let called_back = self.queue.remove_since(moment);
        self.released = self.released.min(self.queue.len());
        called_back
    }

    /// When frames are to be released although nothing happens.
    pub(crate) fn release_at(&self) -> Option<u64> {
        self.release_at
    }

    /// Lets go what has been on hold long enough.
    pub(crate) fn release_due(&mut self, now: u64) {
        if self.release_at.is_some_and(|at| at <= now) {
            self.release();
        }
    }

    /// Lets everything go that is not on hold for the VM: nothing comes any more.
    pub(crate) fn release_at_the_end(&mut self) {
        if !matches!(self.hold, Some(Hold::UntilRunning)) {
            self.release();
        }
    }

    /// Frames that may leave, the oldest first.
    pub(crate) fn released(&self) -> impl Iterator<Item = Frame<'_>> {
        self.queue.frames().take(self.released)
    }

    /// Removes the `frames` oldest, which have left.
    pub(crate) fn advance(&mut self, frames: usize) {
        self.queue.advance(frames);
        self.released = self.released.saturating_sub(frames);
    }

    /// Empties it, and says how many frames went.
    pub(crate) fn clear(&mut self) -> usize {
        let frames = self.queue.len();
        self.advance(frames);
        self.queue.release_memory();
        frames
    }

    /// Whether frames that come now are held back.
    fn holds(&self) -> bool {
        match self.hold {
            None => false,
            Some(Hold::Every(interval)) => interval > Duration::ZERO,
            Some(Hold::UntilRunning) => !self.running,
        }
    }

    fn release(&mut self) {
        self.released = self.queue.len();
        self.release_at = None;
    }
}

#[cfg(test)]
mod tests {
    use tapferry_sys::Captured;

    use super::*;

    const SMALL: BufferPlan = BufferPlan { bytes: 100, frames: 3, when_full: WhenFull::DropNewest };
    const OLDEST: BufferPlan = BufferPlan { when_full: WhenFull::DropOldest, ..SMALL };
    const MS: u64 = 1_000_000;

    fn push(buffer: &mut Buffer, number: u64, now: u64) -> Counters {
        let mut counters = Counters::default();
        let captured = Captured {
            timestamp_ns: number,
            vnet: Default::default(),
            beside: None,
            bytes: &[0; 10],
            wire_len: 10,
        };
        buffer.push(&Frame::from(captured), now, &mut counters);
        counters
    }

    fn released(buffer: &Buffer) -> Vec<u64> {
        buffer.released().map(|frame| frame.captured.timestamp_ns).collect()
    }

    #[test]
    fn without_a_hold_a_frame_waits_for_the_output_alone() {
        let mut buffer = Buffer::new(SMALL, None, true);
        assert!(buffer.lets_through());
        push(&mut buffer, 1, 0);
        assert!(!buffer.lets_through(), "what comes later must not overtake it");
        assert_eq!(released(&buffer), [1]);
        buffer.advance(1);
        assert!(buffer.lets_through());
    }

    #[test]
    fn an_interval_lets_all_go_that_came_in_it() {
        let mut buffer = Buffer::new(SMALL, Some(Hold::Every(Duration::from_millis(10))), true);
        push(&mut buffer, 1, 5 * MS);
        push(&mut buffer, 2, 14 * MS);
        assert_eq!(buffer.release_at(), Some(15 * MS));
        buffer.release_due(15 * MS - 1);
        assert!(released(&buffer).is_empty());
        buffer.release_due(15 * MS);
        assert_eq!(released(&buffer), [1, 2]);
        push(&mut buffer, 3, 16 * MS);
        assert_eq!(released(&buffer), [1, 2], "the next interval");
        assert_eq!(buffer.release_at(), Some(26 * MS));
    }

    #[test]
    fn held_until_the_vm_runs_and_not_after_that() {
        let mut buffer = Buffer::new(SMALL, Some(Hold::UntilRunning), false);
        push(&mut buffer, 1, 0);
        assert!(released(&buffer).is_empty() && buffer.release_at().is_none());
        buffer.set_running(true);
        assert_eq!(released(&buffer), [1]);
        push(&mut buffer, 2, 0);
        buffer.set_running(false);
        push(&mut buffer, 3, 0);
        assert_eq!(released(&buffer), [1, 2], "3 came while it was stopped again");
        buffer.release_at_the_end();
        assert_eq!(released(&buffer), [1, 2], "3 is for a VM that does not run");
    }

    #[test]
    fn the_newest_frame_goes_when_it_is_full_with_the_reason_that_is_true() {
        let mut held = Buffer::new(SMALL, Some(Hold::UntilRunning), false);
        let mut stalled = Buffer::new(SMALL, None, true);
        for (buffer, reason) in [(&mut held, DropReason::HoldFull), (&mut stalled, DropReason::OutputFull)] {
            for number in 1..=3 {
                assert_eq!(push(buffer, number, 0).dropped.total(), 0);
            }
            assert_eq!(push(buffer, 4, 0).dropped.of(reason), 1);
            buffer.set_running(true);
            assert_eq!(released(buffer), [1, 2, 3]);
        }
    }

    #[test]
    fn what_came_after_the_gate_closed_is_called_back() {
        let mut buffer = Buffer::new(SMALL, None, true);
        for number in 1..=3 {
            push(&mut buffer, number, 0);
        }
        assert_eq!(buffer.call_back(2), 2);
        assert_eq!(released(&buffer), [1]);
        push(&mut buffer, 4, 0);
        assert_eq!(released(&buffer), [1, 4]);
    }

    #[test]
    fn or_the_oldest_on_request_and_what_is_released_stays_known() {
        let mut buffer = Buffer::new(OLDEST, Some(Hold::UntilRunning), true);
        push(&mut buffer, 1, 0);
        push(&mut buffer, 2, 0);
        buffer.set_running(false);
        push(&mut buffer, 3, 0);
        assert_eq!(push(&mut buffer, 4, 0).dropped.of(DropReason::OutputFull), 1);
        assert_eq!(released(&buffer), [2]);
        assert_eq!(buffer.len(), 3);
    }
}
