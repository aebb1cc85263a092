//! What a reader has seen, counted.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::inspect::{Content, Verdict, inspect};
use crate::vnet::VnetHeader;

/// A set of numbers, kept as inclusive ranges in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a number; false when it was there already.
    pub fn insert(&mut self, number: u64) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= number);
        let joins_left = at > 0 && {
            let (_, last) = self.0[at - 1];
            if number <= last {
                return false;
            }
            last + 1 == number
        };
        let joins_right = self.0.get(at).is_some_and(|(first, _)| number + 1 == *first);
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
        true
    }

    /// The ranges, first and last number included.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The greatest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// Whether the number is there.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= number);
        at > 0 && number <= self.0[at - 1].1
    }

    /// How many numbers from `first` to `last`, both included, are not there.
    pub fn missing(&self, first: u64, last: u64) -> u64 {
        let there: u64 =
            self.0.iter().map(|(from, to)| ((*to).min(last) + 1).saturating_sub((*from).max(first))).sum();
        (last + 1).saturating_sub(first) - there
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The numbered frames of one series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Numbers read, duplicates included.
    pub count: u64,
    /// The numbers read.
    pub ranges: Ranges,
    /// Numbers read again.
    pub duplicates: u64,
    /// Numbers read after a greater one, for the first time.
    pub out_of_order: u64,
    /// Records whose padding was damaged.
    pub damaged: u64,
}

/// The TCP stream of [`crate::craft`], in its segments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// Frames with a part of it.
    pub segments: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
    /// Segments that did not start where the one before ended.
    pub jumps: u64,
    /// Segments with a byte that does not belong there.
    pub damaged: u64,
    /// Where the next segment should start.
    #[serde(skip)]
    next: Option<u32>,
}

/// Everything a reader has seen since it started or was cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// All frames.
    pub frames: u64,
    /// Their bytes, without virtio-net headers.
    pub bytes: u64,
    /// Numbered frames by series.
    pub flows: BTreeMap<u32, Flow>,
    /// The TCP stream.
    pub stream: Stream,
    /// Frames that are neither numbered nor of the stream.
    pub other: u64,
    /// Frames with a wrong checksum, or a partial one that nothing announces.
    pub bad_checksum: u64,
    /// Frames with a correct partial checksum that their virtio-net header announces.
    pub partial_checksum: u64,
    /// Frames that stand for several segments.
    pub gso: u64,
    /// Frames whose packet, or whose longest segment, is longer than the MTU.
    pub too_long: u64,
    /// Frames with a VLAN tag in their bytes, or beside them (a packet socket's reader puts it back).
    pub tagged: u64,
    /// The tag control information of the last tagged frame, the outer tag's.
    pub last_tag: Option<u16>,
    /// The longest frame, in bytes.
    pub max_length: usize,
    /// Frames the reader itself lost, because its socket was full: then the tally says nothing.
    pub lost_by_reader: u64,
}

impl Tally {
    /// Counts one frame that was read from an interface with that MTU.
    pub fn add(&mut self, header: Option<&VnetHeader>, frame: &[u8], mtu: usize) {
        let seen = inspect(header, frame);
        self.frames += 1;
        self.bytes += u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.max_length = self.max_length.max(frame.len());
        self.gso += u64::from(seen.gso);
        self.too_long += u64::from(seen.packet_length > mtu);
        self.bad_checksum += u64::from(seen.checksum == Verdict::Bad);
        self.partial_checksum += u64::from(seen.checksum == Verdict::Partial);
        if let Some(tag) = seen.tags.first() {
            self.tagged += 1;
            self.last_tag = Some(tag.tci);
        }
        match seen.content {
            Content::Numbered(records) => {
                for record in records {
                    let flow = self.flows.entry(record.flow).or_default();
                    let greatest = flow.ranges.last();
                    flow.count += 1;
                    flow.damaged += u64::from(!record.intact);
                    if !flow.ranges.insert(record.sequence) {
                        flow.duplicates += 1;
                    } else if greatest.is_some_and(|greatest| record.sequence < greatest) {
                        flow.out_of_order += 1;
                    }
                }
            }
            Content::Stream { position, length, intact } => {
                let stream = &mut self.stream;
                stream.segments += 1;
                stream.bytes += u64::try_from(length).unwrap_or(u64::MAX);
                stream.damaged += u64::from(!intact);
                stream.jumps += u64::from(stream.next.is_some_and(|next| next != position));
                stream.next = u32::try_from(length).ok().map(|length| position.wrapping_add(length));
            }
            Content::Other => self.other += 1,
        }
    }

    /// All numbers read, of all series, duplicates included.
    pub fn numbered(&self) -> u64 {
        self.flows.values().map(|flow| flow.count).sum()
    }

    /// The numbers read of a series.
    pub fn ranges(&self, flow: u32) -> &[(u64, u64)] {
        self.flows.get(&flow).map_or(&[], |flow| flow.ranges.as_slice())
    }

    /// A series; empty when nothing of it was read.
    pub fn flow(&self, flow: u32) -> Flow {
        self.flows.get(&flow).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{Checksum, Ip, Packet};
    use crate::probe::Probe;

    fn numbers(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for number in numbers {
            tally.add(None, &Probe::default().build(*number, 60), 1500);
        }
        tally
    }

    #[test]
    fn ranges_join() {
        let mut ranges = Ranges::default();
        for number in [5, 3, 9, 4, 8, 3, 0] {
            ranges.insert(number);
        }
        assert_eq!(ranges.as_slice(), [(0, 0), (3, 5), (8, 9)]);
        assert_eq!(ranges.count(), 6);
        assert_eq!(ranges.missing(0, 9), 4);
        assert_eq!(ranges.missing(4, 8), 2);
        assert!(ranges.contains(8) && !ranges.contains(7));
    }

    #[test]
    fn duplicates_and_disorder_are_counted_apart() {
        let flow = numbers(&[0, 1, 3, 2, 2, 5]).flow(0);
        assert_eq!((flow.count, flow.duplicates, flow.out_of_order), (6, 1, 1));
        assert_eq!(flow.ranges.as_slice(), [(0, 3), (5, 5)]);
    }

    #[test]
    fn the_stream_is_followed_across_segments() {
        let mut tally = Tally::default();
        let packet = Packet::new(Ip::V4, Checksum::Complete);
        for (position, length) in [(0, 100), (100, 50), (160, 10)] {
            tally.add(None, &packet.tcp(position, length).bytes, 1500);
        }
        assert_eq!((tally.stream.segments, tally.stream.bytes, tally.stream.jumps), (3, 160, 1));
        assert_eq!((tally.stream.damaged, tally.bad_checksum), (0, 0));
    }

    #[test]
    fn a_frame_above_the_mtu_is_too_long_and_its_tag_is_free() {
        let mut tally = Tally::default();
        let probe = Probe { tags: vec![crate::probe::Tag::dot1q(1)], ..Probe::default() };
        tally.add(None, &probe.build(0, 1518), 1500);
        assert_eq!(tally.too_long, 0);
        tally.add(None, &probe.build(1, 1519), 1500);
        assert_eq!((tally.too_long, tally.max_length), (1, 1519));
    }
}
