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
    /// A known ethertype.
    Type,
    /// A packet of that type, and behind it what fills a short frame up to the length that Ethernet wants.
    Padded,
    /// A packet of that type that ends where the frame ends.
    Exact,
}

const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;

/// Frames are padded up to this: 60 bytes without the checksum, and a VLAN tag.
const PADDED: usize = 64;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;

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
    let plain = likeness(body, body.len());
    let headers = Headers::read(body);
    let (configured, possible, clear) = if framing.vnet_hdr {
        let configured = headers.map_or(Likeness::Unknown, |headers| headers.frame);
        (configured, plain >= Likeness::Type, plain >= Likeness::Padded)
    } else {
        let seen = headers.filter(|headers| headers.is_possible());
        (plain, seen.is_some(), seen.is_some_and(|headers| headers.is_clear()))
    };
    if configured >= Likeness::Type || !possible {
        Verdict::AsConfigured
    } else if clear {
        Verdict::Mismatch
    } else {
        Verdict::Either
    }
}

/// The reading with vnet_hdr_support.
#[derive(Debug, Clone, Copy)]
struct Headers {
    /// The announced length of the virtio-net header; it is one of the possible ones.
    len: usize,
    /// Whether the fields of the virtio-net header have values that occur.
    in_use: bool,
    /// What the frame behind it looks like.
    frame: Likeness,
    /// Whether the destination address begins with two zero bytes.
    zero_address: bool,
}

impl Headers {
    fn read(body: &[u8]) -> Option<Self> {
        let len = usize::try_from(field_at(body, 0)?).ok().filter(|len| VNET_HDR_LENGTHS.contains(len))?;
        let (header, frame) = body[FIELD..].split_at_checked(len)?;
        // The last four bytes of the frame lie outside of the body.
        let frame_len = FIELD + frame.len();
        Some(Self {
            len,
            in_use: len == 0 || is_in_use(header, frame_len),
            frame: likeness(frame, frame_len),
            zero_address: frame.starts_with(&[0, 0]),
        })
    }

    /// With a header its fields speak; without one only what the frame looks like is left.
    fn is_possible(self) -> bool {
        self.in_use && (self.len > 0 || self.frame >= Likeness::Type)
    }

    /// A header of length 0 is four zero bytes, with which an address may well begin. So the packet has to fit: the same
    /// bytes behind a tag that is not known here, in a frame as configured, would be four shorter. Padding hides that;
    /// then at least the address is not to be zeros throughout.
    fn is_clear(self) -> bool {
        self.is_possible()
            && match self.len {
                0 => self.frame == Likeness::Exact || (self.frame == Likeness::Padded && !self.zero_address),
                _ => self.frame >= Likeness::Type,
            }
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
    match packet_len(ethertype, packet) {
        Some(packet_len) if packet_len == room => Likeness::Exact,
        Some(packet_len) if packet_len < room && len <= PADDED => Likeness::Padded,
        _ if tagged || is_known(ethertype) => Likeness::Type,
        _ => Likeness::Unknown,
    }
}

fn is_known(ethertype: u16) -> bool {
    [IPV4, ARP, RARP, IPV6].contains(&ethertype) || OTHER_TYPES.contains(&ethertype)
}

/// Bytes of a packet of that type, if its first ones are such a packet's.
fn packet_len(ethertype: u16, packet: &[u8]) -> Option<usize> {
    /// Ethernet, IPv4, and the lengths of their addresses (RFC 826).
    const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
    const ARP_LEN: usize = 28;
    const IPV6_HEADER: usize = 40;
    /// 802.2 LLC of the spanning tree protocol; in such a frame the length stands where the type would.
    const SPANNING_TREE: [u8; 3] = [0x42, 0x42, 0x03];
    const MAX_LLC_LEN: u16 = 1500;

    let version = packet.first()? >> 4;
    match ethertype {
        ARP | RARP => packet.starts_with(&ARP_ETHERNET_IPV4).then_some(ARP_LEN),
        IPV4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let total = usize::from(u16_at(packet, 2)?);
            (version == 4 && header >= 20 && total >= header).then_some(total)
        }
        IPV6 => {
            let payload = usize::from(u16_at(packet, 4)?);
            (version == 6).then_some(IPV6_HEADER + payload)
        }
        0..=MAX_LLC_LEN => packet.starts_with(&SPANNING_TREE).then_some(usize::from(ethertype)),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
}
