//! Whether a record begins with a virtio-net header that nothing announces.
//!
//! QEMU sends one from a TAP with `vnet_hdr=on`, its default with virtio-net, whatever its filter's vnet_hdr_support
//! is. Its length is that of the guest's network card. Read without it, the frame begins with the header:
//!
//! ```text
//! frame      destination | source    | ethertype | ...
//! header of 12 bytes     . . . . . . | destination | source | ethertype | packet
//! ```
//!
//! A record is taken for one with a header if the header's fields have values that occur and a known packet behind it
//! ends where the record does; or if the header is all zeros, which is no station's address, and a known ethertype
//! stands behind it. Never if a known packet stands where it belongs without a header, nor, by zeros alone, if a known
//! ethertype does. What is wrapped in tags or protocols that are not known here is safe: the addresses before them are
//! out of the range of the fields, but for those of zeros and a last byte or two. There is no telling an address with a
//! tag's type in its midst behind 24 zeros from a tag behind 20, before it an address that begins with zeros, as
//! laboratories give out: it is taken for the latter.
//!
//! QEMU's own announcements are not asked ([`crate::likeness::is_announcement`]): they never have a header, wherever
//! they are sent.

use crate::likeness::{ETHERNET_HEADER, Likeness, likeness};

/// The lengths that occur, the usual one first.
const LENGTHS: [usize; 4] = [12, 10, 20, 24];

/// Bytes of an address.
const ADDRESS: usize = 6;

/// The bytes of virtio-net header that a record begins with: 0 if it is a frame from its first byte on. `None` if it
/// does not tell.
pub(crate) fn recognise(record: &[u8]) -> Option<usize> {
    match likeness(record, record.len()) {
        Likeness::Exact | Likeness::Padded => Some(0),
        Likeness::Type => convincing(record).or(Some(0)),
        Likeness::Unknown => convincing(record).or_else(|| silent(record)),
    }
}

/// The length of a header in use, and behind it a frame that is one beyond doubt.
pub(crate) fn convincing(record: &[u8]) -> Option<usize> {
    header_len(record, |header, frame| {
        is_in_use(header, frame.len()) && convinces(frame, likeness(frame, frame.len()))
    })
}

/// The length of a header that is all zeros, as most are, and behind it the addresses and the type of a frame.
fn silent(record: &[u8]) -> Option<usize> {
    header_len(record, |header, frame| {
        header.iter().all(|byte| *byte == 0)
            && has_addresses(frame)
            && likeness(frame, frame.len()) >= Likeness::Type
    })
}

/// The first of the lengths for which header and frame are as they should be.
fn header_len(record: &[u8], are_sane: impl Fn(&[u8], &[u8]) -> bool) -> Option<usize> {
    LENGTHS
        .into_iter()
        .find(|len| record.split_at_checked(*len).is_some_and(|(header, frame)| are_sane(header, frame)))
}

/// Whether a frame goes from one station to another: nobody has the address of zeros, and no group sends.
fn has_addresses(frame: &[u8]) -> bool {
    const GROUP: u8 = 1;
    let Some((destination, source)) = frame.get(..2 * ADDRESS).map(|both| both.split_at(ADDRESS)) else {
        return false;
    };
    destination != [0; ADDRESS] && source != [0; ADDRESS] && source[0] & GROUP == 0
}

/// Whether such a frame cannot well be the rest of a longer one, with a tag before the packet that is not known here:
/// its packet would end four bytes or more before the frame does. Padding hides that; then the address should at least
/// not look like the end of one that is nearly all zeros, as laboratories give out.
pub(crate) fn convinces(frame: &[u8], likeness: Likeness) -> bool {
    match likeness {
        Likeness::Exact => true,
        Likeness::Padded => !frame.starts_with(&[0]),
        Likeness::Type | Likeness::Unknown => false,
    }
}

/// Whether the fields of `struct virtio_net_hdr` (`linux/virtio_net.h`) have values that occur: known flags, a known
/// type and segments if there is one, a packet's headers and a checksum inside of the frame. What follows in longer
/// headers is not looked at: drivers leave in it what was there.
pub(crate) fn is_in_use(header: &[u8], frame_len: usize) -> bool {
    const FLAGS: u8 = 0x0f;
    const NEEDS_CSUM: u8 = 1;
    /// The fields of the checksum count segments instead.
    const RSC_INFO: u8 = 4;
    const GSO_NONE: u8 = 0;
    /// ECN, and a UDP tunnel over IPv4 or IPv6.
    const GSO_BITS: u8 = 0x80 | 0x20 | 0x40;
    const GSO_TYPES: [u8; 5] = [GSO_NONE, 1, 3, 4, 5];

    let Some((&[flags, gso_type, fields @ ..], _)) = header.split_first_chunk::<10>() else { return false };
    if flags & !FLAGS != 0 || !GSO_TYPES.contains(&(gso_type & !GSO_BITS)) {
        return false;
    }
    let [hdr_len, gso_size, csum_start, csum_offset] =
        [0, 2, 4, 6].map(|at| usize::from(u16::from_le_bytes([fields[at], fields[at + 1]])));
    let checksum = csum_start >= ETHERNET_HEADER && csum_start + csum_offset + 2 <= frame_len;
    let no_checksum = flags & NEEDS_CSUM == 0 && (csum_start, csum_offset) == (0, 0);
    hdr_len <= frame_len
        && (gso_type == GSO_NONE) == (gso_size == 0)
        && (checksum || no_checksum || flags & RSC_INFO != 0)
}
