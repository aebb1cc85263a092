//! Frames to and from a peer: byte for byte, whole or with their virtio-net header, whatever the peer does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::peer::{Peer, Wired, record};
use support::{BOTH, Directory, PATIENCE, client, netdev, roomy_tap, server, start, tap, with_headers};
use tapferry_redirect::{DropReason, End, EventKind, Latency, Plan, StreamPlan};
use tapferry_testbed::craft::{Checksum, Frame, Ip, Packet};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::{Probe, Tag};
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::{OFFLOADS_ALL, Tap, TapOptions};

/// A limit that no frame of these tests reaches.
const NO_MTU: usize = 100_000;

fn to(stream: StreamPlan) -> Plan {
    Plan::between(netdev("tapA"), End::Stream(stream))
}

fn from(stream: StreamPlan) -> Plan {
    Plan::between(End::Stream(stream), netdev("tapB"))
}

fn relay(input: StreamPlan, output: StreamPlan) -> Plan {
    Plan::between(End::Stream(input), End::Stream(output))
}

/// A TAP whose guest takes every offload, so that frames keep theirs on the way to it.
fn offloading_tap(name: &str) -> Tap {
    Tap::create(name, &TapOptions { offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() }).unwrap()
}

fn inject(frame: &Frame) {
    Sender::with_vnet_header("tapA").unwrap().send_frame(frame).unwrap();
}

fn numbered(sequence: u64) -> Vec<u8> {
    Probe::default().build(sequence, 64)
}

#[test]
fn frames_from_an_interface_reach_a_peer_in_order_and_byte_for_byte() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    for latency in BOTH {
        let _a = Reader::on_tap(tap("tapA"));
        let running = start(Plan { latency, ..to(server(&directory.path("out"))) });
        let mut peer = Peer::connect(&directory.path("out"), false);
        running.wait_told(EventKind::OutputBack, 1);
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 64, 0..1_000).unwrap();
        for sequence in 0..1_000 {
            let frame = numbered(sequence);
            assert_eq!(peer.receive().unwrap(), Wired { header: vec![], frame }, "{latency:?}");
        }
        let counters = running.stop().counters;
        assert_eq!((counters.captured, counters.forwarded), (1_000, 1_000));
        assert!(peer.is_closed());
    }
}

#[test]
fn frames_from_a_peer_reach_an_interface_in_order_however_the_bytes_are_cut() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(roomy_tap("tapB"));
    let running = start(from(server(&directory.path("in"))));
    let mut peer = Peer::connect(&directory.path("in"), false);
    let bytes: Vec<u8> = (0..500).flat_map(|sequence| record(false, &[], &numbered(sequence))).collect();
    for chunk in bytes[..2_000].chunks(1).chain(bytes[2_000..].chunks(777)) {
        assert!(peer.send_raw(chunk));
    }
    assert_eq!(b.wait_for(500, PATIENCE).ranges(0), [(0, 499)]);
    let statistics = running.stop();
    assert_eq!((statistics.counters.captured, statistics.counters.forwarded), (500, 500));
}

#[test]
fn the_header_says_what_the_kernel_left_undone() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(offloading_tap("tapA"));
    for length in [None, Some(10), Some(12)] {
        let stream = with_headers(server(&directory.path("out")));
        let running = start(to(StreamPlan { vnet_hdr_len: length, ..stream }));
        let mut peer = Peer::connect(&directory.path("out"), true);
        running.wait_told(EventKind::OutputBack, 1);
        let sent = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 1400);
        inject(&sent);
        let wired = peer.receive().unwrap();
        assert_eq!(wired.frame, sent.bytes, "whole, as it was sent");
        assert_eq!(wired.header.len(), length.unwrap_or(12));
        assert_eq!(tapferry_testbed::vnet::VnetHeader::from_bytes(&wired.header).unwrap(), sent.header);
        assert_eq!(running.stop().counters.forwarded, 1);
    }
}

#[test]
fn a_peer_that_takes_whole_frames_gets_segments_and_checksums() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(offloading_tap("tapA"));
    let path = directory.path("out");
    let no_header = StreamPlan { vnet_hdr_len: Some(0), ..with_headers(server(&path)) };
    for (stream, complete_offloads, header) in
        [(server(&path), false, 0), (with_headers(server(&path)), true, 12), (no_header, false, 0)]
    {
        let vnet_hdr = stream.vnet_hdr;
        let running = start(Plan { complete_offloads, ..to(stream) });
        let mut peer = Peer::connect(&path, vnet_hdr);
        running.wait_told(EventKind::OutputBack, 1);
        for ip in [Ip::V4, Ip::V6] {
            inject(&Packet::new(ip, Checksum::Partial).tcp_gso(0, 60_000, 1400));
            let tally = peer.tally(43, 1500);
            assert_eq!((tally.stream.bytes, tally.stream.jumps), (60_000, 0), "{tally:?}");
            assert_eq!((tally.bad_checksum, tally.too_long, tally.other), (0, 0, 0), "{tally:?}");
            inject(&Packet::new(ip, Checksum::Partial).udp(7, 500));
            let wired = peer.receive().unwrap();
            assert_eq!(wired.header, vec![0; header]);
            assert_eq!(wired.frame, Packet::new(ip, Checksum::Complete).udp(7, 500).bytes);
        }
        let counters = running.stop().counters;
        assert_eq!((counters.captured, counters.forwarded), (4, 4), "frames, not segments");
    }
}

#[test]
fn a_tag_is_in_the_bytes_whether_the_frame_leaves_as_it_is_or_is_made_whole() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(offloading_tap("tapA"));
    for vnet_hdr in [false, true] {
        let stream = StreamPlan { vnet_hdr, ..server(&directory.path("out")) };
        let running = start(to(stream));
        let mut peer = Peer::connect(&directory.path("out"), vnet_hdr);
        running.wait_told(EventKind::OutputBack, 1);
        let tag = Tag::dot1q(42);
        inject(&Packet::new(Ip::V4, Checksum::Complete).tagged(tag).udp(1, 200));
        inject(&Packet::new(Ip::V4, Checksum::Partial).tagged(tag).udp(2, 200));
        let tally = peer.tally(2, NO_MTU);
        assert_eq!(tally.ranges(0), [(1, 2)], "{vnet_hdr}");
        assert_eq!((tally.bad_checksum, tally.other), (0, 0), "{tally:?}");
        running.stop();
    }
}

#[test]
fn offloads_announced_by_a_peer_are_carried_out_at_the_interface() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    for length in [10, 12, 20] {
        let b = Reader::on_tap(tap("tapB"));
        let running = start(from(with_headers(server(&directory.path("in")))));
        let mut peer = Peer::connect(&directory.path("in"), true);
        let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 1400);
        let mut header = frame.header.to_bytes(10);
        header.resize(length, 0);
        peer.send(&header, &frame.bytes);
        let tally = b.wait_until(PATIENCE, |tally| tally.stream.bytes >= 60_000);
        assert_eq!((tally.stream.bytes, tally.bad_checksum, tally.too_long), (60_000, 0, 0), "{tally:?}");
        running.stop();
    }
}

#[test]
fn a_relay_passes_headers_of_every_length_on_unchanged() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (input, output) = (directory.path("in"), directory.path("out"));
    let running = start(relay(with_headers(server(&input)), with_headers(server(&output))));
    let (mut sender, mut receiver) = (Peer::connect(&input, true), Peer::connect(&output, true));
    running.wait_told(EventKind::OutputBack, 1);
    for (number, length) in (0..100_u64).zip([0, 10, 12, 20].into_iter().cycle()) {
        let header: Vec<u8> = (0..length).map(|byte: u8| byte ^ 0x2a).collect();
        sender.send(&header, &numbered(number));
        assert_eq!(receiver.receive().unwrap(), Wired { header, frame: numbered(number) });
    }
    running.stop();
}

#[test]
fn a_relay_between_different_framings_says_of_a_frame_what_the_other_end_can_hear() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (input, output) = (directory.path("in"), directory.path("out"));
    let partial = Packet::new(Ip::V4, Checksum::Partial).udp(3, 300);
    let whole = Packet::new(Ip::V4, Checksum::Complete).udp(3, 300);

    let running = start(relay(with_headers(server(&input)), server(&output)));
    let (mut sender, mut receiver) = (Peer::connect(&input, true), Peer::connect(&output, false));
    running.wait_told(EventKind::OutputBack, 1);
    sender.send(&partial.header.to_bytes(12), &partial.bytes);
    assert_eq!(receiver.receive().unwrap(), Wired { header: vec![], frame: whole.bytes.clone() });
    running.stop();

    let running = start(relay(server(&input), with_headers(server(&output))));
    let (mut sender, mut receiver) = (Peer::connect(&input, false), Peer::connect(&output, true));
    running.wait_told(EventKind::OutputBack, 1);
    sender.send(&[], &whole.bytes);
    assert_eq!(receiver.receive().unwrap(), Wired { header: vec![0; 12], frame: whole.bytes });
    running.stop();
}

#[test]
fn a_header_that_nothing_announces_is_written_and_read_as_qemu_has_it_by_default() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (input, output) = (directory.path("in"), directory.path("out"));
    let sent = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 1400);
    for length in [10, 12, 20] {
        let header = sent.header.to_bytes(length);
        let inline = [&header[..], &sent.bytes].concat();

        let _a = Reader::on_tap(offloading_tap("tapA"));
        let running = start(to(StreamPlan { vnet_hdr_len: Some(length), ..server(&output) }));
        let mut receiver = Peer::connect(&output, false);
        running.wait_told(EventKind::OutputBack, 1);
        inject(&sent);
        assert_eq!(receiver.receive().unwrap().frame, inline);
        running.stop();

        for told in [None, Some(length)] {
            let b = Reader::on_tap(tap("tapB"));
            let running = start(from(StreamPlan { vnet_hdr_len: told, ..server(&input) }));
            Peer::connect(&input, false).send(&[], &inline);
            let tally = b.wait_until(PATIENCE, |tally| tally.stream.bytes >= 60_000);
            assert_eq!((tally.stream.bytes, tally.bad_checksum, tally.other), (60_000, 0, 0), "{tally:?}");
            running.stop();
        }

        let running = start(relay(server(&input), server(&output)));
        let (mut sender, mut receiver) = (Peer::connect(&input, false), Peer::connect(&output, false));
        running.wait_told(EventKind::OutputBack, 1);
        sender.send(&[], &inline);
        assert_eq!(receiver.receive().unwrap().frame, inline, "unchanged, though it was understood");
        running.stop();
    }
}

#[test]
fn an_announcement_of_qemus_gets_the_header_that_it_alone_lacks() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (input, output) = (directory.path("in"), directory.path("out"));
    let running = start(relay(with_headers(server(&input)), with_headers(server(&output))));
    let (mut sender, mut receiver) = (Peer::connect(&input, true), Peer::connect(&output, true));
    running.wait_told(EventKind::OutputBack, 1);
    sender.send(&[0; 12], &numbered(1));
    assert_eq!(receiver.receive().unwrap().header.len(), 12);

    // As QEMU 7.2 writes it: 12 bytes of header are announced, and the frame follows at once.
    let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    let mut rarp =
        [&[0xff; 6][..], &mac, &[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3], &mac, &[0; 4], &mac].concat();
    rarp.resize(60, 0);
    sender.send(&rarp[..12], &rarp[12..]);
    assert_eq!(receiver.receive().unwrap(), Wired { header: vec![0; 12], frame: rarp });
    running.stop();
}

#[test]
fn two_redirectors_back_to_back_are_as_one() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let middle = directory.path("middle");
    for vnet_hdr in [false, true] {
        let (_a, b) = (Reader::on_tap(offloading_tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
        let second = start(from(StreamPlan { vnet_hdr, ..server(&middle) }));
        let first = start(to(StreamPlan { vnet_hdr, ..client(&middle) }));
        inject(&Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 1400));
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..5_000).unwrap();
        let tally = b.wait_for(5_000, PATIENCE);
        assert_eq!(tally.ranges(0), [(0, 4_999)], "{vnet_hdr}");
        assert_eq!((tally.stream.bytes, tally.bad_checksum, tally.flow(0).out_of_order), (60_000, 0, 0));
        first.stop();
        second.stop();
    }
}

#[test]
fn the_longest_record_passes_and_runts_do_between_streams() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (input, output) = (directory.path("in"), directory.path("out"));
    let running = start(relay(server(&input), server(&output)));
    let (mut sender, mut receiver) = (Peer::connect(&input, false), Peer::connect(&output, false));
    running.wait_told(EventKind::OutputBack, 1);
    for length in [69_632, 1, 13] {
        let frame = vec![0xab; length];
        sender.send(&[], &frame);
        assert_eq!(receiver.receive().unwrap().frame, frame);
    }
    sender.send(&[], &[]);
    sender.send(&[], &numbered(9));
    assert_eq!(receiver.receive().unwrap().frame, numbered(9), "an empty one is ignored");
    let counters = running.stop().counters;
    assert_eq!((counters.captured, counters.dropped.of(DropReason::Malformed)), (5, 1));
}

#[test]
fn what_an_interface_cannot_take_is_dropped_by_name_and_the_stream_goes_on() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(tap("tapB"));
    let running = start(from(server(&directory.path("in"))));
    let mut peer = Peer::connect(&directory.path("in"), false);
    peer.send(&[], &[1; 13]);
    peer.send(&[], &Probe::default().build(0, 1519));
    peer.send(&[], &numbered(1));
    assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(1, 1)]);
    let dropped = running.stop().counters.dropped;
    assert_eq!((dropped.of(DropReason::Malformed), dropped.of(DropReason::TooLong)), (1, 1));
}

#[test]
fn status_off_means_off_and_the_peer_is_read_all_the_same() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (input, output) = (directory.path("in"), directory.path("out"));
    let running = start(Plan { status: false, ..relay(server(&input), server(&output)) });
    let (mut sender, mut receiver) = (Peer::connect(&input, false), Peer::connect(&output, false));
    for sequence in 0..20_000 {
        sender.send(&[], &numbered(sequence));
    }
    let statistics = running.wait_captured(20_000);
    assert_eq!(statistics.counters.dropped.of(DropReason::GateClosed), 20_000);
    running.redirector.set_status(true);
    running.wait_told(EventKind::GateOpened, 1);
    sender.send(&[], &numbered(1));
    assert_eq!(receiver.receive().unwrap().frame, numbered(1), "nothing that piled up");
    running.stop();
}

#[test]
fn a_count_ends_with_the_frame_that_was_asked_for() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let plan = Plan { count: Some(10), latency: Latency::Low, ..to(server(&directory.path("out"))) };
    let running = start(plan);
    let mut peer = Peer::connect(&directory.path("out"), false);
    running.wait_told(EventKind::OutputBack, 1);
    support::send("tapA", 0..20);
    running.wait_told(EventKind::CountReached, 1);
    let counters = running.stop().counters;
    assert_eq!(peer.tally(10, NO_MTU).ranges(0), [(0, 9)]);
    assert!(peer.receive().is_none());
    assert_eq!((counters.forwarded, counters.dropped.of(DropReason::CountReached)), (10, 10));
}
