//! Captured frames as the guest sees them.

use tapferry_frame::ethernet::{TAG_OFFSET, VLAN_TAG_LEN, VlanTag};

/// A captured frame, by its place among all that were captured.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// How many frames were captured before it.
    pub index: u64,
    /// The kernel's stamp: CLOCK_REALTIME, nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// The VLAN tag that the kernel holds beside the frame. The TAP puts it in for its reader.
    pub beside: Option<VlanTag>,
    /// The frame from its Ethernet header on, as captured.
    pub bytes: &'a [u8],
}

impl Seen<'_> {
    /// Bytes that the guest gets, without the virtio-net header.
    pub(super) fn len(&self) -> u64 {
        let tag = if self.beside.is_some() { VLAN_TAG_LEN } else { 0 };
        u64::try_from(self.bytes.len() + tag).unwrap_or(u64::MAX)
    }

    /// Whether the guest gets a frame that begins with `start`.
    pub(super) fn begins_with(&self, start: &[u8]) -> bool {
        let Some(tag) = self.beside else { return self.bytes.starts_with(start) };
        let (addresses, rest) = self.bytes.split_at(self.bytes.len().min(TAG_OFFSET));
        let tag = tag.to_bytes();
        let mut start = start;
        for part in [addresses, &tag, rest] {
            let common = part.len().min(start.len());
            if part[..common] != start[..common] {
                return false;
            }
            start = &start[common..];
        }
        start.is_empty()
    }
}

/// The position among `frames` (in the order of their indices) of the first that is not before `index`.
pub(super) fn position(frames: &[Seen<'_>], index: u64) -> usize {
    frames.partition_point(|frame| frame.index < index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(beside: Option<VlanTag>, bytes: &[u8]) -> Seen<'_> {
        Seen { index: 0, timestamp_ns: 0, beside, bytes }
    }

    #[test]
    fn a_tag_beside_the_frame_is_in_what_the_guest_gets() {
        let frame = seen(Some(VlanTag { tpid: 0x8100, tci: 5 }), b"ddddddssssss\x08\x00payload");
        assert_eq!(frame.len(), 25);
        assert!(frame.begins_with(b"ddddddssssss\x81\x00\x00\x05\x08\x00payload"));
        assert!(frame.begins_with(b"ddddddssssss\x81\x00\x00"));
        assert!(!frame.begins_with(b"ddddddssssss\x08\x00payload"));
        assert!(!frame.begins_with(b"ddddddssssss\x81\x00\x00\x05\x08\x00payload and more"));
    }

    #[test]
    fn a_frame_begins_with_its_own_bytes_and_no_others() {
        let frame = seen(None, b"abc");
        assert!(frame.begins_with(b"abc") && frame.begins_with(b"") && frame.begins_with(b"ab"));
        assert!(!frame.begins_with(b"abcd") && !frame.begins_with(b"b"));
    }
}
