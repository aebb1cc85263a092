//! Frames kept back in order, bounded in bytes: the oldest give way to the newest.
//!
//! The bytes lie in one arena that is used round and round, so that holding a frame costs a copy and
//! no allocation.

use std::collections::VecDeque;

use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;
use tapferry_sys::Captured;
use tapferry_sys::pages::Pages;

#[derive(Debug)]
struct Held {
    timestamp_ns: u64,
    vnet: VnetHeader,
    beside: Option<VlanTag>,
    wire_len: u32,
    start: usize,
    len: usize,
}

/// A bounded queue of frames.
#[derive(Debug)]
pub(crate) struct Hold {
    capacity: usize,
    /// None until the first frame comes and after [`Hold::release_memory`].
    arena: Option<Pages>,
    frames: VecDeque<Held>,
    /// Where the next frame goes, unless it has to go to the start.
    end: usize,
    bytes: usize,
}

impl Hold {
    /// A queue for frames of `capacity` bytes together.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, arena: None, frames: VecDeque::new(), end: 0, bytes: 0 }
    }

    /// Frames held.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest frame.
    pub(crate) fn front(&self) -> Option<Captured<'_>> {
        self.frames.front().map(|held| self.view(held))
    }

    /// All frames, the oldest first.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Captured<'_>> {
        self.frames.iter().map(|held| self.view(held))
    }

    /// Removes the `count` oldest frames.
    pub(crate) fn advance(&mut self, count: usize) {
        for held in self.frames.drain(..count.min(self.frames.len())) {
            self.bytes -= held.len;
        }
    }

    /// Copies a frame to the end of the queue and says how many frames found no room: older ones that
    /// had to go, or this one if it is larger than the whole queue.
    pub(crate) fn push(&mut self, frame: &Captured<'_>) -> usize {
        let len = frame.bytes.len();
        if len > self.capacity {
            return 1;
        }
        if self.arena.is_none() {
            self.arena = Pages::zeroed(self.capacity).ok();
        }
        let mut evicted = 0;
        let start = loop {
            if let Some(start) = self.room_for(len) {
                break start;
            }
            self.advance(1);
            evicted += 1;
        };
        // Without memory for the pre-roll there is no room, as if it were full.
        let Some(arena) = &mut self.arena else { return evicted + 1 };
        arena[start..start + len].copy_from_slice(frame.bytes);
        self.end = start + len;
        self.bytes += len;
        self.frames.push_back(Held {
            timestamp_ns: frame.timestamp_ns,
            vnet: frame.vnet,
            beside: frame.beside,
            wire_len: frame.wire_len,
            start,
            len,
        });
        evicted
    }

    /// Gives the memory of an empty queue back.
    pub(crate) fn release_memory(&mut self) {
        if self.frames.is_empty() && self.arena.is_some() {
            *self = Self::new(self.capacity);
        }
    }

    /// Where `len` bytes fit in one piece without touching a held frame.
    fn room_for(&self, len: usize) -> Option<usize> {
        let Some(oldest) = self.frames.front() else { return Some(0) };
        if self.end > oldest.start {
            // Free: from the end to the arena's end, and from its start to the oldest.
            if self.end + len <= self.capacity {
                return Some(self.end);
            }
            (len <= oldest.start).then_some(0)
        } else {
            (self.end + len <= oldest.start).then_some(self.end)
        }
    }

    fn view(&self, held: &Held) -> Captured<'_> {
        Captured {
            timestamp_ns: held.timestamp_ns,
            vnet: held.vnet,
            beside: held.beside,
            bytes: self.arena.as_deref().map_or(&[], |arena| &arena[held.start..held.start + held.len]),
            wire_len: held.wire_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64, bytes: &[u8]) -> Captured<'_> {
        Captured {
            timestamp_ns: number,
            vnet: VnetHeader::default(),
            beside: None,
            bytes,
            wire_len: u32::try_from(bytes.len()).unwrap(),
        }
    }

    #[test]
    fn a_frame_larger_than_the_queue_is_refused_and_nothing_else_goes() {
        let mut hold = Hold::new(10);
        assert_eq!(hold.push(&frame(1, &[1; 5])), 0);
        assert_eq!(hold.push(&frame(2, &[2; 11])), 1);
        assert_eq!(hold.len(), 1);
    }

    proptest! {
        /// The queue always holds the newest frames, whole and in order, within its bytes.
        #[test]
        fn it_holds_the_newest_frames_whole_and_in_order(
            capacity in 1_usize..200,
            steps in prop::collection::vec((1_usize..60, 0_usize..3), 1..200),
        ) {
            let mut hold = Hold::new(capacity);
            let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
            for (number, (len, taken)) in steps.into_iter().enumerate() {
                let number = u64::try_from(number).unwrap();
                let bytes = vec![u8::try_from(number % 251).unwrap(); len];
                let gone = hold.push(&frame(number, &bytes));
                if len <= capacity {
                    model.drain(..gone);
                    model.push_back((number, bytes));
                }
                hold.advance(taken);
                model.drain(..taken.min(model.len()));
                let held: Vec<_> =
                    hold.frames().map(|f| (f.timestamp_ns, f.bytes.to_vec())).collect();
                prop_assert_eq!(&held, &Vec::from(model.clone()));
                prop_assert_eq!(hold.bytes(), held.iter().map(|(_, b)| b.len()).sum::<usize>());
                prop_assert!(hold.bytes() <= capacity);
            }
        }
    }
}
