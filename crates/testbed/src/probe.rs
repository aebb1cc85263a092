//! Numbered frames, by which every test knows what arrived, twice, late or not at all.
//!
//! A record is 16 bytes: the magic `TFRY`, a flow (u32, big endian), a sequence number (u64, big endian). It
//! stands at the start of an Ethernet payload of type [`ETHERTYPE`], or of a UDP payload ([`crate::craft`]).
//! What follows it up to the end is padding that depends on the number and the place, so that a frame that
//! was cut and filled up, or mixed with another, is known as damaged.

use std::ops::Range;

/// The ethertype of numbered frames: IEEE 802 local experimental 2.
pub const ETHERTYPE: u16 = 0x88b6;
/// The first bytes of a record.
pub const MAGIC: [u8; 4] = *b"TFRY";
/// The length of a record, in bytes.
pub const RECORD_LENGTH: usize = 16;
/// The shortest numbered frame without a VLAN tag, in bytes.
pub const FRAME_MIN: usize = 14 + RECORD_LENGTH;

/// The number that a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// Which series the number belongs to.
    pub flow: u32,
    /// The number.
    pub sequence: u64,
    /// The padding is as it was built.
    pub intact: bool,
}

/// An 802.1Q or 802.1ad tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The ethertype of the tag, 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority and VLAN.
    pub tci: u16,
}

impl Tag {
    /// An 802.1Q tag (0x8100).
    pub fn dot1q(tci: u16) -> Self {
        Self { tpid: 0x8100, tci }
    }
}

/// How numbered Ethernet frames look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The destination address; broadcast by default, so that every guest takes it.
    pub destination: [u8; 6],
    /// The source address.
    pub source: [u8; 6],
    /// VLAN tags in the bytes, the outer one first.
    pub tags: Vec<Tag>,
    /// The series of numbers.
    pub flow: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self { destination: [0xff; 6], source: [0x02, 0x54, 0x46, 0, 0, 1], tags: Vec::new(), flow: 0 }
    }
}

impl Probe {
    /// Frames of another series.
    pub fn of_flow(flow: u32) -> Self {
        Self { flow, ..Self::default() }
    }

    /// The shortest frame that can be built, in bytes.
    pub fn shortest(&self) -> usize {
        FRAME_MIN + 4 * self.tags.len()
    }

    /// Writes the frame number `sequence` over the whole of `frame`.
    ///
    /// # Panics
    /// When `frame` is shorter than [`Self::shortest`].
    pub fn build_into(&self, sequence: u64, frame: &mut [u8]) {
        assert!(frame.len() >= self.shortest(), "a numbered frame has at least {} bytes", self.shortest());
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.destination);
        put(&self.source);
        for tag in &self.tags {
            put(&tag.tpid.to_be_bytes());
            put(&tag.tci.to_be_bytes());
        }
        put(&ETHERTYPE.to_be_bytes());
        write_record(self.flow, sequence, &mut frame[at..]);
    }

    /// The frame number `sequence`, `size` bytes from its destination address to its end (no checksum).
    ///
    /// # Panics
    /// When `size` is less than [`Self::shortest`].
    pub fn build(&self, sequence: u64, size: usize) -> Vec<u8> {
        let mut frame = vec![0; size];
        self.build_into(sequence, &mut frame);
        frame
    }

    /// The frames of a range of numbers.
    pub fn frames(&self, size: usize, sequences: Range<u64>) -> impl Iterator<Item = Vec<u8>> + '_ {
        sequences.map(move |sequence| self.build(sequence, size))
    }
}

/// The record in an Ethernet frame of type [`ETHERTYPE`], tagged or not, with its tags.
pub fn parse(frame: &[u8]) -> Option<(Record, Vec<Tag>)> {
    let (tags, ethertype, payload) = ethernet(frame)?;
    (ethertype == ETHERTYPE).then(|| read_record(payload)).flatten().map(|record| (record, tags))
}

/// The tags, the ethertype and the payload of an Ethernet frame.
pub fn ethernet(frame: &[u8]) -> Option<(Vec<Tag>, u16, &[u8])> {
    let mut tags = Vec::new();
    let mut at = 12;
    loop {
        let ethertype = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        at += 2;
        if ethertype != 0x8100 && ethertype != 0x88a8 {
            return Some((tags, ethertype, &frame[at..]));
        }
        let tci = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        tags.push(Tag { tpid: ethertype, tci });
        at += 2;
    }
}

/// Writes a record and its padding over the whole of `payload`, which has room for the record.
pub(crate) fn write_record(flow: u32, sequence: u64, payload: &mut [u8]) {
    let (record, padding) = payload.split_at_mut(RECORD_LENGTH);
    record[..4].copy_from_slice(&MAGIC);
    record[4..8].copy_from_slice(&flow.to_be_bytes());
    record[8..].copy_from_slice(&sequence.to_be_bytes());
    for (slot, byte) in padding.iter_mut().zip(padding_of(sequence)) {
        *slot = byte;
    }
}

/// The record at the start of `payload`; what follows it is taken for its padding.
pub(crate) fn read_record(payload: &[u8]) -> Option<Record> {
    let (record, padding) = payload.split_at_checked(RECORD_LENGTH)?;
    if record[..4] != MAGIC {
        return None;
    }
    let flow = u32::from_be_bytes(record[4..8].try_into().ok()?);
    let sequence = u64::from_be_bytes(record[8..].try_into().ok()?);
    let intact = padding.iter().copied().eq(padding_of(sequence).take(padding.len()));
    Some(Record { flow, sequence, intact })
}

fn padding_of(sequence: u64) -> impl Iterator<Item = u8> {
    let mut byte = sequence.to_le_bytes()[0];
    std::iter::repeat_with(move || {
        byte = byte.wrapping_add(1);
        byte
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_frame_tells_its_number() {
        let probe = Probe { tags: vec![Tag::dot1q(0x2064)], flow: 7, ..Probe::default() };
        for size in [probe.shortest(), 64, 1518] {
            let frame = probe.build(u64::MAX - 1, size);
            assert_eq!(frame.len(), size);
            let expected = Record { flow: 7, sequence: u64::MAX - 1, intact: true };
            assert_eq!(parse(&frame), Some((expected, vec![Tag::dot1q(0x2064)])));
        }
    }

    #[test]
    fn a_damaged_frame_is_known() {
        let mut frame = Probe::default().build(5, 64);
        frame[63] ^= 1;
        let (record, _) = parse(&frame).expect("its record is whole");
        assert!(!record.intact);
    }

    #[test]
    fn a_frame_cut_inside_its_record_is_none_of_ours() {
        let frame = Probe::default().build(5, 64);
        for length in 0..FRAME_MIN {
            assert_eq!(parse(&frame[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn other_traffic_is_none_of_ours() {
        let mut frame = Probe::default().build(5, 64);
        frame[12] = 0x08;
        assert_eq!(parse(&frame), None);
    }
}
