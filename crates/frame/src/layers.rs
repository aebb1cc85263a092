//! Where the headers of a frame are.
//!
//! A view, not a decoder: [`Layers`] holds offsets and leaves the bytes where they are. Every length a header
//! states is checked against the bytes that are there, so that whoever follows the offsets stays inside.
//!
//! Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP), IEEE 802.1Q (tags).

use std::fmt;

use crate::bytes::{array_at, u16_at};
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, TAG_OFFSET, VLAN_TAG_LEN, is_vlan_tpid};

/// Protocol number of TCP (IANA).
pub const PROTOCOL_TCP: u8 = 6;

/// Protocol number of UDP (IANA).
pub const PROTOCOL_UDP: u8 = 17;

/// Tags in one frame that are looked through (`VLAN_MAX_DEPTH` in `linux/if_vlan.h`).
pub const MAX_TAGS: u8 = 8;

/// IPv4 header without options; in bytes.
pub(crate) const IPV4_HEADER_LEN: usize = 20;
/// IPv6 header without extensions; in bytes.
pub(crate) const IPV6_HEADER_LEN: usize = 40;
/// IPv6 Fragment header; in bytes.
pub(crate) const IPV6_FRAGMENT_LEN: usize = 8;
/// UDP header; in bytes.
pub(crate) const UDP_HEADER_LEN: usize = 8;
/// Protocol number of the IPv6 Fragment header (IANA).
pub(crate) const PROTOCOL_IPV6_FRAGMENT: u8 = 44;

const TCP_HEADER_LEN: usize = 20;
const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_IPV6_ROUTING: u8 = 43;
const PROTOCOL_IPV6_DESTINATION: u8 = 60;

const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
const IPV6_MORE_FRAGMENTS: u16 = 0x0001;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// A header this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Header {
    /// Destination, source, ethertype.
    Ethernet,
    /// One VLAN tag.
    Vlan,
    /// IPv4 with its options.
    Ipv4,
    /// IPv6 without its extension headers.
    Ipv6,
    /// One IPv6 extension header.
    Ipv6Extension,
    /// TCP with its options.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "Ethernet",
            Self::Vlan => "VLAN",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Ipv6Extension => "IPv6 extension",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A frame, or a virtio-net header, that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The frame ends inside of a header.
    #[error("the frame ends inside of its {0} header")]
    Truncated(Header),
    /// A header states a length that it cannot have, or that the frame does not have.
    #[error("the {0} header states a length that cannot be")]
    Length(Header),
    /// An IP header of another version than the ethertype says.
    #[error("the {0} header has another version number")]
    Version(Header),
    /// More than [`MAX_TAGS`] VLAN tags.
    #[error("the frame has more than {MAX_TAGS} VLAN tags")]
    TooManyTags,
    /// The checksum that the virtio-net header names lies outside of the frame.
    #[error("the virtio-net header names a checksum outside of the frame")]
    ChecksumOutside,
    /// The virtio-net header announces segments of another protocol than the frame carries.
    #[error("the virtio-net header announces other segments than the frame has")]
    OtherSegments,
    /// The virtio-net header announces segments of no length.
    #[error("the virtio-net header announces segments without payload")]
    EmptySegments,
}

/// Version of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which part of an IP packet a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// All of it; an atomic fragment (RFC 6946) too.
    Whole,
    /// The first fragment of several.
    First,
    /// A fragment without the transport header.
    Later,
}

/// The IP packet in a frame. Offsets are in bytes from the frame's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ip {
    /// Version of the header at [`Layers::network`].
    pub version: IpVersion,
    /// Protocol number (IANA) of what is at `transport`. AH and ESP count as transport: what they protect is not
    /// ours to read or change.
    pub protocol: u8,
    /// What follows the IPv4 options, or the IPv6 extension headers; in a later fragment its data.
    pub transport: usize,
    /// Which part of the packet this is.
    pub fragment: Fragment,
    /// What follows the header of TCP or UDP. `None` for other protocols and later fragments, and when a first
    /// fragment is too short for the header.
    pub payload: Option<usize>,
    /// Where the packet ends; what follows is padding. The frame's end if the packet states no length, as those
    /// longer than 65535 bytes do before they are segmented.
    pub end: usize,
    /// Whether an IPv6 Routing header names a destination other than the one in the IPv6 header.
    pub source_routed: bool,
}

/// Where the headers of an Ethernet frame are. Offsets are in bytes from the frame's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layers {
    /// Number of VLAN tags in the bytes.
    pub tags: u8,
    /// TPID of the first tag, `None` without tags.
    pub outer_tpid: Option<u16>,
    /// Ethertype after all tags; below 0x600 the length of an IEEE 802.3 frame.
    pub ethertype: u16,
    /// What follows the ethertype.
    pub network: usize,
    /// The IP packet, `None` if it is something else.
    pub ip: Option<Ip>,
}

impl Layers {
    /// Reads `bytes`, one Ethernet frame without its FCS.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if a header is incomplete or states a length that cannot be. What is in the payload of
    /// TCP and UDP, and other protocols, is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Layers, Malformed> {
        let mut ethertype = u16_at(bytes, TAG_OFFSET).ok_or(Malformed::Truncated(Header::Ethernet))?;
        let mut network = TAG_OFFSET + 2;
        let outer_tpid = is_vlan_tpid(ethertype).then_some(ethertype);
        let mut tags = 0;
        while is_vlan_tpid(ethertype) {
            if tags == MAX_TAGS {
                return Err(Malformed::TooManyTags);
            }
            tags += 1;
            network += VLAN_TAG_LEN;
            ethertype = u16_at(bytes, network - 2).ok_or(Malformed::Truncated(Header::Vlan))?;
        }
        let ip = match ethertype {
            ETHERTYPE_IPV4 => Some(parse_ipv4(bytes, network)?),
            ETHERTYPE_IPV6 => Some(parse_ipv6(bytes, network)?),
            _ => None,
        };
        Ok(Layers { tags, outer_tpid, ethertype, network, ip })
    }
}

fn parse_ipv4(bytes: &[u8], network: usize) -> Result<Ip, Malformed> {
    let header: [u8; IPV4_HEADER_LEN] = array_at(bytes, network).ok_or(Malformed::Truncated(Header::Ipv4))?;
    if header[0] >> 4 != 4 {
        return Err(Malformed::Version(Header::Ipv4));
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let available = bytes.len() - network;
    // A total length of 0 is what the kernel writes into frames above 64 KiB that are yet to be segmented.
    let packet_len = if total_len == 0 { available } else { total_len };
    if header_len < IPV4_HEADER_LEN || packet_len < header_len || packet_len > available {
        return Err(Malformed::Length(Header::Ipv4));
    }
    let fragment_field = u16::from_be_bytes([header[6], header[7]]);
    let fragment = if fragment_field & IPV4_FRAGMENT_OFFSET != 0 {
        Fragment::Later
    } else if fragment_field & IPV4_MORE_FRAGMENTS != 0 {
        Fragment::First
    } else {
        Fragment::Whole
    };
    let ip = Ip {
        version: IpVersion::V4,
        protocol: header[9],
        transport: network + header_len,
        fragment,
        payload: None,
        end: network + packet_len,
        source_routed: false,
    };
    with_payload(ip, bytes)
}

fn parse_ipv6(bytes: &[u8], network: usize) -> Result<Ip, Malformed> {
    let header: [u8; IPV6_HEADER_LEN] = array_at(bytes, network).ok_or(Malformed::Truncated(Header::Ipv6))?;
    if header[0] >> 4 != 6 {
        return Err(Malformed::Version(Header::Ipv6));
    }
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let first = network + IPV6_HEADER_LEN;
    let available = bytes.len() - first;
    // 0 is a jumbogram (RFC 2675), and what the kernel writes into frames above 64 KiB yet to be segmented.
    let payload_len = if payload_len == 0 { available } else { payload_len };
    if payload_len > available {
        return Err(Malformed::Length(Header::Ipv6));
    }
    let mut ip = Ip {
        version: IpVersion::V6,
        protocol: header[6],
        transport: first,
        fragment: Fragment::Whole,
        payload: None,
        end: first + payload_len,
        source_routed: false,
    };
    // Each turn moves at least 8 bytes ahead, so the frame's end ends it.
    while ip.fragment != Fragment::Later
        && matches!(
            ip.protocol,
            PROTOCOL_HOP_BY_HOP | PROTOCOL_IPV6_ROUTING | PROTOCOL_IPV6_FRAGMENT | PROTOCOL_IPV6_DESTINATION
        )
    {
        let [next, len, third, fourth] =
            array_at(&bytes[..ip.end], ip.transport).ok_or(Malformed::Truncated(Header::Ipv6Extension))?;
        let mut extension_len = 8 + usize::from(len) * 8;
        match ip.protocol {
            PROTOCOL_IPV6_FRAGMENT => {
                let field = u16::from_be_bytes([third, fourth]);
                if field & IPV6_FRAGMENT_OFFSET != 0 {
                    ip.fragment = Fragment::Later;
                } else if field & IPV6_MORE_FRAGMENTS != 0 {
                    ip.fragment = Fragment::First;
                }
                // The byte that is a length in the others is reserved here.
                extension_len = IPV6_FRAGMENT_LEN;
            }
            // `fourth` is Segments Left: addresses yet to be visited.
            PROTOCOL_IPV6_ROUTING => ip.source_routed |= fourth != 0,
            _ => {}
        }
        if extension_len > ip.end - ip.transport {
            return Err(Malformed::Truncated(Header::Ipv6Extension));
        }
        ip.transport += extension_len;
        ip.protocol = next;
    }
    with_payload(ip, bytes)
}

/// `ip` with its payload found, if it is TCP or UDP. `ip.transport <= ip.end <= bytes.len()` on entry.
fn with_payload(ip: Ip, bytes: &[u8]) -> Result<Ip, Malformed> {
    if ip.fragment == Fragment::Later {
        return Ok(ip);
    }
    let transport = &bytes[ip.transport..ip.end];
    let header_len = match ip.protocol {
        PROTOCOL_TCP => tcp_header_len(transport),
        PROTOCOL_UDP => udp_header_len(transport, ip.fragment),
        _ => return Ok(ip),
    };
    let payload = match (ip.fragment, header_len) {
        (Fragment::First, Err(Malformed::Truncated(_))) => None,
        (_, header_len) => Some(ip.transport + header_len?),
    };
    Ok(Ip { payload, ..ip })
}

fn tcp_header_len(transport: &[u8]) -> Result<usize, Malformed> {
    let header: [u8; TCP_HEADER_LEN] = array_at(transport, 0).ok_or(Malformed::Truncated(Header::Tcp))?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < TCP_HEADER_LEN {
        return Err(Malformed::Length(Header::Tcp));
    }
    if header_len > transport.len() {
        return Err(Malformed::Truncated(Header::Tcp));
    }
    Ok(header_len)
}

fn udp_header_len(transport: &[u8], fragment: Fragment) -> Result<usize, Malformed> {
    let header: [u8; UDP_HEADER_LEN] = array_at(transport, 0).ok_or(Malformed::Truncated(Header::Udp))?;
    let datagram_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // 0 says that the datagram ends with the packet (RFC 2675).
    let stated = datagram_len != 0;
    let beyond = fragment == Fragment::Whole && datagram_len > transport.len();
    if stated && (datagram_len < UDP_HEADER_LEN || beyond) {
        return Err(Malformed::Length(Header::Udp));
    }
    Ok(UDP_HEADER_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tags: usize, ethertype: u16, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([0x81, 0x00, 0x20, 0x64].repeat(tags));
        frame.extend(ethertype.to_be_bytes());
        frame.extend(rest);
        frame
    }

    /// An IPv4 header and a UDP header without payload behind it.
    fn ipv4(total_len: u16, fragment_field: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend(total_len.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(fragment_field.to_be_bytes());
        packet.extend([64, PROTOCOL_UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        packet
    }

    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend([0xfd; 32]);
        packet.extend(payload);
        packet
    }

    fn ip_of(frame: &[u8]) -> Ip {
        Layers::parse(frame).unwrap().ip.unwrap()
    }

    #[test]
    fn what_is_not_ip_ends_with_its_ethertype() {
        let arp = tagged(1, 0x0806, &[]);
        let layers = Layers::parse(&arp).unwrap();
        assert_eq!(
            layers,
            Layers { tags: 1, outer_tpid: Some(0x8100), ethertype: 0x0806, network: 18, ip: None }
        );
    }

    #[test]
    fn no_more_tags_are_read_than_the_kernel_reads() {
        assert_eq!(Layers::parse(&tagged(8, 0x0806, &[])).unwrap().tags, MAX_TAGS);
        assert_eq!(Layers::parse(&tagged(9, 0x0806, &[])), Err(Malformed::TooManyTags));
    }

    #[test]
    fn padding_is_outside_of_the_packet() {
        let mut frame = tagged(0, ETHERTYPE_IPV4, &ipv4(28, 0));
        frame.resize(60, 0);
        let ip = ip_of(&frame);
        assert_eq!((ip.transport, ip.payload, ip.end), (34, Some(42), 42));
    }

    #[test]
    fn fragments_are_told_apart() {
        let frame = |field| tagged(0, ETHERTYPE_IPV4, &ipv4(28, field));
        assert_eq!(ip_of(&frame(0x4000)).fragment, Fragment::Whole);
        let first = ip_of(&frame(0x2000));
        assert_eq!((first.fragment, first.payload), (Fragment::First, Some(42)));
        for field in [0x2001, 0x0001] {
            let later = ip_of(&frame(field));
            assert_eq!((later.fragment, later.payload, later.transport), (Fragment::Later, None, 34));
        }
    }

    #[test]
    fn a_first_fragment_may_end_in_its_transport_header() {
        let ip = ip_of(&tagged(0, ETHERTYPE_IPV4, &ipv4(24, 0x2000)));
        assert_eq!((ip.fragment, ip.payload), (Fragment::First, None));
        let whole = Layers::parse(&tagged(0, ETHERTYPE_IPV4, &ipv4(24, 0)));
        assert_eq!(whole, Err(Malformed::Truncated(Header::Udp)));
    }

    #[test]
    fn a_length_beyond_the_frame_is_refused() {
        let frame = tagged(0, ETHERTYPE_IPV4, &ipv4(29, 0));
        assert_eq!(Layers::parse(&frame), Err(Malformed::Length(Header::Ipv4)));
        let mut frame = tagged(0, ETHERTYPE_IPV6, &ipv6(59, &[0; 8]));
        frame.pop();
        assert_eq!(Layers::parse(&frame), Err(Malformed::Length(Header::Ipv6)));
    }

    #[test]
    fn the_version_must_be_the_ethertypes() {
        let frame = tagged(0, ETHERTYPE_IPV6, &[&ipv4(28, 0)[..], &[0; 40]].concat());
        assert_eq!(Layers::parse(&frame), Err(Malformed::Version(Header::Ipv6)));
    }

    #[test]
    fn ipv6_extension_headers_are_skipped() {
        let mut payload = vec![PROTOCOL_IPV6_ROUTING, 0, 0, 0, 0, 0, 0, 0];
        payload.extend([PROTOCOL_IPV6_DESTINATION, 2, 4, 1]);
        payload.extend([0; 20]);
        payload.extend([PROTOCOL_UDP, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        let ip = ip_of(&tagged(0, ETHERTYPE_IPV6, &ipv6(PROTOCOL_HOP_BY_HOP, &payload)));
        assert_eq!((ip.protocol, ip.transport, ip.payload), (PROTOCOL_UDP, 54 + 40, Some(54 + 48)));
        assert!(ip.source_routed, "one address is yet to be visited");
    }

    #[test]
    fn ipv6_fragments_are_told_apart() {
        let frame = |field: u16| {
            let [high, low] = field.to_be_bytes();
            // The second byte is reserved, and no length.
            let payload = [PROTOCOL_UDP, 0xff, high, low, 0, 0, 0, 7, 0, 1, 0, 2, 0, 8, 0, 0];
            tagged(0, ETHERTYPE_IPV6, &ipv6(PROTOCOL_IPV6_FRAGMENT, &payload))
        };
        let atomic = ip_of(&frame(0));
        assert_eq!((atomic.fragment, atomic.transport, atomic.payload), (Fragment::Whole, 62, Some(70)));
        assert_eq!(ip_of(&frame(1)).fragment, Fragment::First);
        assert_eq!(ip_of(&frame(8)).fragment, Fragment::Later);
        assert_eq!(ip_of(&frame(8)).payload, None);
    }

    #[test]
    fn an_extension_header_that_ends_behind_the_packet_is_refused() {
        let frame =
            tagged(0, ETHERTYPE_IPV6, &ipv6(PROTOCOL_HOP_BY_HOP, &[PROTOCOL_UDP, 1, 0, 0, 0, 0, 0, 0]));
        assert_eq!(Layers::parse(&frame), Err(Malformed::Truncated(Header::Ipv6Extension)));
    }

    #[test]
    fn a_tcp_header_must_hold_what_it_says() {
        let frame = |data_offset: u8| {
            let mut tcp = vec![0; 24];
            tcp[12] = data_offset << 4;
            tagged(0, ETHERTYPE_IPV6, &ipv6(PROTOCOL_TCP, &tcp))
        };
        assert_eq!(Layers::parse(&frame(4)), Err(Malformed::Length(Header::Tcp)));
        assert_eq!(ip_of(&frame(6)).payload, Some(54 + 24));
        assert_eq!(Layers::parse(&frame(7)), Err(Malformed::Truncated(Header::Tcp)));
    }
}
