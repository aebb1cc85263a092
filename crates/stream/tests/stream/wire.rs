//! Records as they go over the wire.

use tapferry_stream::{Framing, Prefix, Unannounced};

pub(crate) const PLAIN: Framing = Framing { vnet_hdr: false, unannounced: Unannounced::Recognise };
pub(crate) const HEADERS: Framing = Framing { vnet_hdr: true, ..PLAIN };

/// Without vnet_hdr_support, and with so many bytes of header in each record.
pub(crate) const fn inline(len: usize) -> Framing {
    Framing { unannounced: Unannounced::Len(len), ..PLAIN }
}

/// The fields of a record as they are given, sane or not, and its bytes.
pub(crate) fn raw(framing: Framing, length: u32, vnet_hdr_len: u32, body: &[u8]) -> Vec<u8> {
    let vnet_hdr_len = vnet_hdr_len.to_be_bytes();
    let second: &[u8] = if framing.vnet_hdr { &vnet_hdr_len } else { &[] };
    [&length.to_be_bytes(), second, body].concat()
}

/// A record as the encoder makes it.
pub(crate) fn encoded(framing: Framing, vnet_hdr: &[u8], frame: &[u8]) -> Vec<u8> {
    let prefix = Prefix::new(framing, vnet_hdr.len(), frame.len()).unwrap();
    [prefix.as_bytes(), vnet_hdr, frame].concat()
}
