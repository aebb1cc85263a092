//! Ends that differ in vnet_hdr_support are told so, before a frame of theirs is handed out; and nobody else is.

use proptest::collection::vec;
use proptest::prelude::*;
use tapferry_stream::{Decoder, Framing, FramingError};

use crate::check::model::End;
use crate::check::pace::{Pace, agrees};
use crate::frames::{
    BROADCAST, MULTICAST6, QEMU_MAC, SOURCE, TINY_MAC, arp, ethernet, ipv4, ipv6, padded, tagged, usual,
};
use crate::wire::{HEADERS, PLAIN, encoded, raw};

/// A frame as it is, and one whose checksum and segments are left undone: what the kernel sends.
const COMPLETE: [u8; 24] = [0; 24];
const TSO: [u8; 24] = [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const TSO_HEADERS: usize = 66;

/// What the reader makes of a stream, at any pace.
fn outcome(framing: Framing, stream: &[u8]) -> (usize, End) {
    let mut decoder = Decoder::new(framing);
    let at_once = agrees(&mut decoder, stream, &Pace::at_once());
    assert_eq!(at_once, agrees(&mut decoder, stream, &Pace::reads(vec![1])));
    at_once
}

/// Says so with nothing handed out, already for the first record alone.
fn assert_refused(reader: Framing, stream: &[u8], error: FramingError, case: &str) {
    assert_eq!(outcome(reader, stream), (0, End::Wrong(error)), "{case}");
    let and_more = [stream, stream, stream].concat();
    assert_eq!(outcome(reader, &and_more), (0, End::Wrong(error)), "{case}, and more behind it");
}

#[test]
fn headers_that_are_not_expected_are_seen_in_the_first_record() {
    for destination in [BROADCAST, MULTICAST6, QEMU_MAC] {
        for (name, frame) in usual(destination) {
            for len in [0, 10, 12, 20, 24] {
                for header in [&COMPLETE[..len], &TSO[..len]] {
                    if header.starts_with(&[1]) && frame.len() < TSO_HEADERS {
                        continue;
                    }
                    let stream = encoded(HEADERS, header, &frame);
                    let case = format!("{name} with a header of {len} bytes");
                    assert_refused(PLAIN, &stream, FramingError::PeerSendsVnetHeaders, &case);
                }
            }
        }
    }
}

#[test]
fn headers_that_are_missing_are_seen_in_the_first_eight_bytes() {
    for destination in [BROADCAST, MULTICAST6, QEMU_MAC] {
        for (name, frame) in usual(destination) {
            let stream = encoded(PLAIN, &[], &frame);
            assert_refused(HEADERS, &stream[..8], FramingError::PeerSendsNoVnetHeaders, name);
        }
    }
}

#[test]
fn an_address_that_looks_like_the_length_of_a_header_hides_nothing() {
    for destination in [TINY_MAC, [0; 6], [0, 0, 0, 10, 0, 1], [0, 0, 0, 12, 0x34, 0x56]] {
        for (name, frame) in usual(destination) {
            let unexpected = encoded(HEADERS, &COMPLETE[..12], &frame);
            assert_refused(PLAIN, &unexpected, FramingError::PeerSendsVnetHeaders, name);
            if !name.contains("VLAN") {
                let missing = encoded(PLAIN, &[], &frame);
                assert_refused(HEADERS, &missing, FramingError::PeerSendsNoVnetHeaders, name);
            }
        }
    }
}

#[test]
fn a_tag_that_may_as_well_be_a_part_of_an_address_is_made_clear_by_what_follows() {
    for tpid in [0x8100, 0x88a8] {
        let frame = tagged(&ethernet(TINY_MAC, SOURCE, 0x0800, &ipv4(100)), tpid);
        let stream = encoded(PLAIN, &[], &frame).repeat(2);
        assert_eq!(outcome(HEADERS, &stream), (1, End::Wrong(FramingError::PeerSendsNoVnetHeaders)));
    }
}

#[test]
fn headers_that_come_unannounced_are_seen_as_missing_ones() {
    for (name, frame) in usual(QEMU_MAC) {
        for len in [10, 12] {
            for header in [&COMPLETE[..len], &TSO[..len]] {
                if header.starts_with(&[1]) && frame.len() < TSO_HEADERS {
                    continue;
                }
                let stream = encoded(PLAIN, header, &frame);
                assert_refused(HEADERS, &stream, FramingError::PeerSendsNoVnetHeaders, name);
            }
        }
    }
}

#[test]
fn the_verdict_waits_for_the_whole_of_the_first_record() {
    let stream = encoded(HEADERS, &COMPLETE[..12], &ethernet(BROADCAST, SOURCE, 0x0806, &arp()));
    let as_configured = 4 + 12 + 42;
    assert_eq!(outcome(PLAIN, &stream[..as_configured - 1]), (0, End::Partial));
    let refused = (0, End::Wrong(FramingError::PeerSendsVnetHeaders));
    assert_eq!(outcome(PLAIN, &stream[..as_configured]), refused);
}

#[test]
fn empty_records_before_the_first_frame_do_not_put_off_the_verdict() {
    let frame = ethernet(BROADCAST, SOURCE, 0x0806, &arp());
    let stream = [raw(PLAIN, 0, 0, &[]), encoded(HEADERS, &COMPLETE[..12], &frame)].concat();
    let refused = End::Wrong(FramingError::PeerSendsVnetHeaders);
    assert_eq!(outcome(PLAIN, &stream), (1, refused));
}

#[test]
fn a_first_frame_that_could_be_either_is_made_clear_by_what_follows() {
    let lldp = ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], SOURCE, 0x88cc, &[0x5a; 50]);
    let stream = encoded(HEADERS, &[], &lldp).repeat(3);
    assert_eq!(outcome(PLAIN, &stream), (1, End::Wrong(FramingError::PeerSendsVnetHeaders)));

    let padded = padded(ethernet([0, 0x1b, 0x21, 1, 2, 3], SOURCE, 0x0806, &arp()));
    let stream = encoded(HEADERS, &[], &padded);
    assert_eq!(outcome(PLAIN, &stream), (1, End::Wrong(FramingError::PeerSendsVnetHeaders)));

    let lldp = ethernet(TINY_MAC, SOURCE, 0x88cc, &[0x5a; 50]);
    let stream = encoded(PLAIN, &[], &lldp).repeat(3);
    assert_eq!(outcome(HEADERS, &stream), (1, End::Wrong(FramingError::PeerSendsNoVnetHeaders)));
}

#[test]
fn a_stream_in_step_that_breaks_later_is_not_blamed_on_the_headers() {
    let frame = encoded(PLAIN, &[], &ethernet(BROADCAST, SOURCE, 0x0806, &arp()));
    let broken = [&frame.repeat(3)[..], &[0xff; 8]].concat();
    let oversized = FramingError::Oversized { length: u32::MAX };
    assert_eq!(outcome(PLAIN, &broken), (3, End::Wrong(oversized)));

    let frame = encoded(HEADERS, &[0; 12], &ethernet(BROADCAST, SOURCE, 0x0806, &arp()));
    let broken = [&frame.repeat(3)[..], &raw(HEADERS, 60, 0x5254_0012, &[])].concat();
    let implausible = FramingError::VnetHeaderLength { length: 0x5254_0012 };
    assert_eq!(outcome(HEADERS, &broken), (3, End::Wrong(implausible)));
}

#[test]
fn a_new_connection_is_judged_anew() {
    let frame = ethernet(BROADCAST, SOURCE, 0x0806, &arp());
    let mut decoder = Decoder::new(PLAIN);
    let wrong = encoded(HEADERS, &[0; 12], &frame);
    let right = encoded(PLAIN, &[], &frame);
    for _ in 0..2 {
        let (_, end) = agrees(&mut decoder, &wrong, &Pace::at_once());
        assert_eq!(end, End::Wrong(FramingError::PeerSendsVnetHeaders));
        assert_eq!(agrees(&mut decoder, &right, &Pace::at_once()), (1, End::Between));
    }
}

#[test]
fn the_error_names_both_ends_and_the_hint_their_options() {
    let error = FramingError::PeerSendsVnetHeaders;
    assert_eq!(error.to_string(), "the peer announces virtio-net headers, and here vnet_hdr_support is off");
    assert!(error.hint().contains("`--vnet-hdr-support=on` here"));
    assert!(error.hint().contains("`vnet_hdr_support=off` at QEMU"));
    let error = FramingError::PeerSendsNoVnetHeaders;
    assert_eq!(
        error.to_string(),
        "the peer announces no virtio-net headers, and here vnet_hdr_support is on"
    );
    assert!(error.hint().contains("`--vnet-hdr-support=off` here"));
    assert!(error.hint().contains("`vnet_hdr_support=on` at QEMU"));
}

#[test]
fn the_payloads_of_qemus_own_tests_pass() {
    for payload in ["Hello! filter-mirror~", "Hello!!", "Hello!"] {
        let stream = encoded(PLAIN, &[], payload.as_bytes()).repeat(2);
        assert_eq!(outcome(PLAIN, &stream), (2, End::Between));
        for len in [0, 10, 12] {
            let stream = encoded(HEADERS, &COMPLETE[..len], payload.as_bytes()).repeat(2);
            assert_eq!(outcome(HEADERS, &stream), (2, End::Between));
        }
    }
}

#[test]
fn frames_of_zeros_pass_in_every_length() {
    for len in (1..100).chain([1514, 69_608]) {
        let zeros = vec![0; len];
        assert_eq!(outcome(PLAIN, &encoded(PLAIN, &[], &zeros).repeat(2)), (2, End::Between));
        for header in [0, 10, 12, 20, 24] {
            let stream = encoded(HEADERS, &COMPLETE[..header], &zeros).repeat(2);
            assert_eq!(outcome(HEADERS, &stream), (2, End::Between), "{len} bytes, header of {header}");
        }
    }
}

#[test]
fn a_tag_that_is_not_known_in_a_frame_of_a_laboratory_passes() {
    // Read the other way, the four bytes of the tag make up for those of the announcement.
    for (_, frame) in usual(TINY_MAC) {
        let source_too = [&TINY_MAC[..], &[0, 0, 0, 0, 0, 1], &frame[12..]].concat();
        for frame in [tagged(&frame, 0x7a05), padded(tagged(&frame, 0x7a05)), tagged(&source_too, 0x7a05)] {
            assert_eq!(outcome(PLAIN, &encoded(PLAIN, &[], &frame).repeat(2)), (2, End::Between));
            assert_eq!(outcome(HEADERS, &encoded(HEADERS, &[], &frame).repeat(2)), (2, End::Between));
        }
    }
}

fn addresses() -> impl Strategy<Value = [u8; 6]> {
    let short = |byte: u8| any::<[u8; 2]>().prop_map(move |[a, b]| [0, 0, 0, byte, a, b]);
    prop_oneof![
        any::<[u8; 6]>(),
        prop::sample::select(vec![BROADCAST, MULTICAST6, QEMU_MAC, TINY_MAC, [0; 6]]),
        any::<u8>().prop_map(|last| [0, 0, 0, 0, 0, last]),
        prop::sample::select(vec![0, 10, 12, 20, 24]).prop_flat_map(short),
    ]
}

fn ethertypes() -> impl Strategy<Value = u16> {
    let known = vec![0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x8035, 0x88cc, 0x88b5, 0x6558, 0, 38, 0x7a05];
    prop_oneof![prop::sample::select(known), any::<u16>(), 0..1501_u16]
}

/// What follows an Ethernet header: packets, whole frames, text, zeros, noise; also behind something that is not known.
fn payloads() -> BoxedStrategy<Vec<u8>> {
    let packet = prop_oneof![
        Just(arp()),
        (0..1400_usize).prop_map(ipv4),
        (0..1400_usize).prop_map(ipv6),
        (addresses(), addresses(), ethertypes(), 0..100_usize).prop_map(
            |(destination, source, ethertype, len)| ethernet(destination, source, ethertype, &ipv4(len))
        ),
    ];
    let behind = (vec(any::<u8>(), 0..24), ethertypes(), packet.clone())
        .prop_map(|(unknown, ethertype, packet)| [&unknown[..], &ethertype.to_be_bytes(), &packet].concat());
    prop_oneof![
        packet,
        behind,
        (0..1500_usize).prop_map(|len| vec![0; len]),
        (0..1500_usize).prop_map(|len| "Hello! ".bytes().cycle().take(len).collect()),
        vec(any::<u8>(), 0..1500),
    ]
    .boxed()
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let whole = (addresses(), addresses(), ethertypes(), payloads(), any::<bool>()).prop_map(
        |(destination, source, ethertype, payload, is_padded)| {
            let frame = ethernet(destination, source, ethertype, &payload);
            if is_padded { padded(frame) } else { frame }
        },
    );
    let no_frame = prop_oneof![vec(any::<u8>(), 1..60), vec(0..2_u8, 1..60)];
    prop_oneof![6 => whole, 1 => no_frame]
}

fn vnet_headers() -> impl Strategy<Value = Vec<u8>> {
    let len = prop::sample::select(vec![0_usize, 10, 12, 20, 24]);
    let header = prop_oneof![Just(COMPLETE), Just(TSO), any::<[u8; 24]>()];
    (len, header).prop_map(|(len, header)| header[..len].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_plausible_stream_without_headers_is_refused(first in frames(), second in frames()) {
        let stream = [encoded(PLAIN, &[], &first), encoded(PLAIN, &[], &second)].concat();
        prop_assert_eq!(agrees(&mut Decoder::new(PLAIN), &stream, &Pace::at_once()), (2, End::Between));
    }

    #[test]
    fn no_plausible_stream_with_headers_is_refused(
        header in vnet_headers(),
        first in frames(),
        second in frames(),
    ) {
        let stream = [encoded(HEADERS, &header, &first), encoded(HEADERS, &header, &second)].concat();
        prop_assert_eq!(agrees(&mut Decoder::new(HEADERS), &stream, &Pace::at_once()), (2, End::Between));
    }
}
