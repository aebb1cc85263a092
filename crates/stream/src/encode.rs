//! The encoder: the fields that go before a record.

use crate::framing::{FIELD, Framing, MAX_LENGTH};

/// The fields before one record, to be written before the virtio-net header and the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; 2 * FIELD],
    len: usize,
}

impl Prefix {
    /// For a record of `vnet_hdr_len` bytes of virtio-net header and `frame_len` bytes of frame. Without
    /// [`Framing::vnet_hdr`] the length counts both all the same, and nothing announces the header: a QEMU with its
    /// defaults wants that, in the length of its network card's header, where a TAP with `vnet_hdr=on` is behind its
    /// filter; every other peer takes it for the beginning of the frame, so pass 0 there.
    ///
    /// `None` for what cannot be sent: an empty frame (QEMU's reader never gets past a length of 0), or more than
    /// [`MAX_LENGTH`] bytes together.
    #[must_use]
    pub fn new(framing: Framing, vnet_hdr_len: usize, frame_len: usize) -> Option<Self> {
        let length = vnet_hdr_len.checked_add(frame_len)?;
        if frame_len == 0 || length > MAX_LENGTH {
            return None;
        }
        let mut bytes = [0; 2 * FIELD];
        let (first, second) = bytes.split_at_mut(FIELD);
        first.copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        second.copy_from_slice(&u32::try_from(vnet_hdr_len).ok()?.to_be_bytes());
        Some(Self { bytes, len: framing.prefix_len() })
    }

    /// As it goes over the wire: 4 bytes, 8 with [`Framing::vnet_hdr`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Unannounced;

    const PLAIN: Framing = Framing { vnet_hdr: false, unannounced: Unannounced::Recognise };
    const HEADERS: Framing = Framing { vnet_hdr: true, ..PLAIN };

    fn bytes(framing: Framing, vnet_hdr_len: usize, frame_len: usize) -> Option<Vec<u8>> {
        Prefix::new(framing, vnet_hdr_len, frame_len).map(|prefix| prefix.as_bytes().to_vec())
    }

    #[test]
    fn the_length_counts_header_and_frame_but_not_the_fields() {
        assert_eq!(bytes(PLAIN, 0, 60).unwrap(), [0, 0, 0, 60]);
        assert_eq!(bytes(HEADERS, 12, 1514).unwrap(), [0, 0, 0x05, 0xf6, 0, 0, 0, 12]);
        assert_eq!(bytes(HEADERS, 0, 60).unwrap(), [0, 0, 0, 60, 0, 0, 0, 0]);
    }

    #[test]
    fn a_header_may_be_sent_unannounced() {
        assert_eq!(bytes(PLAIN, 12, 60).unwrap(), [0, 0, 0, 72]);
        assert_eq!(bytes(PLAIN, 12, 69_621), None);
    }

    #[test]
    fn the_longest_record_is_sent_and_the_next_longer_is_not() {
        assert_eq!(bytes(PLAIN, 0, 69_632).unwrap(), [0, 1, 0x10, 0]);
        assert_eq!(bytes(PLAIN, 0, 69_633), None);
        assert_eq!(bytes(HEADERS, 12, 69_620).unwrap(), [0, 1, 0x10, 0, 0, 0, 0, 12]);
        assert_eq!(bytes(HEADERS, 12, 69_621), None);
        assert_eq!(bytes(HEADERS, usize::MAX, 1), None);
    }

    #[test]
    fn an_empty_frame_is_not_sent() {
        assert_eq!(bytes(PLAIN, 0, 0), None);
        assert_eq!(bytes(HEADERS, 12, 0), None, "a header without a frame is no frame either");
    }
}
