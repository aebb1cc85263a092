//! The Internet checksum (RFC 1071), and completing one that was left to hardware.
//!
//! [`Sum`] collects 16-bit words in ones' complement; what it is fed counts as beginning at an even place, so only
//! the last piece may have an odd length.

use crate::bytes;
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
    if !vnet.needs_checksum() {
        return Ok(());
    }
    let start = usize::from(vnet.csum_start);
    let field = start + usize::from(vnet.csum_offset);
    let covered = frame.get(start..).ok_or(Malformed::ChecksumOutside)?;
    let sum = Sum::default().add_bytes(covered);
    let checksum = if vnet.csum_offset == UDP_CHECKSUM_OFFSET { sum.finish_udp() } else { sum.finish() };
    bytes::put(frame, field, checksum.to_be_bytes()).ok_or(Malformed::ChecksumOutside)
}
