//! What bytes look like as an Ethernet frame.
//!
//! Frames may hold anything, so nothing here says that bytes are no frame: only what is known is recognised.

/// How much a reading finds where the Ethernet frame should be; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    /// Nothing that is known.
    Unknown,
    /// A known ethertype, and no packet behind it that belies it.
    Type,
    /// A packet of that type, and behind it what fills a short frame up to the length that Ethernet wants.
    Padded,
    /// A packet of that type that ends where the frame ends.
    Exact,
}

pub(crate) const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;

/// What a short frame is padded to, without its checksum; the longer one got a VLAN tag afterwards.
const PADDED: [usize; 2] = [60, 64];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;
const LLDP: u16 = 0x88cc;

/// Up to this the field is a length, and a packet of 802.2 LLC follows.
const MAX_LLC_LEN: u16 = 1500;

/// How packets of 802.2 LLC begin: spanning tree, SNAP (Cisco's discovery and spanning tree), IS-IS.
const LLC: [[u8; 3]; 3] = [[0x42, 0x42, 0x03], [0xaa, 0xaa, 0x03], [0xfe, 0xfe, 0x03]];

/// 802.1Q, 802.1ad and what came before it: a tag of four bytes, the ethertype behind it.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// What else is seen on Ethernet (IEEE's registry): wake-on-LAN, two more VLAN tags, transparent bridging,
/// slow protocols, MPLS, PPPoE, PROFINET, EtherCAT, 802.1X, experiments, LLDP, MACsec, backbone bridging, PTP, Cisco
/// metadata, FCoE, FIP, 802.1BR, loopback.
const OTHER_TYPES: [u16; 24] = [
    0x0842, 0x9200, 0x9300, 0x6558, 0x8809, 0x8847, 0x8848, 0x8863, 0x8864, 0x8892, 0x88a4, 0x888e, 0x88b5,
    0x88b6, 0x88b7, 0x88cc, 0x88e5, 0x88e7, 0x88f7, 0x8909, 0x8906, 0x8914, 0x893f, 0x9000,
];

/// What a frame of `len` bytes looks like, of which all or nearly all are there.
pub(crate) fn likeness(frame: &[u8], len: usize) -> Likeness {
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

/// Bytes of QEMU's announcement of a network card.
pub(crate) const ANNOUNCEMENT: usize = 60;

/// Whether such a frame, of which all or nearly all is there, is QEMU's announcement of a network card, after a
/// migration or when it is told to `announce-self`: RARP to everybody, padded. It is sent past the virtio-net header
/// that all other records may have, and with vnet_hdr_support it announces one that is not there. Source:
/// `announce_self_create` of QEMU's `net/announce.c`; seen with QEMU 7.2.
pub(crate) fn is_announcement(frame: &[u8]) -> bool {
    const ASKS_FOR_ITSELF: [u8; 10] = [0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3];
    const NO_ADDRESS: [u8; 4] = [0; 4];

    let Some((addresses, packet)) = frame.split_first_chunk::<12>() else { return false };
    let (destination, card) = addresses.split_at(6);
    let rest = [&ASKS_FOR_ITSELF[..], card, &NO_ADDRESS, card]
        .into_iter()
        .try_fold(packet, |packet, part| packet.strip_prefix(part));
    destination == [0xff; 6] && rest.is_some_and(|padding| padding.iter().all(|byte| *byte == 0))
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
            0..=MAX_LLC_LEN if LLC.iter().any(|begin| packet.starts_with(begin)) => {
                Some(usize::from(ethertype))
            }
            LLDP => return lldp_len(packet).map_or(Self::Untold, Self::Len),
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

/// IEEE 802.1AB: type and length in 7 and 9 bits; the chassis first, the end last.
fn lldp_len(packet: &[u8]) -> Option<usize> {
    const CHASSIS_ID: u8 = 1;

    if packet.first()? >> 1 != CHASSIS_ID {
        return None;
    }
    let mut end = 0;
    loop {
        let field = u16_at(packet, end)?;
        end += 2 + usize::from(field & 0x01ff);
        if field == 0 {
            return Some(end);
        }
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
}
