//! Frames that wait, in order, bounded in bytes and in number, or in memory.
//!
//! Each lies in one arena that is used round and round, behind what is known of it:
//!
//! ```text
//! u64 timestamp | u32 length on the wire | usize length here | virtio-net header [10] | tag [4] | flags | n | carried [n] | frame
//! ```
//!
//! So keeping a frame costs a copy and no allocation, and a flood of short ones takes no more memory than few long ones.

use std::collections::VecDeque;

use tapferry_frame::ethernet::{ETHERNET_HEADER_LEN, VLAN_TAG_LEN, VlanTag};
use tapferry_frame::vnet::VnetHeader;
use tapferry_sys::Captured;
use tapferry_sys::pages::Pages;

use crate::frame::{Carried, Frame, LONGEST_VNET_HDR};

/// Bytes of what is known of a frame, without what a stream brought before it.
const RECORD: usize = 8 + 4 + size_of::<usize>() + VnetHeader::LEN + VLAN_TAG_LEN + 2;
/// Frames begin at multiples of this many bytes, so that their places are short numbers.
const UNIT: usize = 8;
/// Bytes of such a number.
const PLACE: usize = size_of::<u32>();
/// Bytes that the shortest frame takes, with its record.
const LEAST: usize = RECORD.next_multiple_of(UNIT);

/// There is a tag beside the frame.
const TAGGED: u8 = 1;
/// A stream has brought a header.
const CARRIED: u8 = 2;
/// That header was announced.
const ANNOUNCED: u8 = 4;

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

/// How much a queue holds.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Bytes of all frames.
    bytes: usize,
    frames: usize,
    /// Bytes of the arena.
    arena: usize,
}

/// A bounded queue of frames.
#[derive(Debug)]
pub struct FrameQueue {
    bounds: Bounds,
    /// None until the first frame comes and after [`FrameQueue::release_memory`].
    arena: Option<Pages>,
    /// Where the frames begin in the arena, in units, the oldest first.
    places: VecDeque<u32>,
    /// Where the next frame goes in the arena, in bytes, unless it has to go to the start.
    end: usize,
    bytes: usize,
}

impl FrameQueue {
    /// A queue for so many frames, of so many bytes together.
    pub fn new(max_bytes: usize, max_frames: usize) -> Self {
        // Hardly a frame is shorter than its header; more that are find no room.
        let frames = max_frames.min(max_bytes / ETHERNET_HEADER_LEN + 1);
        let beside = frames.saturating_mul(RECORD + LONGEST_VNET_HDR + UNIT);
        Self::bounded(Bounds {
            bytes: max_bytes,
            frames: max_frames,
            arena: max_bytes.saturating_add(beside),
        })
    }

    /// A queue that never takes more than so many bytes of memory, with all that is known of its frames.
    pub fn within(memory: usize) -> Self {
        // The rest has room for the places of as many frames as there can be.
        let arena = memory / (LEAST + PLACE) * LEAST;
        Self::bounded(Bounds { bytes: arena, frames: arena / LEAST, arena })
    }

    fn bounded(bounds: Bounds) -> Self {
        Self { bounds, arena: None, places: VecDeque::new(), end: 0, bytes: 0 }
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for a frame of so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.room_for(bytes, room_of(bytes, 0)).is_some()
    }

    /// The oldest frame.
    pub fn front(&self) -> Option<Frame<'_>> {
        self.frames().next()
    }

    /// All frames, the oldest first.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.frames_from(0)
    }

    /// All frames but the `count` oldest.
    pub fn frames_from(&self, count: usize) -> impl Iterator<Item = Frame<'_>> {
        self.places.range(count.min(self.places.len())..).map(|place| self.frame_at(*place))
    }

    /// Removes the `count` oldest frames.
    pub fn advance(&mut self, count: usize) {
        for _ in 0..count.min(self.places.len()) {
            self.bytes -= self.front().map_or(0, |frame| frame.captured.bytes.len());
            self.places.pop_front();
        }
    }

    /// Removes the newest frames, as long as they were stamped at `moment` (nanoseconds since 1970) or later.
    pub fn remove_since(&mut self, moment: u64) -> usize {
        let before = self.places.len();
        while let Some(&place) = self.places.back() {
            let newest = self.frame_at(place).captured;
            if newest.timestamp_ns < moment {
                break;
            }
            self.bytes -= newest.bytes.len();
            self.end = offset_of(place);
            self.places.pop_back();
        }
        before - self.places.len()
    }

    /// Copies a frame to the end of the queue, if there is room for it.
    pub fn push(&mut self, frame: &Frame<'_>) -> bool {
        let bytes = frame.captured.bytes;
        let room = room_of_frame(frame);
        let Some((start, place)) = self.room_for(bytes.len(), room) else { return false };
        if self.arena.is_none() {
            self.arena = Pages::zeroed(self.bounds.arena).ok();
            self.places.reserve_exact(self.bounds.frames.min(self.bounds.arena / LEAST));
        }
        // Without memory for the queue there is no room, as if it were full.
        let Some(arena) = &mut self.arena else { return false };
        write(frame, &mut arena[start..start + room]);
        self.end = start + room;
        self.bytes += bytes.len();
        self.places.push_back(place);
        true
    }

    /// Copies a frame to the end of the queue; the oldest ones go until there is room for it.
    pub fn push_over(&mut self, frame: &Frame<'_>) -> PushedOver {
        let mut evicted = 0;
        let fits =
            frame.captured.bytes.len() <= self.bounds.bytes && room_of_frame(frame) <= self.bounds.arena;
        while fits && !self.push(frame) {
            if self.places.is_empty() {
                return PushedOver { evicted, kept: false };
            }
            self.advance(1);
            evicted += 1;
        }
        PushedOver { evicted, kept: fits }
    }

    /// Gives the memory of an empty queue back.
    pub fn release_memory(&mut self) {
        if self.places.is_empty() && self.arena.is_some() {
            *self = Self::bounded(self.bounds);
        }
    }

    /// Where `room` bytes of the arena fit in one piece without touching a frame that waits, in bytes and as a place, if
    /// the queue takes one frame more, of so many bytes.
    fn room_for(&self, bytes: usize, room: usize) -> Option<(usize, u32)> {
        if self.places.len() >= self.bounds.frames || self.bytes + bytes > self.bounds.bytes {
            return None;
        }
        let start = match self.places.front().map(|place| offset_of(*place)) {
            None => (room <= self.bounds.arena).then_some(0),
            // Free: from the end to the arena's end, and from its start to the oldest.
            Some(oldest) if self.end > oldest => {
                if self.end + room <= self.bounds.arena {
                    Some(self.end)
                } else {
                    (room <= oldest).then_some(0)
                }
            }
            Some(oldest) => (self.end + room <= oldest).then_some(self.end),
        }?;
        // An arena beyond 32 GiB is used up to there.
        Some((start, u32::try_from(start / UNIT).ok()?))
    }

    fn frame_at(&self, place: u32) -> Frame<'_> {
        let arena = self.arena.as_deref().unwrap_or_default();
        read(&arena[offset_of(place)..])
    }
}

/// Where a place is in the arena, in bytes.
fn offset_of(place: u32) -> usize {
    usize::try_from(place).map_or(usize::MAX, |place| place * UNIT)
}

/// Bytes of the arena that a frame takes.
fn room_of(frame: usize, carried: usize) -> usize {
    (RECORD + carried + frame).next_multiple_of(UNIT)
}

fn room_of_frame(frame: &Frame<'_>) -> usize {
    let carried = frame.carried.as_ref().map_or(0, |carried| carried.as_bytes().len());
    room_of(frame.captured.bytes.len(), carried)
}

/// Writes a frame behind what is known of it.
fn write(frame: &Frame<'_>, room: &mut [u8]) {
    let Captured { timestamp_ns, vnet, beside, bytes, wire_len } = frame.captured;
    let (carried, announced) = match &frame.carried {
        Some(carried) => (carried.as_bytes(), carried.announced),
        None => (&[][..], false),
    };
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags =
        flag(beside.is_some(), TAGGED) | flag(frame.carried.is_some(), CARRIED) | flag(announced, ANNOUNCED);
    let mut rest = room;
    for part in [
        &timestamp_ns.to_ne_bytes()[..],
        &wire_len.to_ne_bytes(),
        &bytes.len().to_ne_bytes(),
        &vnet.to_bytes(),
        &beside.map_or([0; VLAN_TAG_LEN], VlanTag::to_bytes),
        // At most LONGEST_VNET_HDR.
        &[flags, u8::try_from(carried.len()).unwrap_or(0)],
        carried,
        bytes,
    ] {
        let (place, behind) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = behind;
    }
}

/// The frame that was written there.
fn read(mut from: &[u8]) -> Frame<'_> {
    let timestamp_ns = u64::from_ne_bytes(take(&mut from));
    let wire_len = u32::from_ne_bytes(take(&mut from));
    let len = usize::from_ne_bytes(take(&mut from));
    let vnet = VnetHeader::from_bytes(take(&mut from));
    let [tpid_high, tpid_low, tci_high, tci_low] = take(&mut from);
    let [flags, carried_len] = take(&mut from);
    let (carried, from) = from.split_at(carried_len.into());
    let is_set = |flag| flags & flag != 0;
    let tag = VlanTag {
        tpid: u16::from_be_bytes([tpid_high, tpid_low]),
        tci: u16::from_be_bytes([tci_high, tci_low]),
    };
    let captured =
        Captured { timestamp_ns, vnet, beside: is_set(TAGGED).then_some(tag), bytes: &from[..len], wire_len };
    let carried = is_set(CARRIED).then(|| Carried::new(carried, is_set(ANNOUNCED))).flatten();
    Frame { captured, carried }
}

fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = from.split_at(N);
    *from = rest;
    let mut bytes = [0; N];
    bytes.copy_from_slice(taken);
    bytes
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
    fn what_is_known_of_a_frame_stays_with_it() {
        let mut queue = FrameQueue::new(1000, 10);
        let vnet = VnetHeader::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let tag = VlanTag { tpid: 0x88a8, tci: 0x2064 };
        let captured = Captured { timestamp_ns: 77, vnet, beside: Some(tag), bytes: b"frame", wire_len: 9 };
        let carried = Carried::new(&[3; 12], true);
        assert!(queue.push(&Frame { captured, carried }) && queue.push(&Frame::from(captured)));
        assert!(queue.push(&Frame { captured, carried: Carried::new(&[], false) }));
        let headers: Vec<_> = queue
            .frames()
            .map(|frame| {
                let Captured { timestamp_ns, vnet: header, beside, bytes, wire_len } = frame.captured;
                assert_eq!((timestamp_ns, header, beside, wire_len), (77, vnet, Some(tag), 9));
                assert_eq!(bytes, b"frame");
                frame.carried.map(|carried| (carried.as_bytes().to_vec(), carried.announced))
            })
            .collect();
        assert_eq!(headers, [Some((vec![3; 12], true)), None, Some((vec![], false))]);
    }

    #[test]
    fn a_flood_of_short_frames_takes_no_more_memory_than_was_given() {
        const MEMORY: usize = 1 << 20;
        for len in [0, 1, 60, 1500] {
            let mut queue = FrameQueue::within(MEMORY);
            let mut frames = 0;
            while queue.push(&frame(frames, &vec![7; len])) {
                frames += 1;
            }
            let beside = queue.places.capacity() * PLACE;
            let arena = queue.arena.as_ref().unwrap().len();
            assert!(arena + beside <= MEMORY, "{arena} and {beside} bytes for frames of {len}");
            let worth = usize::try_from(frames).unwrap() * (RECORD + len);
            assert!(
                worth >= MEMORY / 5 * 4,
                "only {worth} bytes of frames of {len}, with what is known of them"
            );
            assert!(!queue.has_room(len) && queue.len() == usize::try_from(frames).unwrap());
        }
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
