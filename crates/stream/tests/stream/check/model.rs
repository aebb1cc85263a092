//! A naive decoder: by the letter of the framing, over all of the bytes at once.

use tapferry_stream::{Framing, FramingError, MAX_LENGTH, Record, VNET_HDR_LENGTHS};

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// After a record.
    Between,
    /// In the midst of one.
    Partial,
    /// Before something that is none.
    Wrong(FramingError),
}

/// What comes out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome<'a> {
    pub(crate) records: Vec<Record<'a>>,
    pub(crate) end: End,
}

/// What comes out of `bytes` by the letter of the framing, with `unannounced` bytes of virtio-net header in each record
/// from the one of that place on. Knows nothing of ends that differ in vnet_hdr_support.
pub(crate) fn naive(framing: Framing, unannounced: (usize, usize), mut bytes: &[u8]) -> Outcome<'_> {
    let (from, unannounced) = unannounced;
    let field = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut records = Vec::new();
    let end = loop {
        if bytes.is_empty() {
            break End::Between;
        }
        if bytes.len() < 4 {
            break End::Partial;
        }
        let length = field(bytes);
        if length as usize > MAX_LENGTH {
            break End::Wrong(FramingError::Oversized { length });
        }
        bytes = &bytes[4..];
        let mut vnet_hdr_len = if records.len() < from { 0 } else { unannounced };
        if framing.vnet_hdr {
            if bytes.len() < 4 {
                break End::Partial;
            }
            let announced = field(bytes);
            vnet_hdr_len = announced as usize;
            if !VNET_HDR_LENGTHS.contains(&vnet_hdr_len) {
                break End::Wrong(FramingError::VnetHeaderLength { length: announced });
            }
            bytes = &bytes[4..];
        }
        if bytes.len() < length as usize {
            break End::Partial;
        }
        let (record, rest) = bytes.split_at(length as usize);
        if record.len() == 60 && record == announcement(&record[6..12]) {
            vnet_hdr_len = 0;
        }
        let (vnet_hdr, frame) = record.split_at(vnet_hdr_len.min(length as usize));
        records.push(Record { vnet_hdr, frame });
        bytes = rest;
    };
    Outcome { records, end }
}

/// What QEMU sends to announce a network card: never with a virtio-net header.
pub(crate) fn announcement(card: &[u8]) -> Vec<u8> {
    let request = [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3];
    [&[0xff; 6][..], card, &request, card, &[0; 4], card, &[0; 22]].concat()
}

/// Whether a record may be read as a virtio-net header of `len` bytes and a frame: it has room for both, a flag or a
/// type of the header is none that does not exist, and where the ethertype is then, there is one that somebody uses.
pub(crate) fn may_begin_with_header(record: &[u8], len: usize) -> bool {
    let used = |ethertype: u16| ethertype <= 1500 || (0x0800..=0x9300).contains(&ethertype);
    [10, 12, 20, 24].contains(&len)
        && record.len() >= len + 14
        && record[0] < 16
        && record[1] & 0x1f < 6
        && used(u16::from_be_bytes([record[len + 12], record[len + 13]]))
        && !is_surely_a_frame(record)
}

/// Whether a record is a packet of IPv4, IPv6 or ARP as it is sent, behind the addresses of a frame.
pub(crate) fn is_surely_a_frame(record: &[u8]) -> bool {
    let Some((header, packet)) = record.split_at_checked(14) else { return false };
    let number = |at: usize| usize::from(packet[at]) << 8 | usize::from(packet[at + 1]);
    match (header[12], header[13]) {
        (8, 0) => {
            packet.len() >= 20
                && (0x45..0x50).contains(&packet[0])
                && packet.len() >= usize::from(packet[0] & 15) * 4
                && number(2) == packet.len()
        }
        (8, 6) => packet.len() == 28 && packet[..6] == [0, 1, 8, 0, 6, 4],
        (0x86, 0xdd) => packet.len() >= 40 && packet[0] >> 4 == 6 && 40 + number(4) == packet.len(),
        _ => false,
    }
}
