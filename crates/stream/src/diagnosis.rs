//! Whether the two ends differ in vnet_hdr_support: a stream's first record, read both ways.
//!
//! ```text
//! read as    on the wire
//! off        length | frame .........................................
//! on         length | vnet_hdr_len | virtio-net header | frame ......| ....
//!                   ^ body, `length` bytes                           ^
//! ```
//!
//! Frames may hold anything, so most bytes that make little sense are no proof: a test's payload without any
//! ethertype is as good a frame as another. A stream is refused only where the configured reading shows nothing that
//! is known and the other one shows more than chance would put there.

use crate::error::FramingError;
use crate::framing::{FIELD, Framing, VNET_HDR_LENGTHS, field_at};

/// What a first record says about the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It makes sense as configured, or no more sense the other way.
    AsConfigured,
    /// It makes more sense the other way, but not enough to refuse it.
    Either,
    /// The peer's vnet_hdr_support is not ours.
    Mismatch,
}

/// How much a reading finds where the Ethernet frame should be; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// Nothing that is known.
    Unknown,
    /// A known ethertype, and no packet behind it that belies it.
    Type,
    /// A packet of that type, and behind it what fills a short frame up to the length that Ethernet wants.
    Padded,
    /// A packet of that type that ends where the frame ends.
    Exact,
}

const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;

/// What a short frame is padded to, without its checksum; the longer one got a VLAN tag afterwards.
const PADDED: [usize; 2] = [60, 64];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;

/// Up to this the field is a length, and a packet of 802.2 LLC follows.
const MAX_LLC_LEN: u16 = 1500;

/// How the spanning tree protocol's packets begin in 802.2 LLC.
const SPANNING_TREE: [u8; 3] = [0x42, 0x42, 0x03];

/// 802.1Q, 802.1ad and what came before it: a tag of four bytes, the ethertype behind it.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// What else is seen on Ethernet (IEEE's registry): wake-on-LAN, two more VLAN tags, transparent bridging,
/// slow protocols, MPLS, PPPoE, PROFINET, EtherCAT, 802.1X, experiments, LLDP, MACsec, backbone bridging, PTP, Cisco
/// metadata, FCoE, FIP, 802.1BR, loopback.
const OTHER_TYPES: [u16; 24] = [
    0x0842, 0x9200, 0x9300, 0x6558, 0x8809, 0x8847, 0x8848, 0x8863, 0x8864, 0x8892, 0x88a4, 0x888e, 0x88b5,
    0x88b6, 0x88b7, 0x88cc, 0x88e5, 0x88e7, 0x88f7, 0x8909, 0x8906, 0x8914, 0x893f, 0x9000,
];

/// The error that says it.
pub(crate) const fn mismatch(framing: Framing) -> FramingError {
    if framing.vnet_hdr { FramingError::PeerSendsNoVnetHeaders } else { FramingError::PeerSendsVnetHeaders }
}

/// Whether `field`, where a `vnet_hdr_len` was expected, looks like the beginning of an Ethernet frame of `length`
/// bytes. A small number is rather a length that is not known here.
pub(crate) fn begins_a_frame(length: usize, field: u32) -> bool {
    length >= ETHERNET_HEADER && field > u32::from(u8::MAX)
}

/// Judges the first record of a connection by the bytes after its first field, as many as that field says.
pub(crate) fn judge(framing: Framing, body: &[u8]) -> Verdict {
    let headers = Headers::read(body);
    let (configured, otherwise) = if framing.vnet_hdr {
        let configured = headers.map_or(Likeness::Unknown, |headers| headers.likeness);
        (configured, without_vnet_hdr_support(body))
    } else {
        let otherwise = headers.map_or(Verdict::AsConfigured, Headers::verdict);
        (likeness(body, body.len()), otherwise)
    };
    match (configured, otherwise) {
        (Likeness::Unknown, otherwise) => otherwise,
        (Likeness::Type | Likeness::Padded, Verdict::Mismatch) => Verdict::Either,
        _ => Verdict::AsConfigured,
    }
}

/// The verdict of the reading without vnet_hdr_support alone. The body is a frame; but from a TAP that has virtio-net
/// headers QEMU sends them all the same, unannounced.
fn without_vnet_hdr_support(body: &[u8]) -> Verdict {
    let unannounced = |len: &usize| {
        body.split_at_checked(*len).is_some_and(|(header, frame)| {
            is_in_use(header, frame.len()) && convinces(frame, likeness(frame, frame.len()))
        })
    };
    match likeness(body, body.len()) {
        Likeness::Exact | Likeness::Padded => Verdict::Mismatch,
        _ if VNET_HDR_LENGTHS[1..].iter().any(unannounced) => Verdict::Mismatch,
        Likeness::Type => Verdict::Either,
        Likeness::Unknown => Verdict::AsConfigured,
    }
}

/// The reading with vnet_hdr_support.
#[derive(Debug, Clone, Copy)]
struct Headers<'a> {
    header: &'a [u8],
    /// All but the last four bytes, which lie outside of the body.
    frame: &'a [u8],
    likeness: Likeness,
}

impl<'a> Headers<'a> {
    /// `None` if there is no virtio-net header of the announced length.
    fn read(body: &'a [u8]) -> Option<Self> {
        let len = usize::try_from(field_at(body, 0)?).ok().filter(|len| VNET_HDR_LENGTHS.contains(len))?;
        let (header, frame) = body[FIELD..].split_at_checked(len)?;
        Some(Self { header, frame, likeness: likeness(frame, FIELD + frame.len()) })
    }

    /// The verdict of this reading alone. A header has fields that speak for it; without one there are only four zero
    /// bytes, with which an address may well begin, and the frame itself has to convince.
    fn verdict(self) -> Verdict {
        if self.header.is_empty() {
            return match self.likeness {
                Likeness::Unknown => Verdict::AsConfigured,
                likeness if convinces(self.frame, likeness) => Verdict::Mismatch,
                _ => Verdict::Either,
            };
        }
        if !is_in_use(self.header, FIELD + self.frame.len()) {
            Verdict::AsConfigured
        } else if self.likeness >= Likeness::Type {
            Verdict::Mismatch
        } else {
            Verdict::Either
        }
    }
}

/// Whether such a frame cannot well be the rest of a longer one, with a tag before the packet that is not known here:
/// its packet would end four bytes or more before the frame does. Padding hides that; then the address should at least
/// not look like the end of one that is nearly all zeros, as laboratories give out.
fn convinces(frame: &[u8], likeness: Likeness) -> bool {
    match likeness {
        Likeness::Exact => true,
        Likeness::Padded => !frame.starts_with(&[0]),
        Likeness::Type | Likeness::Unknown => false,
    }
}

/// Whether the fields of `struct virtio_net_hdr` (`linux/virtio_net.h`) have values that occur: known flags, a known
/// type, a checksum inside of the frame and near to where it begins.
fn is_in_use(header: &[u8], frame_len: usize) -> bool {
    const FLAGS: u8 = 0x0f;
    const NEEDS_CSUM: u8 = 1;
    /// ECN, and a UDP tunnel over IPv4 or IPv6.
    const GSO_BITS: u8 = 0x80 | 0x20 | 0x40;
    const GSO_TYPES: [u8; 5] = [0, 1, 3, 4, 5];

    let Some(&[flags, gso_type, _, _, _, _, start0, start1, offset0, offset1]) = header.first_chunk() else {
        return false;
    };
    let csum_start = usize::from(u16::from_le_bytes([start0, start1]));
    let csum_offset = usize::from(u16::from_le_bytes([offset0, offset1]));
    flags & !FLAGS == 0
        && GSO_TYPES.contains(&(gso_type & !GSO_BITS))
        && csum_offset <= usize::from(u8::MAX)
        && (flags & NEEDS_CSUM == 0 || csum_start + csum_offset + 2 <= frame_len)
}

/// What a frame of `len` bytes looks like, of which all or nearly all are there.
fn likeness(frame: &[u8], len: usize) -> Likeness {
    let mut header = ETHERNET_HEADER;
    let mut ethertype = u16_at(frame, header - 2);
    for _ in 0..2 {
        if ethertype.is_some_and(|ethertype| VLAN.contains(&ethertype)) {
            header += VLAN_TAG;
            ethertype = u16_at(frame, header - 2);
        }
    }
    let tagged = header > ETHERNET_HEADER;
    let (Some(ethertype), Some(packet)) = (ethertype, frame.get(header..)) else { return Likeness::Unknown };
    let room = len - header;
    match Packet::read(ethertype, packet) {
        Packet::Len(packet_len) if packet_len == room => Likeness::Exact,
        Packet::Len(packet_len) if packet_len < room && PADDED.contains(&len) => Likeness::Padded,
        Packet::Len(_) => Likeness::Type,
        Packet::Untold if tagged || OTHER_TYPES.contains(&ethertype) => Likeness::Type,
        Packet::Untold | Packet::Other => Likeness::Unknown,
    }
}

/// What stands behind an ethertype.
enum Packet {
    /// A packet of that type, of so many bytes.
    Len(usize),
    /// Anything: the type is none whose packets are known here.
    Untold,
    /// No packet of that type.
    Other,
}

impl Packet {
    fn read(ethertype: u16, packet: &[u8]) -> Self {
        let len = match ethertype {
            ARP | RARP => arp_len(packet),
            IPV4 => ipv4_len(packet),
            IPV6 => ipv6_len(packet),
            0..=MAX_LLC_LEN if packet.starts_with(&SPANNING_TREE) => Some(usize::from(ethertype)),
            _ => return Self::Untold,
        };
        len.map_or(Self::Other, Self::Len)
    }
}

/// RFC 826, for Ethernet and IPv4: the types of the addresses, and their lengths.
fn arp_len(packet: &[u8]) -> Option<usize> {
    packet.starts_with(&[0, 1, 0x08, 0, 6, 4]).then_some(28)
}

/// RFC 791: version and header length, total length.
fn ipv4_len(packet: &[u8]) -> Option<usize> {
    let first = packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16_at(packet, 2)?);
    (first >> 4 == 4 && header >= 20 && total >= header).then_some(total)
}

/// RFC 8200: version, and the length of what follows the header of 40 bytes.
fn ipv6_len(packet: &[u8]) -> Option<usize> {
    let payload = usize::from(u16_at(packet, 4)?);
    (packet.first()? >> 4 == 6).then_some(40 + payload)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
}
