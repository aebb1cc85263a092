//! GSO frames as a guest or the host's stack makes them.

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header,
    Ipv6RawExtHeader, PacketBuilder, TcpHeader,
};
use proptest::prelude::*;
use tapferry_frame::ethernet::{TAG_OFFSET, VLAN_TAG_LEN, VlanTag};
use tapferry_frame::vnet::{FLAG_NEEDS_CSUM, GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, VnetHeader};

/// What a checksum field holds before it is computed: nothing may depend on it.
const UNFINISHED: [u8; 2] = [0xbe, 0xef];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    /// `GSO_UDP_L4`.
    Datagrams,
    /// `GSO_UDP`.
    Fragments,
}

/// A frame to be segmented, and what went into it.
#[derive(Debug, Clone)]
pub(crate) struct GsoFrame {
    pub(crate) vnet: VnetHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) transport: Transport,
    pub(crate) ipv6: bool,
    pub(crate) tags: Vec<VlanTag>,
    pub(crate) payload: Vec<u8>,
    /// Where the payload begins.
    pub(crate) headers: usize,
    pub(crate) ipv4_id: u16,
    pub(crate) tcp: TcpHeader,
}

impl GsoFrame {
    /// The frame as captured when the kernel holds the outermost tag beside it.
    pub(crate) fn with_tag_beside(&self) -> (VnetHeader, Vec<u8>, Option<VlanTag>) {
        let Some(tag) = self.tags.first() else {
            return (self.vnet, self.bytes.clone(), None);
        };
        let mut bytes = self.bytes.clone();
        bytes.drain(TAG_OFFSET..TAG_OFFSET + VLAN_TAG_LEN);
        let moved = u16::try_from(VLAN_TAG_LEN).unwrap();
        let vnet = VnetHeader {
            csum_start: self.vnet.csum_start - moved,
            hdr_len: self.vnet.hdr_len - moved,
            ..self.vnet
        };
        (vnet, bytes, Some(*tag))
    }
}

fn tags() -> impl Strategy<Value = Vec<VlanTag>> {
    let tag = (prop_oneof![Just(0x8100u16), Just(0x88a8)], any::<u16>())
        .prop_map(|(tpid, tci)| VlanTag { tpid, tci });
    proptest::collection::vec(tag, 0..3)
}

fn tcp_header() -> impl Strategy<Value = TcpHeader> {
    (any::<u32>(), any::<u32>(), any::<[bool; 5]>(), 0usize..=10).prop_map(
        |(sequence, acknowledgment, [fin, psh, cwr, ece, ack], option_words)| {
            let mut header = TcpHeader::new(45000, 80, sequence, 4096);
            header.acknowledgment_number = acknowledgment;
            (header.fin, header.psh, header.cwr, header.ece, header.ack) = (fin, psh, cwr, ece, ack);
            header.set_options_raw(&[1; 40][..option_words * 4]).unwrap();
            header
        },
    )
}

/// `extended`: IPv4 options, or IPv6 extension headers.
fn ip_headers(ipv6: bool, extended: bool, ipv4_id: u16) -> IpHeaders {
    if ipv6 {
        let header = Ipv6Header {
            hop_limit: 64,
            source: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            destination: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 2],
            ..Ipv6Header::default()
        };
        let options = |len: usize| Ipv6RawExtHeader::new_raw(IpNumber(0), &[0; 30][..len]).unwrap();
        let extensions = Ipv6Extensions {
            hop_by_hop_options: extended.then(|| options(6)),
            destination_options: extended.then(|| options(14)),
            ..Ipv6Extensions::default()
        };
        IpHeaders::Ipv6(header, extensions)
    } else {
        let mut header = Ipv4Header::new(0, 64, IpNumber(0), [10, 0, 0, 1], [10, 0, 0, 254]).unwrap();
        header.identification = ipv4_id;
        header.dont_fragment = true;
        header.fragment_offset = IpFragOffset::ZERO;
        if extended {
            header.options = [1; 8].into();
        }
        IpHeaders::Ipv4(header, Ipv4Extensions::default())
    }
}

/// Frames of all kinds, some of which fit in one segment.
pub(crate) fn gso_frame() -> impl Strategy<Value = GsoFrame> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Datagrams), Just(Transport::Fragments)];
    let gso_size = prop_oneof![1u16..64, 64u16..3000, Just(1448), Just(1480), Just(8948)];
    // Enough for many segments, and not so many that a test takes long.
    let payload =
        gso_size.prop_flat_map(|size| (Just(size), 0..(usize::from(size) * 12).min(20000), any::<u8>()));
    (transport, any::<bool>(), any::<bool>(), any::<u16>(), tags(), tcp_header(), payload).prop_map(
        |(transport, ipv6, extended, ipv4_id, tags, tcp, (gso_size, payload_len, seed))| {
            let payload: Vec<u8> =
                (0..payload_len).map(|i| seed.wrapping_add(u8::try_from(i * 7 % 251).unwrap())).collect();
            // Fragments of IPv6 with extension headers are refused, which has its own test.
            let extended = extended && !(ipv6 && transport == Transport::Fragments);
            let ip = ip_headers(ipv6, extended, ipv4_id);
            let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip);
            let mut bytes = Vec::new();
            let (transport_len, csum_offset) = if transport == Transport::Tcp {
                builder.tcp_header(tcp.clone()).write(&mut bytes, &payload).unwrap();
                (tcp.header_len(), 16)
            } else {
                builder.udp(4000, 53).write(&mut bytes, &payload).unwrap();
                (8, 6)
            };
            for tag in tags.iter().rev() {
                bytes.splice(TAG_OFFSET..TAG_OFFSET, tag.to_bytes());
            }
            let headers = bytes.len() - payload_len;
            let csum_start = headers - transport_len;
            let field = csum_start + csum_offset;
            bytes[field..field + 2].copy_from_slice(&UNFINISHED);
            let gso_type = match (transport, ipv6) {
                (Transport::Tcp, false) => GSO_TCPV4 | if tcp.cwr { GSO_ECN } else { 0 },
                (Transport::Tcp, true) => GSO_TCPV6 | if tcp.cwr { GSO_ECN } else { 0 },
                (Transport::Datagrams, _) => GSO_UDP_L4,
                (Transport::Fragments, _) => GSO_UDP,
            };
            let vnet = VnetHeader {
                flags: FLAG_NEEDS_CSUM,
                gso_type,
                hdr_len: u16::try_from(headers).unwrap(),
                gso_size: if transport == Transport::Fragments { gso_size.max(8) } else { gso_size },
                csum_start: u16::try_from(csum_start).unwrap(),
                csum_offset: u16::try_from(csum_offset).unwrap(),
            };
            GsoFrame { vnet, bytes, transport, ipv6, tags, payload, headers, ipv4_id, tcp }
        },
    )
}

/// Frames of one kind.
pub(crate) fn gso_frame_of(transport: Transport) -> impl Strategy<Value = GsoFrame> {
    gso_frame().prop_filter("another kind", move |frame| frame.transport == transport)
}
