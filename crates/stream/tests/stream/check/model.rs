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

/// What comes out of `bytes` by the letter of the framing. Knows nothing of ends that differ in vnet_hdr_support.
pub(crate) fn naive(framing: Framing, mut bytes: &[u8]) -> Outcome<'_> {
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
        let mut vnet_hdr_len = 0;
        if framing.vnet_hdr {
            if bytes.len() < 4 {
                break End::Partial;
            }
            vnet_hdr_len = field(bytes);
            if !VNET_HDR_LENGTHS.contains(&(vnet_hdr_len as usize)) {
                break End::Wrong(FramingError::VnetHeaderLength { length: vnet_hdr_len });
            }
            bytes = &bytes[4..];
        }
        if bytes.len() < length as usize {
            break End::Partial;
        }
        let (record, rest) = bytes.split_at(length as usize);
        let (vnet_hdr, frame) = record.split_at(vnet_hdr_len.min(length) as usize);
        records.push(Record { vnet_hdr, frame });
        bytes = rest;
    };
    Outcome { records, end }
}
