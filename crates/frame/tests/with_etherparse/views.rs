//! Offsets are where etherparse finds the same headers, and checksums completed as it computes them.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use proptest::prelude::*;
use tapferry_frame::checksum::{complete, pseudo_v4, pseudo_v6};
use tapferry_frame::layers::{Fragment, IpVersion, Layers};
use tapferry_frame::vnet::VnetHeader;

use crate::frames::{Transport, gso_frame};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn layers_are_where_they_were_built(frame in gso_frame()) {
        let layers = Layers::parse(&frame.bytes).unwrap();
        prop_assert_eq!(usize::from(layers.tags), frame.tags.len());
        prop_assert_eq!(layers.outer_tpid, frame.tags.first().map(|tag| tag.tpid));
        prop_assert_eq!(layers.network, 14 + 4 * frame.tags.len());
        let ip = layers.ip.unwrap();
        prop_assert_eq!(ip.version, if frame.ipv6 { IpVersion::V6 } else { IpVersion::V4 });
        prop_assert_eq!(ip.protocol, if frame.transport == Transport::Tcp { 6 } else { 17 });
        prop_assert_eq!(ip.transport, usize::from(frame.vnet.csum_start));
        prop_assert_eq!(ip.payload, Some(frame.headers));
        prop_assert_eq!(ip.end, frame.bytes.len());
        prop_assert_eq!(ip.fragment, Fragment::Whole);
        prop_assert!(!ip.source_routed);
    }

    #[test]
    fn a_partial_checksum_is_completed(frame in gso_frame()) {
        let mut bytes = frame.bytes.clone();
        let original = PacketHeaders::from_ethernet_slice(&frame.bytes).unwrap();
        let transport = usize::from(frame.vnet.csum_start);
        let len = bytes.len() - transport;
        let protocol = if frame.transport == Transport::Tcp { 6 } else { 17 };
        let pseudo = match original.net.as_ref().unwrap() {
            NetHeaders::Ipv4(ip, _) => {
                pseudo_v4(ip.source, ip.destination, protocol, u16::try_from(len).unwrap())
            }
            NetHeaders::Ipv6(ip, _) => {
                pseudo_v6(ip.source, ip.destination, protocol, u32::try_from(len).unwrap())
            }
            NetHeaders::Arp(_) => unreachable!("no IP"),
        };
        let field = transport + usize::from(frame.vnet.csum_offset);
        bytes[field..field + 2].copy_from_slice(&(!pseudo.finish()).to_be_bytes());
        complete(&VnetHeader { gso_type: 0, gso_size: 0, ..frame.vnet }, &mut bytes).unwrap();

        let payload = original.payload.slice();
        let expected = match (original.transport.unwrap(), original.net.unwrap()) {
            (TransportHeader::Tcp(tcp), NetHeaders::Ipv4(ip, _)) => tcp.calc_checksum_ipv4(&ip, payload).unwrap(),
            (TransportHeader::Tcp(tcp), NetHeaders::Ipv6(ip, _)) => tcp.calc_checksum_ipv6(&ip, payload).unwrap(),
            (TransportHeader::Udp(udp), NetHeaders::Ipv4(ip, _)) => udp.calc_checksum_ipv4(&ip, payload).unwrap(),
            (TransportHeader::Udp(udp), NetHeaders::Ipv6(ip, _)) => udp.calc_checksum_ipv6(&ip, payload).unwrap(),
            _ => unreachable!("neither TCP nor UDP"),
        };
        prop_assert_eq!(&bytes[field..field + 2], expected.to_be_bytes());
    }
}
