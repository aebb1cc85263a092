//! The frames that the source has captured, by their index: those that the cut will be looked for in, and from the cut
//! on those that the destination has not dealt with yet.
//!
//! ```text
//!   first          acked                     unsent              next
//!   [ acknowledged ][ sent, not acknowledged ][ not sent ]
//! ```
//!
//! What is acknowledged stays as long as there is room: if the migration is cancelled, the guest here may lack it.

use tapferry_redirect::parts::{Frame, FrameQueue};

/// Frames in a row, each with an index.
#[derive(Debug)]
pub(super) struct Kept {
    queue: FrameQueue,
    /// Index of the oldest.
    first: u64,
    /// Index of the first that the destination has not dealt with.
    acked: u64,
    /// Index of the first that is not sent on the present connection.
    unsent: u64,
    /// One past the greatest index that was ever sent.
    sent_before: u64,
    /// Frames that were sent to a process that did not acknowledge them before another took its place.
    given_up: u64,
}

impl Kept {
    /// Room for frames that take so many bytes of memory together.
    pub(super) fn within(memory: usize) -> Self {
        Self { queue: FrameQueue::within(memory), first: 0, acked: 0, unsent: 0, sent_before: 0, given_up: 0 }
    }

    /// Index of the oldest frame that is here.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Index of the first frame that the destination has not dealt with.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// Frames that were sent to a process that did not acknowledge them before another took its place.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Index that the next frame gets.
    pub(super) fn next(&self) -> u64 {
        self.first + count(self.queue.len())
    }

    /// One past the greatest index that was ever sent.
    pub(super) fn sent_before(&self) -> u64 {
        self.sent_before
    }

    /// Keeps a frame as the newest; older ones make room for it.
    pub(super) fn push_over(&mut self, frame: &Frame<'_>) {
        let outcome = self.queue.push_over(frame);
        self.first += count(outcome.evicted);
    }

    /// Keeps a frame as the newest; acknowledged ones make room for it. False if there is none.
    pub(super) fn push(&mut self, frame: &Frame<'_>) -> bool {
        while !self.queue.push(frame) {
            if self.first == self.acked {
                return false;
            }
            self.forget(1);
        }
        true
    }

    /// All frames with their index, the oldest first.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u64, Frame<'_>)> {
        (self.first..).zip(self.queue.frames())
    }

    /// Forgets frames below `index` that were stamped before `moment` (nanoseconds since 1970).
    pub(super) fn forget_older(&mut self, moment: u64, index: u64) {
        let below = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let is_old = |frame: &Frame<'_>| frame.captured.timestamp_ns < moment;
        self.forget(self.queue.frames().take(below).take_while(is_old).count());
    }

    /// Forgets frames below `index`: nothing of them is sent, and what is not sent begins there.
    pub(super) fn cut(&mut self, index: u64) {
        self.forget_below(index);
        self.acked = self.first;
        self.unsent = self.first;
        self.sent_before = self.first;
    }

    /// The destination has dealt with all below `index`, and will not ask for it again.
    pub(super) fn acknowledge(&mut self, index: u64) {
        self.acked = self.acked.max(index.min(self.sent_before));
        self.unsent = self.unsent.max(self.acked);
    }

    /// Forgets what is acknowledged: the guest has it at the destination.
    pub(super) fn forget_acknowledged(&mut self) {
        self.forget_below(self.acked);
    }

    /// On a new connection to the same process: it has all below `index`, if not dealt with all of it.
    pub(super) fn resume_at(&mut self, index: u64) {
        self.unsent = index.min(self.sent_before).max(self.acked);
    }

    /// On a connection to another process: of what was sent it is not known whether the guest has it, so it is never
    /// sent again. Returns how many frames that concerns.
    pub(super) fn give_up_sent(&mut self) -> u64 {
        let doubtful = self.sent_before - self.acked;
        self.given_up += doubtful;
        self.acked = self.sent_before;
        self.unsent = self.sent_before;
        doubtful
    }

    /// Takes frames that are to be sent, in order, as long as `send` takes them.
    pub(super) fn send(&mut self, mut send: impl FnMut(u64, &Frame<'_>) -> bool) -> u64 {
        let skip = usize::try_from(self.unsent - self.first).unwrap_or(usize::MAX);
        let mut index = self.unsent;
        for frame in self.queue.frames_from(skip) {
            if !send(index, &frame) {
                break;
            }
            index += 1;
        }
        self.unsent = index;
        let before = self.sent_before;
        self.sent_before = before.max(index);
        self.sent_before - before
    }

    /// Whether everything that is here was sent on the present connection.
    pub(super) fn is_sent(&self) -> bool {
        self.unsent >= self.next()
    }

    /// Whether the destination has dealt with everything that is here.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acked >= self.next()
    }

    fn forget_below(&mut self, index: u64) {
        let below = index.saturating_sub(self.first);
        self.forget(usize::try_from(below).unwrap_or(usize::MAX));
    }

    fn forget(&mut self, frames: usize) {
        let frames = frames.min(self.queue.len());
        self.queue.advance(frames);
        self.first += count(frames);
    }
}

fn count(frames: usize) -> u64 {
    u64::try_from(frames).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tapferry_frame::vnet::VnetHeader;
    use tapferry_sys::Captured;

    use super::*;

    fn keep(kept: &mut Kept, stamps: std::ops::Range<u64>) {
        for stamp in stamps {
            let captured = Captured {
                timestamp_ns: stamp,
                vnet: VnetHeader::default(),
                beside: None,
                bytes: &[0; 60],
                wire_len: 60,
            };
            assert!(kept.push(&Frame::from(captured)));
        }
    }

    fn sent(kept: &mut Kept, most: usize) -> Vec<u64> {
        let mut indices = Vec::new();
        kept.send(|index, _| {
            let takes = indices.len() < most;
            if takes {
                indices.push(index);
            }
            takes
        });
        indices
    }

    #[test]
    fn frames_leave_from_the_cut_on_and_stay_until_they_are_acknowledged() {
        let mut kept = Kept::within(1 << 20);
        keep(&mut kept, 100..110);
        kept.forget_older(109, 3);
        assert_eq!((kept.first(), kept.next()), (3, 10));
        kept.cut(5);
        assert_eq!(sent(&mut kept, 3), [5, 6, 7]);
        assert!(!kept.is_sent());
        kept.acknowledge(7);
        assert_eq!(sent(&mut kept, 9), [8, 9]);
        assert!(kept.is_sent() && !kept.is_acknowledged());
        assert_eq!((kept.first(), kept.acked(), kept.sent_before()), (5, 7, 10));
        kept.forget_acknowledged();
        assert_eq!(kept.first(), 7);
    }

    #[test]
    fn after_a_lost_link_the_same_process_is_sent_what_it_lacks() {
        let mut kept = Kept::within(1 << 20);
        keep(&mut kept, 0..6);
        kept.cut(0);
        assert_eq!(sent(&mut kept, 4), [0, 1, 2, 3]);
        kept.resume_at(2);
        assert_eq!(kept.send(|_, _| true), 2, "frames that were never sent before");
        assert_eq!(kept.acked(), 0, "what it has may wait there for the cut, and be lost with it");
    }

    #[test]
    fn acknowledged_frames_make_room_and_others_do_not() {
        // Four of them: each takes 96 bytes, and a tenth is for their places.
        let mut kept = Kept::within(440);
        keep(&mut kept, 0..4);
        kept.cut(0);
        assert_eq!(sent(&mut kept, 3), [0, 1, 2]);
        kept.acknowledge(2);
        keep(&mut kept, 4..6);
        assert_eq!((kept.first(), kept.next()), (2, 6));
        let captured = Captured {
            timestamp_ns: 6,
            vnet: VnetHeader::default(),
            beside: None,
            bytes: &[0; 60],
            wire_len: 60,
        };
        assert!(!kept.push(&Frame::from(captured)));
        assert_eq!(sent(&mut kept, 9), [3, 4, 5]);
    }

    #[test]
    fn another_process_is_sent_nothing_that_the_one_before_may_have_injected() {
        let mut kept = Kept::within(1 << 20);
        keep(&mut kept, 0..6);
        kept.cut(0);
        assert_eq!(sent(&mut kept, 4), [0, 1, 2, 3]);
        kept.acknowledge(1);
        assert_eq!((kept.give_up_sent(), kept.given_up()), (3, 3));
        assert_eq!(sent(&mut kept, 9), [4, 5]);
        assert_eq!(kept.give_up_sent(), 2, "and so on with a third");
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_takes_nothing_away() {
        let mut kept = Kept::within(1 << 20);
        keep(&mut kept, 0..6);
        kept.cut(0);
        kept.acknowledge(5);
        kept.resume_at(5);
        assert_eq!(sent(&mut kept, 9), [0, 1, 2, 3, 4, 5]);
    }
}
