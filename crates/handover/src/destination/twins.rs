//! Frames that reached the TAP by themselves, so that the source's copies of them are not injected as well.
//!
//! A switch floods a broadcast to both hosts: the destination's TAP gets it once the gate is open, and the source has
//! captured it too. Copies are counted: of a frame that came three times by itself, three are left out. However long the
//! source's copy takes, its stamp says when it came: what is remembered from long before that is not needed any more,
//! because the source sends its frames in order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tapferry_frame::checksum;
use tapferry_redirect::parts::Frame;

use crate::connection::nanos;

/// How far apart the two hosts may stamp the same frame: the ways there differ, and so may the clocks from what is known
/// of them.
const APART: Duration = Duration::from_secs(5);
/// Frames of each kind that are remembered at most; beyond them the oldest are forgotten.
const REMEMBERED: usize = 65_536;
/// The group bit of an Ethernet address (IEEE 802.3, 3.2.3).
const GROUP: u8 = 1;

/// What reached the TAP lately.
#[derive(Debug, Default)]
pub(super) struct Twins {
    hasher: RandomState,
    /// By what is equal for equal frames: how many are remembered, and how many of them have been taken.
    copies: HashMap<u64, Copies>,
    /// Those for the VM alone, and those for a group, the oldest first. Apart, so that fast traffic of the VM's own does
    /// not make the others forgotten.
    came: [VecDeque<Came>; 2],
    /// Frames that have not been taken.
    left: usize,
    whole: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Copies {
    remembered: u32,
    taken: u32,
}

#[derive(Debug, Clone, Copy)]
struct Came {
    /// The kernel's stamp, nanoseconds since 1970.
    at: u64,
    key: u64,
}

impl Twins {
    /// A frame has reached the TAP by itself.
    pub(super) fn add(&mut self, frame: &Frame<'_>) {
        let Some(key) = self.key(frame) else { return };
        let kind = usize::from(frame.captured.bytes.first().is_some_and(|byte| byte & GROUP != 0));
        if self.came[kind].len() == REMEMBERED {
            self.forget_oldest(kind);
        }
        self.came[kind].push_back(Came { at: frame.captured.timestamp_ns, key });
        self.copies.entry(key).or_default().remembered += 1;
        self.left += 1;
    }

    /// Whether the frame has reached the TAP by itself; each time that it has counts once.
    pub(super) fn take(&mut self, frame: &Frame<'_>) -> bool {
        let Some(copies) = self.find(frame) else { return false };
        copies.taken += 1;
        self.left -= 1;
        true
    }

    /// Whether [`Twins::take`] would find it.
    pub(super) fn has(&mut self, frame: &Frame<'_>) -> bool {
        self.find(frame).is_some()
    }

    /// All that the source sends from now on came to it at `moment` or later (nanoseconds since 1970, by our clock).
    pub(super) fn forget_before(&mut self, moment: u64) {
        let long_ago = moment.saturating_sub(nanos(APART));
        for kind in 0..self.came.len() {
            while self.came[kind].front().is_some_and(|came| came.at < long_ago) {
                self.forget_oldest(kind);
            }
        }
    }

    fn find(&mut self, frame: &Frame<'_>) -> Option<&mut Copies> {
        if self.left == 0 {
            return None;
        }
        let key = self.key(frame)?;
        self.copies.get_mut(&key).filter(|copies| copies.taken < copies.remembered)
    }

    fn forget_oldest(&mut self, kind: usize) {
        let Some(came) = self.came[kind].pop_front() else { return };
        let Some(copies) = self.copies.get_mut(&came.key) else { return };
        copies.remembered -= 1;
        // The oldest was taken first.
        if copies.taken > 0 {
            copies.taken -= 1;
        } else {
            self.left -= 1;
        }
        if copies.remembered == 0 {
            self.copies.remove(&came.key);
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

    const SECOND: u64 = 1_000_000_000;

    fn stamped(frame: &craft::Frame, timestamp_ns: u64) -> Frame<'_> {
        let header: [u8; 10] = frame.header.to_bytes(LENGTH_LEGACY).try_into().unwrap();
        Frame::from(Captured {
            timestamp_ns,
            vnet: tapferry_frame::vnet::VnetHeader::from_bytes(header),
            beside: None,
            bytes: &frame.bytes,
            wire_len: u32::try_from(frame.bytes.len()).unwrap(),
        })
    }

    fn view(frame: &craft::Frame) -> Frame<'_> {
        stamped(frame, 0)
    }

    fn frame() -> craft::Frame {
        Packet::new(Ip::V4, Checksum::Complete).udp(7, 100)
    }

    #[test]
    fn as_many_copies_are_left_out_as_came_by_themselves() {
        let mut twins = Twins::default();
        let frame = frame();
        let frame = view(&frame);
        twins.add(&frame);
        twins.add(&frame);
        assert_eq!([twins.take(&frame), twins.take(&frame), twins.take(&frame)], [true, true, false]);
    }

    #[test]
    fn a_checksum_that_is_left_to_do_makes_no_difference() {
        let mut twins = Twins::default();
        let [complete, partial] =
            [Checksum::Complete, Checksum::Partial].map(|checksum| Packet::new(Ip::V4, checksum).udp(7, 100));
        twins.add(&view(&complete));
        assert!(twins.take(&view(&partial)));
    }

    #[test]
    fn another_frame_is_no_twin() {
        let mut twins = Twins::default();
        let packet = Packet::new(Ip::V4, Checksum::Complete);
        twins.add(&view(&packet.udp(7, 100)));
        assert!(!twins.take(&view(&packet.udp(8, 100))));
    }

    #[test]
    fn one_that_was_taken_does_not_take_a_later_one_along_when_it_is_forgotten() {
        let mut twins = Twins::default();
        let frame = frame();
        twins.add(&stamped(&frame, SECOND));
        assert!(twins.take(&view(&frame)));
        twins.add(&stamped(&frame, 9 * SECOND));
        twins.forget_before(10 * SECOND);
        assert_eq!([twins.take(&view(&frame)), twins.take(&view(&frame))], [true, false]);
    }

    #[test]
    fn a_twin_is_remembered_until_no_copy_of_it_can_come() {
        let mut twins = Twins::default();
        let frame = frame();
        twins.add(&stamped(&frame, 10 * SECOND));
        // However late it is, the source is not further than that.
        twins.forget_before(14 * SECOND);
        assert!(twins.has(&view(&frame)));
        twins.forget_before(16 * SECOND);
        assert!(!twins.has(&view(&frame)));
        assert!(twins.copies.is_empty() && twins.came.iter().all(VecDeque::is_empty) && twins.left == 0);
    }

    #[test]
    fn fast_traffic_for_the_vm_alone_does_not_make_a_broadcast_forgotten() {
        let mut twins = Twins::default();
        let (mut broadcast, mut unicast) = (frame(), frame());
        broadcast.bytes[..6].fill(0xff);
        unicast.bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        twins.add(&view(&broadcast));
        for number in 0..=u32::try_from(REMEMBERED).unwrap() {
            unicast.bytes[60..64].copy_from_slice(&number.to_be_bytes());
            twins.add(&view(&unicast));
        }
        assert!(twins.take(&view(&broadcast)));
        assert_eq!(twins.came.each_ref().map(VecDeque::len), [REMEMBERED, 1]);
    }
}
