//! The Internet checksum (RFC 1071), and completing one that was left to hardware.
//!
//! [`Sum`] collects 16-bit words in ones' complement; what it is fed counts as beginning at an even place, so only
//! the last piece may have an odd length.

use crate::layers::Malformed;
use crate::vnet::VnetHeader;

/// `csum_offset` of UDP, in which a checksum of 0 says that there is none (RFC 768).
const UDP_CHECKSUM_OFFSET: u16 = 6;

/// A ones' complement sum that is still open for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u32);

impl Sum {
    /// Adds bytes as big-endian words; an odd last byte counts as the high half of a word.
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        // The sum of words in the host's order is the byte-swapped sum (RFC 1071, section 2 (B)): so they are added
        // 8 bytes a step, in two lanes whose carries the upper halves collect, and swapped once.
        let mut low: u64 = 0;
        let mut high: u64 = 0;
        let (steps, rest) = bytes.as_chunks::<8>();
        for step in steps {
            let word = u64::from_ne_bytes(*step);
            low += word & 0xffff_ffff;
            high += word >> 32;
        }
        let mut tail = [0; 8];
        tail[..rest.len()].copy_from_slice(rest);
        let tail = u64::from_ne_bytes(tail);
        low += tail & 0xffff_ffff;
        high += tail >> 32;
        let [a, b] = fold(low + high).to_ne_bytes();
        self.add_word(u16::from_be_bytes([a, b]))
    }

    /// Adds one word, in host order.
    #[must_use]
    pub fn add_word(self, word: u16) -> Sum {
        // Kept folded, so it cannot overflow however much is added.
        Sum(u32::from(fold(u64::from(self.0) + u64::from(word))))
    }

    /// The checksum: the complement of the sum, in host order.
    #[must_use]
    pub fn finish(self) -> u16 {
        !fold(u64::from(self.0))
    }

    /// The checksum as UDP writes it: 0, which would say that there is none, becomes 0xffff (RFC 768).
    #[must_use]
    pub fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Adds the carries back in until 16 bits hold the sum.
fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(folded) => return folded,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

/// The pseudo header of TCP and UDP over IPv4 (RFC 9293, RFC 768). `transport_len` counts the transport header and
/// its payload, in bytes.
#[must_use]
pub fn pseudo_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, transport_len: u16) -> Sum {
    Sum::default()
        .add_bytes(&source)
        .add_bytes(&destination)
        .add_word(u16::from(protocol))
        .add_word(transport_len)
}

/// The pseudo header of TCP and UDP over IPv6 (RFC 8200, section 8.1). `transport_len` counts the transport header
/// and its payload, in bytes.
#[must_use]
pub fn pseudo_v6(source: [u8; 16], destination: [u8; 16], protocol: u8, transport_len: u32) -> Sum {
    Sum::default()
        .add_bytes(&source)
        .add_bytes(&destination)
        .add_bytes(&transport_len.to_be_bytes())
        .add_word(u16::from(protocol))
}

/// Finishes the checksum that `vnet` names, in place; the field holds the pseudo header's sum before. Nothing is
/// done if no checksum is wanting. For a frame that is not to be segmented.
///
/// The checksum covers everything from `csum_start` to the frame's end, as in the kernel's `skb_checksum_help()`.
/// A checksum of 0 is written as 0xffff where 0 would say that there is none (UDP).
///
/// # Errors
///
/// [`Malformed::ChecksumOutside`] if the field is not in the frame, which is left as it was.
pub fn complete(vnet: &VnetHeader, frame: &mut [u8]) -> Result<(), Malformed> {
    if let Some((field, checksum)) = completed(vnet, frame)? {
        frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    Ok(())
}

/// Where in `frame` the checksum that `vnet` names belongs, and what it is once complete. The two bytes are there.
pub(crate) fn completed(vnet: &VnetHeader, frame: &[u8]) -> Result<Option<(usize, u16)>, Malformed> {
    if !vnet.needs_checksum() {
        return Ok(None);
    }
    let start = usize::from(vnet.csum_start);
    let field = start + usize::from(vnet.csum_offset);
    if field + 2 > frame.len() {
        return Err(Malformed::ChecksumOutside);
    }
    let sum = Sum::default().add_bytes(&frame[start..]);
    let checksum = if vnet.csum_offset == UDP_CHECKSUM_OFFSET { sum.finish_udp() } else { sum.finish() };
    Ok(Some((field, checksum)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vnet::FLAG_NEEDS_CSUM;
    use proptest::prelude::*;

    /// The sum as RFC 1071 words it.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let sum = Sum::default().add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_ffff_for_udp_only() {
        let all_ones = Sum::default().add_word(0xffff);
        assert_eq!((all_ones.finish(), all_ones.finish_udp()), (0, 0xffff));

        for (csum_offset, expected) in [(6, 0xff), (16, 0)] {
            let vnet = VnetHeader { flags: FLAG_NEEDS_CSUM, csum_offset, ..VnetHeader::default() };
            let mut frame = [0; 20];
            frame[0] = 0xff;
            frame[1] = 0xff;
            complete(&vnet, &mut frame).unwrap();
            let field = usize::from(csum_offset);
            assert_eq!(frame[field..field + 2], [expected; 2]);
        }
    }

    #[test]
    fn a_frame_that_wants_no_checksum_is_left_alone() {
        let mut frame = [7; 60];
        complete(&VnetHeader { csum_start: 9999, ..VnetHeader::default() }, &mut frame).unwrap();
        assert_eq!(frame, [7; 60]);
    }

    #[test]
    fn a_field_that_ends_behind_the_frame_is_refused() {
        let vnet =
            VnetHeader { flags: FLAG_NEEDS_CSUM, csum_start: 34, csum_offset: 25, ..VnetHeader::default() };
        assert_eq!(complete(&vnet, &mut [7; 60]), Err(Malformed::ChecksumOutside));
        assert_eq!(complete(&vnet, &mut [7; 61]), Ok(()));
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_slow_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::default().add_bytes(&bytes).finish(), slow(&bytes));
        }

        #[test]
        fn pieces_of_even_length_sum_to_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            half in 0usize..100,
        ) {
            let (a, b) = bytes.split_at((half * 2).min(bytes.len() / 2 * 2));
            prop_assert_eq!(Sum::default().add_bytes(a).add_bytes(b), Sum::default().add_bytes(&bytes));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            header: [u8; VnetHeader::LEN],
            mut frame in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut vnet = VnetHeader::from_bytes(header);
            let _ = complete(&vnet, &mut frame);
            (vnet.csum_start, vnet.csum_offset) = (vnet.csum_start % 128, vnet.csum_offset % 128);
            let _ = complete(&vnet, &mut frame);
        }
    }
}
