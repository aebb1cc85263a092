//! Segments are complete frames, and together they say what the original said.

use etherparse::defrag::IpDefragPool;
use etherparse::{NetHeaders, PacketHeaders, SlicedPacket, TcpHeader, TransportHeader, UdpHeader};
use proptest::prelude::*;
use tapferry_frame::ethernet::{TAG_OFFSET, VLAN_TAG_LEN};
use tapferry_frame::gso::{SegmentError, Segmenter};
use tapferry_frame::layers::{Header, Malformed};
use tapferry_frame::vnet::{GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, VnetHeader};

use crate::frames::{GsoFrame, Transport, gso_frame, gso_frame_of};

fn segments_of(vnet: VnetHeader, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(vnet, bytes).unwrap();
    let announced = segmenter.segments();
    // What is left in the buffer from before must not show.
    let mut out = vec![0xee; 7];
    let mut segments = Vec::new();
    while segmenter.next_into(&mut out) {
        segments.push(out.clone());
    }
    assert_eq!(segments.len(), announced);
    assert!(!segmenter.next_into(&mut out), "the end is the end");
    segments
}

/// The segment as etherparse reads it, with the checksum of its IPv4 header verified.
fn read(segment: &[u8]) -> PacketHeaders<'_> {
    let headers = PacketHeaders::from_ethernet_slice(segment).unwrap();
    if let Some(NetHeaders::Ipv4(ip, _)) = &headers.net {
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    }
    headers
}

fn tcp_of(headers: &PacketHeaders<'_>) -> TcpHeader {
    let Some(TransportHeader::Tcp(tcp)) = headers.transport.clone() else { panic!("no TCP in {headers:?}") };
    let payload = headers.payload.slice();
    let checksum = match headers.net.as_ref().unwrap() {
        NetHeaders::Ipv4(ip, _) => tcp.calc_checksum_ipv4(ip, payload).unwrap(),
        NetHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(ip, payload).unwrap(),
        NetHeaders::Arp(_) => unreachable!("TCP over ARP"),
    };
    assert_eq!(tcp.checksum, checksum);
    tcp
}

fn udp_of(headers: &PacketHeaders<'_>) -> UdpHeader {
    let Some(TransportHeader::Udp(udp)) = headers.transport.clone() else { panic!("no UDP in {headers:?}") };
    let payload = headers.payload.slice();
    assert_eq!(usize::from(udp.length), 8 + payload.len());
    let checksum = match headers.net.as_ref().unwrap() {
        NetHeaders::Ipv4(ip, _) => udp.calc_checksum_ipv4(ip, payload).unwrap(),
        NetHeaders::Ipv6(ip, _) => udp.calc_checksum_ipv6(ip, payload).unwrap(),
        NetHeaders::Arp(_) => unreachable!("UDP over ARP"),
    };
    assert_eq!(udp.checksum, checksum);
    udp
}

fn ipv4_id_of(headers: &PacketHeaders<'_>) -> Option<u16> {
    Some(headers.net.as_ref()?.ipv4_ref()?.0.identification)
}

/// Addresses and tags are as they were.
fn assert_same_link(frame: &GsoFrame, segment: &[u8]) {
    let link = TAG_OFFSET + frame.tags.len() * VLAN_TAG_LEN + 2;
    assert_eq!(segment[..link], frame.bytes[..link]);
}

fn assert_payload(frame: &GsoFrame, pieces: &[Vec<u8>]) {
    let size = usize::from(frame.vnet.gso_size);
    assert_eq!(pieces.concat(), frame.payload);
    let (last, full) = pieces.split_last().unwrap();
    assert!(full.iter().all(|piece| piece.len() == size), "all but the last are full");
    assert!(last.len() <= size && (!last.is_empty() || full.is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn tcp_segments_are_the_stream(frame in gso_frame_of(Transport::Tcp)) {
        let segments = segments_of(frame.vnet, &frame.bytes);
        let mut pieces = Vec::new();
        let mut sequence = frame.tcp.sequence_number;
        for (i, segment) in segments.iter().enumerate() {
            assert_same_link(&frame, segment);
            let headers = read(segment);
            let tcp = tcp_of(&headers);
            let (first, last) = (i == 0, i + 1 == segments.len());
            let expected = TcpHeader {
                sequence_number: sequence,
                checksum: tcp.checksum,
                fin: frame.tcp.fin && last,
                psh: frame.tcp.psh && last,
                cwr: frame.tcp.cwr && first,
                ..frame.tcp.clone()
            };
            prop_assert_eq!(tcp, expected);
            let counted_on = frame.ipv4_id.wrapping_add(u16::try_from(i).unwrap());
            prop_assert_eq!(ipv4_id_of(&headers), (!frame.ipv6).then_some(counted_on));
            let payload = headers.payload.slice();
            sequence = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
            pieces.push(payload.to_vec());
        }
        assert_payload(&frame, &pieces);
    }

    #[test]
    fn datagrams_are_the_messages(frame in gso_frame_of(Transport::Datagrams)) {
        let mut pieces = Vec::new();
        for (i, segment) in segments_of(frame.vnet, &frame.bytes).iter().enumerate() {
            assert_same_link(&frame, segment);
            let headers = read(segment);
            let udp = udp_of(&headers);
            prop_assert_eq!((udp.source_port, udp.destination_port), (4000, 53));
            let counted_on = frame.ipv4_id.wrapping_add(u16::try_from(i).unwrap());
            prop_assert_eq!(ipv4_id_of(&headers), (!frame.ipv6).then_some(counted_on));
            pieces.push(headers.payload.slice().to_vec());
        }
        assert_payload(&frame, &pieces);
    }

    #[test]
    fn fragments_are_reassembled_to_the_datagram(frame in gso_frame_of(Transport::Fragments)) {
        let segments = segments_of(frame.vnet, &frame.bytes);
        if let [only] = segments.as_slice() {
            let headers = read(only);
            udp_of(&headers);
            prop_assert_eq!(headers.payload.slice(), &frame.payload);
            prop_assert_eq!(only.len(), frame.bytes.len(), "no fragment header without need");
            return Ok(());
        }
        let mut pool = IpDefragPool::<(), ()>::new();
        let mut datagram = None;
        for segment in &segments {
            prop_assert!(datagram.is_none(), "only the last completes it");
            assert_same_link(&frame, segment);
            let headers = read(segment);
            if !frame.ipv6 {
                prop_assert_eq!(ipv4_id_of(&headers), Some(frame.ipv4_id));
            }
            prop_assert!(headers.payload.slice().len() <= usize::from(frame.vnet.gso_size));
            let sliced = SlicedPacket::from_ethernet(segment).unwrap();
            datagram = pool.process_sliced_packet(&sliced, (), ()).unwrap();
        }
        let datagram = datagram.unwrap().payload;
        let (udp, payload) = UdpHeader::from_slice(&datagram).unwrap();
        prop_assert_eq!(payload, &frame.payload);
        let original = PacketHeaders::from_ethernet_slice(&frame.bytes).unwrap();
        let checksum = match original.net.unwrap() {
            NetHeaders::Ipv4(ip, _) => udp.calc_checksum_ipv4(&ip, payload).unwrap(),
            NetHeaders::Ipv6(ip, _) => udp.calc_checksum_ipv6(&ip, payload).unwrap(),
            NetHeaders::Arp(_) => unreachable!("UDP over ARP"),
        };
        prop_assert_eq!(udp.checksum, checksum);
    }

    #[test]
    fn padding_behind_the_packet_is_in_no_segment(frame in gso_frame(), padding in 1usize..9) {
        let mut padded = frame.bytes.clone();
        padded.extend(std::iter::repeat_n(0xaa, padding));
        prop_assert_eq!(segments_of(frame.vnet, &padded), segments_of(frame.vnet, &frame.bytes));
    }

    #[test]
    fn a_frame_that_is_not_to_be_segmented_is_completed(frame in gso_frame()) {
        let vnet = VnetHeader { gso_type: 0, gso_size: 0, ..frame.vnet };
        let plain = VnetHeader::default();
        prop_assert_eq!(segments_of(plain, &frame.bytes), [frame.bytes.clone()]);

        let mut completed = frame.bytes.clone();
        tapferry_frame::checksum::complete(&vnet, &mut completed).unwrap();
        prop_assert_eq!(segments_of(vnet, &frame.bytes), [completed]);
    }

    #[test]
    fn a_frame_of_another_protocol_is_refused(frame in gso_frame_of(Transport::Tcp)) {
        let other_version = if frame.ipv6 { GSO_TCPV4 } else { GSO_TCPV6 };
        for gso_type in [other_version, GSO_UDP_L4] {
            let segmenter = Segmenter::new(VnetHeader { gso_type, ..frame.vnet }, &frame.bytes);
            prop_assert_eq!(segmenter.unwrap_err(), Malformed::OtherSegments.into());
        }
    }
}

/// Ethernet and IPv4 headers, then `rest`, of the protocol.
fn ipv4_frame(protocol: u8, total_len: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(total_len.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(rest);
    frame
}

#[test]
fn a_datagram_without_a_checksum_stays_without_one() {
    let mut udp = vec![0, 9, 0, 9, 0, 28, 0, 0];
    udp.extend([5; 20]);
    let frame = ipv4_frame(17, 48, &udp);
    let vnet = VnetHeader { gso_type: GSO_UDP_L4, gso_size: 10, ..VnetHeader::default() };
    let segments = segments_of(vnet, &frame);
    assert_eq!(segments.len(), 2);
    assert!(segments.iter().all(|segment| segment[40..42] == [0, 0]));
}

#[test]
fn a_datagram_that_states_another_length_is_refused() {
    let mut udp = vec![0, 9, 0, 9, 0, 18, 0, 0];
    udp.extend([5; 20]);
    let frame = ipv4_frame(17, 48, &udp);
    let vnet = VnetHeader { gso_type: GSO_UDP_L4, gso_size: 10, ..VnetHeader::default() };
    assert_eq!(Segmenter::new(vnet, &frame).unwrap_err(), Malformed::Length(Header::Udp).into());
}

#[test]
fn a_packet_above_64_kib_is_segmented_though_it_cannot_state_its_length() {
    let mut tcp = vec![0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    tcp.extend(std::iter::repeat_n(3, 100_000));
    let frame = ipv4_frame(6, 0, &tcp);
    let vnet = VnetHeader { gso_type: GSO_TCPV4, gso_size: 1460, ..VnetHeader::default() };
    let segments = segments_of(vnet, &frame);
    assert_eq!(segments.len(), 69);
    let stream: usize = segments.iter().map(|segment| read(segment).payload.slice().len()).sum();
    assert_eq!(stream, 100_000);

    let whole = VnetHeader { gso_size: 65535, ..vnet };
    assert_eq!(Segmenter::new(whole, &frame).unwrap_err(), SegmentError::TooLong);
}

#[test]
fn ipv6_with_extension_headers_is_not_cut_into_fragments() {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 48, 0, 64]);
    frame.extend([0xfd; 32]);
    frame.extend([17, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend([0, 9, 0, 9, 0, 40, 0, 0]);
    frame.extend([5; 32]);
    let vnet = VnetHeader { gso_type: GSO_UDP, gso_size: 16, ..VnetHeader::default() };
    assert!(matches!(Segmenter::new(vnet, &frame), Err(SegmentError::Unsupported(_))));
    let fits = VnetHeader { gso_size: 40, ..vnet };
    assert_eq!(segments_of(fits, &frame).len(), 1);
}

#[test]
fn fragments_of_less_than_8_bytes_are_refused() {
    let frame = ipv4_frame(17, 40, &[0, 9, 0, 9, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let vnet = VnetHeader { gso_type: GSO_UDP, gso_size: 7, ..VnetHeader::default() };
    assert_eq!(Segmenter::new(vnet, &frame).unwrap_err(), Malformed::EmptySegments.into());
}

#[test]
fn unknown_and_empty_segments_are_refused() {
    let frame = ipv4_frame(6, 20, &[]);
    let unknown = VnetHeader { gso_type: 2, gso_size: 1, ..VnetHeader::default() };
    assert!(matches!(Segmenter::new(unknown, &frame), Err(SegmentError::Unsupported(_))));
    let empty = VnetHeader { gso_type: GSO_TCPV4, ..VnetHeader::default() };
    assert_eq!(Segmenter::new(empty, &frame).unwrap_err(), Malformed::EmptySegments.into());
}
