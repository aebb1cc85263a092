//! Virtio-net headers that nothing announces are taken off from the first record on that shows them; and no frame loses
//! its beginning.

use proptest::collection::vec;
use proptest::prelude::*;
use tapferry_stream::{Decoder, Framing, FramingError, Unannounced};

use crate::check::model::End;
use crate::check::pace::{Pace, agrees};
use crate::frames::{
    BROADCAST, MULTICAST6, QEMU_MAC, SOURCE, TINY_MAC, arp, ethernet, ipv4, ipv6, padded, tagged, usual,
};
use crate::wire::{HEADERS, PLAIN, encoded, inline, raw};

const LENGTHS: [usize; 4] = [10, 12, 20, 24];

/// Of a physical card.
const VENDOR_MAC: [u8; 6] = [0, 0x1b, 0x21, 1, 2, 3];
const LLDP_GROUP: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0x0e];

/// A header's first ten bytes, and the shortest frame it can be for.
const CSUM_UDP: ([u8; 10], usize) = ([1, 0, 0, 0, 0, 0, 34, 0, 6, 0], 42);
const CSUM_TCP: ([u8; 10], usize) = ([1, 0, 0, 0, 0, 0, 34, 0, 16, 0], 54);
const CSUM_TCP_VLAN: ([u8; 10], usize) = ([1, 0, 0, 0, 0, 0, 38, 0, 16, 0], 58);
const CSUM_VALID: ([u8; 10], usize) = ([2, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
const TSO4: ([u8; 10], usize) = ([1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0], 66);
const TSO4_ECN: ([u8; 10], usize) = ([1, 0x81, 54, 0, 0xb4, 5, 34, 0, 16, 0], 54);
const TSO6: ([u8; 10], usize) = ([1, 4, 86, 0, 0x94, 5, 54, 0, 16, 0], 86);
const USO: ([u8; 10], usize) = ([1, 5, 42, 0, 0xc0, 5, 34, 0, 6, 0], 42);

fn with_header(header: &[u8; 10], len: usize) -> Vec<u8> {
    [&header[..], &[0; 14]].concat()[..len].to_vec()
}

/// The lengths of header and frame of each record, the same at any pace, and how the stream ends.
fn read(framing: Framing, stream: &[u8]) -> (Vec<(usize, usize)>, End) {
    let mut decoder = Decoder::new(framing);
    let (_, end) = agrees(&mut decoder, stream, &Pace::at_once());
    assert_eq!(agrees(&mut decoder, stream, &Pace::reads(vec![1])).1, end);
    decoder.reset();
    decoder.space()[..stream.len()].copy_from_slice(stream);
    decoder.filled(stream.len());
    let records = decoder.records().map(|record| (record.vnet_hdr.len(), record.frame.len())).collect();
    (records, end)
}

fn records(framing: Framing, stream: &[u8]) -> Vec<(usize, usize)> {
    let (records, end) = read(framing, stream);
    assert_eq!(end, End::Between);
    records
}

fn lldp() -> Vec<u8> {
    let chassis = [&[0x02, 7, 4][..], &SOURCE].concat();
    let payload = [&chassis[..], &[0x04, 5, 5, b'e', b't', b'h', b'0', 0x06, 2, 0, 120, 0, 0]].concat();
    ethernet(LLDP_GROUP, SOURCE, 0x88cc, &payload)
}

/// Frames of Cisco's discovery, of a login to a switch, of a provider's line, of a clock.
fn others() -> Vec<(&'static str, Vec<u8>)> {
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0][..], &[0x5a; 80]].concat();
    vec![
        ("LLDP", lldp()),
        ("LLDP, padded", padded(lldp())),
        ("CDP", ethernet([1, 0, 0x0c, 0xcc, 0xcc, 0xcc], SOURCE, 88, &snap)),
        ("802.1X", ethernet([1, 0x80, 0xc2, 0, 0, 3], SOURCE, 0x888e, &[1, 1, 0, 0])),
        ("PPPoE", ethernet(BROADCAST, SOURCE, 0x8863, &[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0])),
        ("PTP", ethernet([1, 0x1b, 0x19, 0, 0, 0], SOURCE, 0x88f7, &[0x5a; 44])),
        ("IPv4 with a trailer", ethernet(QEMU_MAC, SOURCE, 0x0800, &[ipv4(40), vec![0x5a; 6]].concat())),
    ]
}

#[test]
fn a_header_is_seen_before_the_first_frame_whatever_that_is() {
    for destination in [BROADCAST, MULTICAST6, QEMU_MAC, VENDOR_MAC, LLDP_GROUP, TINY_MAC] {
        for (name, frame) in usual(destination).into_iter().chain(others()) {
            for len in LENGTHS {
                let stream = encoded(PLAIN, &vec![0; len], &frame).repeat(3);
                let case = format!("{name} to {destination:x?} behind {len} bytes");
                assert_eq!(records(PLAIN, &stream), [(len, frame.len()); 3], "{case}");
            }
        }
    }
}

#[test]
fn a_header_in_use_is_seen_in_each_of_its_lengths() {
    for destination in [QEMU_MAC, VENDOR_MAC, BROADCAST] {
        for (header, shortest) in [CSUM_UDP, CSUM_TCP, CSUM_TCP_VLAN, CSUM_VALID, TSO4, TSO4_ECN, TSO6, USO] {
            for (name, frame) in usual(destination) {
                if frame.len() < shortest || frame.len() == 60 {
                    continue;
                }
                for len in LENGTHS {
                    let stream = encoded(PLAIN, &with_header(&header, len), &frame).repeat(2);
                    let case = format!("{name} to {destination:x?} behind {len} bytes, {header:?}");
                    assert_eq!(records(PLAIN, &stream), [(len, frame.len()); 2], "{case}");
                }
            }
        }
    }
}

#[test]
fn what_follows_the_first_ten_bytes_of_a_header_may_be_anything() {
    let frame = ethernet(QEMU_MAC, SOURCE, 0x0800, &ipv4(56));
    for len in LENGTHS {
        let header = [&[0; 10][..], &[0xa5; 14]].concat()[..len].to_vec();
        assert_eq!(records(PLAIN, &encoded(PLAIN, &header, &frame)), [(len, frame.len())]);
    }
}

#[test]
fn qemu_as_it_was_measured_is_read() {
    // QEMU 7.2.22, filter-mirror, vnet_hdr_support=off, TAP with vnet_hdr=on, modern virtio-net: an ARP request, and a
    // UDP datagram of the host with its checksum left undone.
    let request = ethernet(BROADCAST, QEMU_MAC, 0x0806, &arp());
    let datagram = ethernet(QEMU_MAC, SOURCE, 0x0800, &ipv4(18));
    let undone = [1, 0, 0, 0, 0, 0, 0x22, 0, 6, 0, 0, 0];
    let stream = [
        raw(PLAIN, 54, 0, &[&[0; 12][..], &request].concat()),
        raw(PLAIN, 72, 0, &[&undone[..], &datagram].concat()),
    ];
    assert_eq!(records(PLAIN, &stream.concat()), [(12, 42), (12, 60)]);
    assert_eq!(records(PLAIN, &[&stream[1][..], &stream[0]].concat()), [(12, 60), (12, 42)]);
}

#[test]
fn records_that_do_not_tell_are_plain_and_what_decides_holds_for_all_that_follow() {
    let junk = encoded(PLAIN, &[], b"Hello! filter-mirror~");
    let frame = encoded(PLAIN, &[0; 12], &ethernet(BROADCAST, SOURCE, 0x0806, &arp()));
    let empty = raw(PLAIN, 0, 0, &[]);
    let short = raw(PLAIN, 5, 0, b"Hello");
    let stream = [&junk[..], &empty, &short, &junk, &frame, &junk, &short, &empty, &frame].concat();
    let expected = [(0, 21), (0, 0), (0, 5), (0, 21), (12, 42), (12, 9), (5, 0), (0, 0), (12, 42)];
    assert_eq!(records(PLAIN, &stream), expected);
}

#[test]
fn a_frame_that_is_known_settles_that_there_are_no_headers() {
    let behind_header = encoded(PLAIN, &[0; 12], &ethernet(BROADCAST, SOURCE, 0x0806, &arp()));
    for (name, frame) in usual(QEMU_MAC).into_iter().chain(others()) {
        let stream = [&encoded(PLAIN, &[], &frame)[..], &behind_header, &behind_header].concat();
        assert_eq!(records(PLAIN, &stream), [(0, frame.len()), (0, 54), (0, 54)], "{name}");
    }
}

/// As QEMU 7.2.22 sends it, on `announce-self`.
const ANNOUNCEMENT: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3, 0x52,
    0x54, 0, 0, 0, 1, 0, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 1, 0, 0, 0, 0,
];

#[test]
fn the_announcement_of_a_card_has_no_header_and_does_not_tell_whether_others_have() {
    let announcement = padded(ANNOUNCEMENT.to_vec());
    let announced = raw(PLAIN, 60, 0, &announcement);
    let frame = encoded(PLAIN, &[0; 12], &ethernet(BROADCAST, QEMU_MAC, 0x0806, &arp()));
    let stream = [&announced[..], &frame, &announced, &frame].concat();
    assert_eq!(records(PLAIN, &stream), [(0, 60), (12, 42), (0, 60), (12, 42)]);
    assert_eq!(records(inline(12), &stream), [(0, 60), (12, 42), (0, 60), (12, 42)]);
    assert_eq!(records(inline(0), &stream), [(0, 60), (0, 54), (0, 60), (0, 54)]);
}

#[test]
fn the_announcement_of_a_card_has_no_header_where_it_announces_one() {
    let announcement = padded(ANNOUNCEMENT.to_vec());
    let frame = ethernet(BROADCAST, QEMU_MAC, 0x0806, &arp());
    for len in [0, 10, 12, 20] {
        let announced = raw(HEADERS, 60, u32::try_from(len).unwrap(), &announcement);
        let stream = [&announced[..], &encoded(HEADERS, &vec![0; len], &frame), &announced].concat();
        assert_eq!(records(HEADERS, &stream), [(0, 60), (len, 42), (0, 60)]);
        assert_eq!(read(PLAIN, &stream), (vec![], End::Wrong(FramingError::PeerSendsVnetHeaders)));
        let behind_header = encoded(HEADERS, &vec![0; len], &announcement);
        assert_eq!(records(HEADERS, &behind_header), [(len, 60)], "others may send it with one");
    }
}

#[test]
fn a_new_connection_is_looked_at_anew() {
    let frame = ethernet(BROADCAST, SOURCE, 0x0806, &arp());
    let mut decoder = Decoder::new(PLAIN);
    for len in [12, 0, 10, 20, 0, 12] {
        let stream = encoded(PLAIN, &vec![0; len], &frame);
        agrees(&mut decoder, &stream, &Pace::at_once());
        decoder.reset();
        decoder.space()[..stream.len()].copy_from_slice(&stream);
        decoder.filled(stream.len());
        let record = decoder.records().next().unwrap();
        assert_eq!((record.vnet_hdr, record.frame), (&vec![0; len][..], &frame[..]));
    }
}

#[test]
fn a_length_that_is_given_holds_for_every_record() {
    for len in [1, 4, 10, 12, 20, 24, 60] {
        for payload in [&b"Hello! filter-mirror~"[..], &ethernet(QEMU_MAC, SOURCE, 0x0800, &ipv4(56))] {
            let stream = encoded(PLAIN, &vec![0xff; len], payload).repeat(3);
            assert_eq!(records(inline(len), &stream), [(len, payload.len()); 3]);
        }
    }
    let behind_header = encoded(PLAIN, &[0; 12], &ethernet(BROADCAST, SOURCE, 0x0806, &arp())).repeat(2);
    assert_eq!(records(inline(0), &behind_header), [(0, 54); 2]);
}

#[test]
fn a_record_shorter_than_the_length_that_is_given_is_in_step_and_has_no_frame() {
    let stream: Vec<u8> =
        (0..=14_u8).flat_map(|len| raw(PLAIN, u32::from(len), 0, &vec![0xa5; usize::from(len)])).collect();
    let expected: Vec<_> = (0..=14_usize).map(|len| (len.min(12), len.saturating_sub(12))).collect();
    assert_eq!(records(inline(12), &stream), expected);
    let never = raw(PLAIN, 60, 0, &[0xa5; 60]);
    assert_eq!(records(inline(usize::MAX), &never.repeat(2)), [(60, 0); 2]);
}

#[test]
fn headers_that_are_announced_are_split_as_announced_whatever_is_said_of_unannounced_ones() {
    let framing = Framing { unannounced: Unannounced::Len(12), ..HEADERS };
    for (_, frame) in usual(QEMU_MAC) {
        for len in [0, 10, 12] {
            let stream = encoded(HEADERS, &vec![0; len], &frame).repeat(2);
            assert_eq!(records(framing, &stream), [(len, frame.len()); 2]);
        }
    }
}

#[test]
fn announced_headers_are_refused_whatever_length_is_given() {
    // Tags can lie as the two headers differ: then the next record tells.
    let untagged = usual(QEMU_MAC).into_iter().filter(|(name, _)| !name.contains("VLAN"));
    for (name, frame) in untagged {
        for announced in [0, 10, 12, 20] {
            let stream = encoded(HEADERS, &vec![0; announced], &frame).repeat(2);
            for len in [0, 10, 12] {
                let (records, end) = read(inline(len), &stream);
                let case = format!("{name}, {announced} announced, {len} expected");
                assert_eq!(end, End::Wrong(FramingError::PeerSendsVnetHeaders), "{case}");
                assert!(records.is_empty(), "{case}");
            }
        }
    }
}

#[test]
fn the_length_that_is_given_is_never_refused_when_the_peer_keeps_to_it() {
    for destination in [QEMU_MAC, TINY_MAC, [0; 6], BROADCAST] {
        for (_, frame) in usual(destination).into_iter().chain(others()) {
            for len in LENGTHS {
                for header in [vec![0; len], with_header(&TSO4.0, len)] {
                    let stream = encoded(PLAIN, &header, &frame).repeat(3);
                    assert_eq!(records(inline(len), &stream), [(len, frame.len()); 3]);
                }
            }
        }
    }
}

#[test]
fn frames_with_addresses_that_look_like_a_header_keep_them() {
    let tiny = [0, 0, 0, 0, 0, 1];
    for destination in [[0; 6], TINY_MAC, tiny, [0, 1, 0, 0, 0, 0]] {
        for source in [[0; 6], TINY_MAC, tiny, SOURCE] {
            for ethertype in [0, 1, 0x1234, 0x7a05, 0xdada, 0xffff] {
                for payload in
                    [vec![0; 46], vec![0xff; 46], b"Hello! filter-mirror~".repeat(9), ipv4(56), arp()]
                {
                    let frame = ethernet(destination, source, ethertype, &payload);
                    let stream = encoded(PLAIN, &[], &frame).repeat(2);
                    assert_eq!(records(PLAIN, &stream), [(0, frame.len()); 2]);
                }
            }
        }
    }
}

#[test]
fn tags_that_are_not_known_are_not_taken_for_a_header() {
    let tiny = [0, 0, 0, 0, 0, 1];
    for (destination, source) in [([0; 6], SOURCE), (TINY_MAC, tiny), (TINY_MAC, [0; 6]), (QEMU_MAC, tiny)] {
        for (name, mut frame) in usual(destination) {
            frame.splice(6..12, source);
            for tags in 1..8 {
                frame = tagged(&frame, 0x7a05);
                for frame in [frame.clone(), padded(frame.clone())] {
                    let stream = encoded(PLAIN, &[], &frame).repeat(2);
                    let case = format!("{name} to {destination:x?} behind {tags} tags");
                    assert_eq!(records(PLAIN, &stream), [(0, frame.len()); 2], "{case}");
                }
            }
        }
    }
}

fn ethertypes() -> impl Strategy<Value = u16> {
    prop_oneof![prop::sample::select(vec![0x0800, 0x0806, 0x86dd, 0x8100, 0x88cc, 38, 0x7a05]), any::<u16>()]
}

/// Behind a header that is 4 bytes shorter, this address would be a tag: of the next lengths, those of 24 and 20.
fn seems_tagged(source: [u8; 6]) -> bool {
    [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]].contains(&[source[2], source[3]])
}

#[test]
fn an_address_that_may_be_a_tag_is_taken_for_one() {
    let frame = ethernet(QEMU_MAC, [0x52, 0x54, 0x81, 0x00, 0, 1], 0x0800, &ipv4(100));
    let stream = encoded(PLAIN, &[0; 24], &frame).repeat(2);
    assert_eq!(records(PLAIN, &stream), [(20, frame.len() + 4); 2]);
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(arp()), (0..1400_usize).prop_map(ipv4), (0..1400_usize).prop_map(ipv6)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_frame_from_a_station_loses_its_beginning(
        destination: [u8; 6],
        source: [u8; 6],
        ethertype in ethertypes(),
        unknown in vec(any::<u8>(), 0..24),
        packet in packets(),
        is_padded: bool,
    ) {
        let frame = ethernet(destination, source, ethertype, &[&unknown[..], &packet].concat());
        let frame = if is_padded { padded(frame) } else { frame };
        prop_assert_eq!(records(PLAIN, &encoded(PLAIN, &[], &frame).repeat(2)), [(0, frame.len()); 2]);
    }

    #[test]
    fn no_bytes_that_are_no_frame_lose_their_beginning(
        first in vec(any::<u8>(), 1..80),
        second in vec(0..2_u8, 1..80),
    ) {
        let stream = [encoded(PLAIN, &[], &first), encoded(PLAIN, &[], &second)].concat();
        prop_assert_eq!(records(PLAIN, &stream), [(0, first.len()), (0, second.len())]);
    }

    #[test]
    fn a_header_is_seen_before_any_packet_of_any_station(
        len in prop::sample::select(LENGTHS.to_vec()),
        destination: [u8; 6],
        source in any::<[u8; 6]>().prop_filter("no telling", |source| !seems_tagged(*source)),
        vlan: bool,
        ethertype in prop::sample::select(vec![(0x0800, 4), (0x86dd, 6)]),
        size in 26..1400_usize,
        header in prop::sample::select(vec![[0; 10], CSUM_UDP.0, CSUM_VALID.0, USO.0]),
    ) {
        let (ethertype, version) = ethertype;
        let packet = if version == 4 { ipv4(size) } else { ipv6(size) };
        let frame = ethernet(destination, source, ethertype, &packet);
        let frame = if vlan { tagged(&frame, 0x8100) } else { frame };
        let stream = encoded(PLAIN, &with_header(&header, len), &frame).repeat(2);
        prop_assert_eq!(records(PLAIN, &stream), [(len, frame.len()); 2]);
    }
}
