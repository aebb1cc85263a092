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
