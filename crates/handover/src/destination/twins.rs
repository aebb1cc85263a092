//! Frames that reached the TAP by themselves, so that the source's copies of them are not injected as well.
//!
//! A switch floods a broadcast to both hosts: the destination's TAP gets it once the gate is open, and the source has
//! captured it too. Copies are counted: of a frame that came three times by itself, three are left out.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tapferry_frame::checksum;
use tapferry_redirect::parts::Frame;

use crate::connection::nanos;

/// For how long a copy may be on its way over the source.
const LIFETIME: Duration = Duration::from_secs(5);
/// Frames remembered at most; beyond them the oldest are forgotten.
const REMEMBERED: usize = 65_536;

/// What reached the TAP lately.
#[derive(Debug, Default)]
pub(super) struct Twins {
    hasher: RandomState,
    /// The serial numbers of those of a frame that have not been taken, the oldest first.
    waiting: HashMap<u64, VecDeque<u64>>,
    /// All of them, the oldest first.
    order: VecDeque<Came>,
    serial: u64,
    whole: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Came {
    /// CLOCK_MONOTONIC, nanoseconds.
    at: u64,
    serial: u64,
    key: u64,
}

impl Twins {
    /// A frame has reached the TAP by itself.
    pub(super) fn add(&mut self, frame: &Frame<'_>, now: u64) {
        self.forget(now);
        let Some(key) = self.key(frame) else { return };
        if self.order.len() == REMEMBERED {
            self.forget_oldest();
        }
        self.serial += 1;
        self.waiting.entry(key).or_default().push_back(self.serial);
        self.order.push_back(Came { at: now, serial: self.serial, key });
    }

    /// Whether the frame has reached the TAP by itself; each time that it has counts once.
    pub(super) fn take(&mut self, frame: &Frame<'_>, now: u64) -> bool {
        self.forget(now);
        if self.waiting.is_empty() {
            return false;
        }
        let Some(key) = self.key(frame) else { return false };
        let Some(serials) = self.waiting.get_mut(&key) else { return false };
        serials.pop_front();
        if serials.is_empty() {
            self.waiting.remove(&key);
        }
        true
    }

    /// Whether [`Twins::take`] would find it.
    pub(super) fn has(&mut self, frame: &Frame<'_>, now: u64) -> bool {
        self.forget(now);
        !self.waiting.is_empty() && self.key(frame).is_some_and(|key| self.waiting.contains_key(&key))
    }

    fn forget(&mut self, now: u64) {
        while self.order.front().is_some_and(|came| now.saturating_sub(came.at) > nanos(LIFETIME)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(came) = self.order.pop_front() else { return };
        if let Some(serials) = self.waiting.get_mut(&came.key) {
            // It may have been taken already.
            if serials.front() == Some(&came.serial) {
                serials.pop_front();
            }
            if serials.is_empty() {
                self.waiting.remove(&came.key);
            }
        }
    }

    /// What is equal for equal frames, however far their checksums are. A frame that stands for several segments is
    /// part of a connection with the VM alone, which no switch floods.
    fn key(&mut self, frame: &Frame<'_>) -> Option<u64> {
        let captured = &frame.captured;
        if captured.vnet.gso_kind().is_some() {
            return None;
        }
        self.whole.clear();
        self.whole.extend_from_slice(captured.bytes);
        // One that contradicts its header is compared as it is.
        checksum::complete(&captured.vnet, &mut self.whole).ok();
        let mut hasher = self.hasher.build_hasher();
        hasher.write(&self.whole);
        if let Some(tag) = captured.beside {
            hasher.write(&tag.to_bytes());
        }
        Some(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use tapferry_sys::Captured;
    use tapferry_testbed::craft::{self, Checksum, Ip, Packet};
    use tapferry_testbed::vnet::LENGTH_LEGACY;

    use super::*;

    fn view(frame: &craft::Frame) -> Frame<'_> {
        let header: [u8; 10] = frame.header.to_bytes(LENGTH_LEGACY).try_into().unwrap();
        Frame::from(Captured {
            timestamp_ns: 0,
            vnet: tapferry_frame::vnet::VnetHeader::from_bytes(header),
            beside: None,
            bytes: &frame.bytes,
            wire_len: u32::try_from(frame.bytes.len()).unwrap(),
        })
    }

    #[test]
    fn as_many_copies_are_left_out_as_came_by_themselves() {
        let mut twins = Twins::default();
        let frame = Packet::new(Ip::V4, Checksum::Complete).udp(7, 100);
        let frame = view(&frame);
        twins.add(&frame, 1);
        twins.add(&frame, 2);
        assert_eq!(
            [twins.take(&frame, 3), twins.take(&frame, 3), twins.take(&frame, 3)],
            [true, true, false]
        );
    }

    #[test]
    fn a_checksum_that_is_left_to_do_makes_no_difference() {
        let mut twins = Twins::default();
        let [complete, partial] =
            [Checksum::Complete, Checksum::Partial].map(|checksum| Packet::new(Ip::V4, checksum).udp(7, 100));
        twins.add(&view(&complete), 1);
        assert!(twins.take(&view(&partial), 1));
    }

    #[test]
    fn another_frame_is_no_twin() {
        let mut twins = Twins::default();
        let packet = Packet::new(Ip::V4, Checksum::Complete);
        twins.add(&view(&packet.udp(7, 100)), 1);
        assert!(!twins.take(&view(&packet.udp(8, 100)), 1));
    }

    #[test]
    fn one_that_was_taken_does_not_take_a_later_one_along_when_it_is_forgotten() {
        let mut twins = Twins::default();
        let frame = Packet::new(Ip::V4, Checksum::Complete).udp(7, 100);
        let frame = view(&frame);
        twins.add(&frame, 1);
        assert!(twins.take(&frame, 2));
        twins.add(&frame, nanos(LIFETIME));
        assert!(twins.take(&frame, nanos(LIFETIME) + 10));
    }

    #[test]
    fn what_came_long_ago_is_forgotten() {
        let mut twins = Twins::default();
        let frame = Packet::new(Ip::V4, Checksum::Complete).udp(7, 100);
        twins.add(&view(&frame), 1);
        assert!(!twins.take(&view(&frame), 2 + nanos(LIFETIME)));
        assert!(twins.waiting.is_empty() && twins.order.is_empty());
    }
}
