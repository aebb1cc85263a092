//! Frames that wait, in order, bounded in bytes and in number.
//!
//! The bytes lie in one arena that is used round and round, so that keeping a frame costs a copy and no
//! allocation.

use std::collections::VecDeque;

use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;
use tapferry_sys::Captured;
use tapferry_sys::pages::Pages;

use crate::frame::{Carried, Frame};

#[derive(Debug)]
struct Held {
    timestamp_ns: u64,
    vnet: VnetHeader,
    beside: Option<VlanTag>,
    carried: Option<Carried>,
    wire_len: u32,
    start: usize,
    len: usize,
}

/// What became of a frame and of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushedOver {
    /// Older frames that had to go.
    pub evicted: usize,
    /// Whether the frame is in the queue now; not if the queue can never hold it.
    pub kept: bool,
}

impl PushedOver {
    /// Frames that found no room.
    pub fn lost(self) -> usize {
        self.evicted + usize::from(!self.kept)
    }
}

/// A bounded queue of frames.
#[derive(Debug)]
pub struct FrameQueue {
    max_bytes: usize,
    max_frames: usize,
    /// None until the first frame comes and after [`FrameQueue::release_memory`].
    arena: Option<Pages>,
    frames: VecDeque<Held>,
    /// Where the next frame goes, unless it has to go to the start.
    end: usize,
    bytes: usize,
}

impl FrameQueue {
    /// A queue for so many frames, of so many bytes together.
    pub fn new(max_bytes: usize, max_frames: usize) -> Self {
        Self { max_bytes, max_frames, arena: None, frames: VecDeque::new(), end: 0, bytes: 0 }
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest frame.
    pub fn front(&self) -> Option<Frame<'_>> {
        self.frames.front().map(|held| self.view(held))
    }

    /// All frames, the oldest first.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.frames_from(0)
    }

    /// All frames but the `count` oldest.
    pub fn frames_from(&self, count: usize) -> impl Iterator<Item = Frame<'_>> {
        self.frames.range(count.min(self.frames.len())..).map(|held| self.view(held))
    }

    /// Removes the `count` oldest frames.
    pub fn advance(&mut self, count: usize) {
        for held in self.frames.drain(..count.min(self.frames.len())) {
            self.bytes -= held.len;
        }
    }

    /// Removes the newest frames, as long as they were stamped at `moment` (nanoseconds since 1970) or later.
    pub fn remove_since(&mut self, moment: u64) -> usize {
        let before = self.frames.len();
        while let Some(newest) = self.frames.back()
            && newest.timestamp_ns >= moment
        {
            self.bytes -= newest.len;
            self.end = newest.start;
            self.frames.pop_back();
        }
        before - self.frames.len()
    }

    /// Copies a frame to the end of the queue, if there is room for it.
    pub fn push(&mut self, frame: &Frame<'_>) -> bool {
        let bytes = frame.captured.bytes;
        let room = room_of(bytes);
        let Some(start) = self.room_for(room) else { return false };
        if self.arena.is_none() {
            self.arena = Pages::zeroed(self.max_bytes).ok();
        }
        // Without memory for the queue there is no room, as if it were full.
        let Some(arena) = &mut self.arena else { return false };
        arena[start..start + bytes.len()].copy_from_slice(bytes);
        self.end = start + room;
        self.bytes += bytes.len();
        self.frames.push_back(Held {
            timestamp_ns: frame.captured.timestamp_ns,
            vnet: frame.captured.vnet,
            beside: frame.captured.beside,
            carried: frame.carried,
            wire_len: frame.captured.wire_len,
            start,
            len: bytes.len(),
        });
        true
    }

    /// Copies a frame to the end of the queue; the oldest ones go until there is room for it.
    pub fn push_over(&mut self, frame: &Frame<'_>) -> PushedOver {
        let mut evicted = 0;
        let fits = room_of(frame.captured.bytes) <= self.max_bytes;
        while fits && !self.push(frame) {
            if self.frames.is_empty() {
                return PushedOver { evicted, kept: false };
            }
            self.advance(1);
            evicted += 1;
        }
        PushedOver { evicted, kept: fits }
    }

    /// Gives the memory of an empty queue back.
    pub fn release_memory(&mut self) {
        if self.frames.is_empty() && self.arena.is_some() {
            *self = Self::new(self.max_bytes, self.max_frames);
        }
    }

    /// Where `len` bytes fit in one piece without touching a frame that waits.
    fn room_for(&self, len: usize) -> Option<usize> {
        if self.frames.len() >= self.max_frames {
            return None;
        }
        let Some(oldest) = self.frames.front() else { return (len <= self.max_bytes).then_some(0) };
        if self.end > oldest.start {
            // Free: from the end to the arena's end, and from its start to the oldest.
            if self.end + len <= self.max_bytes {
                return Some(self.end);
            }
            (len <= oldest.start).then_some(0)
        } else {
            (self.end + len <= oldest.start).then_some(self.end)
        }
    }

    fn view(&self, held: &Held) -> Frame<'_> {
        let captured = Captured {
            timestamp_ns: held.timestamp_ns,
            vnet: held.vnet,
            beside: held.beside,
            bytes: self.arena.as_deref().map_or(&[], |arena| &arena[held.start..held.start + held.len]),
            wire_len: held.wire_len,
        };
        Frame { captured, carried: held.carried }
    }
}

/// Bytes of the arena that a frame takes. An empty one takes a byte, too: no two frames begin at the same place, so an
/// arena that is full and one that is empty can be told apart.
fn room_of(frame: &[u8]) -> usize {
    frame.len().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64, bytes: &[u8]) -> Frame<'_> {
        Frame::from(Captured {
            timestamp_ns: number,
            vnet: VnetHeader::default(),
            beside: None,
            bytes,
            wire_len: u32::try_from(bytes.len()).unwrap(),
        })
    }

    #[test]
    fn a_frame_larger_than_the_queue_is_refused_and_nothing_else_goes() {
        let mut queue = FrameQueue::new(10, 10);
        assert_eq!(queue.push_over(&frame(1, &[1; 5])).lost(), 0);
        assert_eq!(queue.push_over(&frame(2, &[2; 11])), PushedOver { evicted: 0, kept: false });
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_full_queue_takes_nothing_until_something_leaves() {
        let mut queue = FrameQueue::new(100, 2);
        assert!(queue.push(&frame(1, &[1; 5])) && queue.push(&frame(2, &[2; 5])));
        assert!(!queue.push(&frame(3, &[3; 5])), "two frames are its limit");
        queue.advance(1);
        assert!(queue.push(&frame(3, &[3; 5])));
        assert!(!FrameQueue::new(4, 9).push(&frame(1, &[1; 5])), "four bytes are its limit");
    }

    #[test]
    fn an_empty_frame_between_others_hides_none_of_them() {
        let mut queue = FrameQueue::new(59, 3);
        for (number, len) in [(1, 32), (2, 0), (3, 33), (4, 27)] {
            queue.push_over(&frame(number, &vec![u8::try_from(number).unwrap(); len]));
        }
        let held: Vec<_> = queue.frames().map(|frame| frame.captured.bytes.to_vec()).collect();
        assert_eq!(held.last().unwrap(), &vec![4; 27]);
        assert!(held.iter().all(|bytes| bytes.iter().all(|byte| Some(byte) == bytes.first())), "{held:?}");
    }

    proptest! {
        /// The queue always holds the newest frames, whole and in order, within its bounds.
        #[test]
        fn it_holds_the_newest_frames_whole_and_in_order(
            max_bytes in 1_usize..200,
            max_frames in 1_usize..20,
            steps in prop::collection::vec((0_usize..60, 0_usize..3), 1..200),
        ) {
            let mut queue = FrameQueue::new(max_bytes, max_frames);
            let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
            for (number, (len, taken)) in steps.into_iter().enumerate() {
                let number = u64::try_from(number).unwrap();
                let bytes = vec![u8::try_from(number % 251).unwrap(); len];
                let PushedOver { evicted, kept } = queue.push_over(&frame(number, &bytes));
                prop_assert_eq!(kept, len <= max_bytes);
                if kept {
                    model.drain(..evicted);
                    model.push_back((number, bytes));
                }
                queue.advance(taken);
                model.drain(..taken.min(model.len()));
                let held: Vec<_> = queue
                    .frames()
                    .map(|frame| (frame.captured.timestamp_ns, frame.captured.bytes.to_vec()))
                    .collect();
                prop_assert_eq!(&held, &Vec::from(model.clone()));
                prop_assert_eq!(queue.bytes(), held.iter().map(|(_, b)| b.len()).sum::<usize>());
                prop_assert!(queue.bytes() <= max_bytes && queue.len() <= max_frames);
            }
        }
    }
}
