//! VLAN tags: in the bytes they stay there; a tag the kernel holds beside a frame comes beside the capture and
//! is woven in again when the frame is sent.

mod support;

use support::{BOTH, Capture, PATIENCE, Seen, Way, inject, injector, numbers, outgoing, send, tap, tap_with};
use tapferry_frame::ethernet::VlanTag;
use tapferry_sys::filter::Direction;
use tapferry_sys::inject::Outgoing;
use tapferry_testbed::craft::{Checksum, Frame, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::{Probe, Tag};
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::TapOptions;

/// VLAN 100 with priority 1.
const TCI: u16 = 0x2064;
const TAGS: [Tag; 2] = [Tag { tpid: 0x8100, tci: TCI }, Tag { tpid: 0x88a8, tci: TCI }];

fn tagged(tag: Tag) -> Probe {
    Probe { tags: vec![tag], ..Probe::default() }
}

/// veth -> bridge -> tapA: a tag in a frame sent into vethA is beside it when it is sent into tapA.
fn bridged_tap() -> Reader {
    let guest = Reader::on_tap(tap("tapA"));
    link::veth("vethA", "vethB").expect("a veth pair");
    link::bridge("br0", &["vethB", "tapA"]).expect("a bridge");
    guest
}

#[test]
fn a_tag_in_the_bytes_stays_there() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        for tag in TAGS {
            let mut capture = Capture::open(way, "tapA");
            let probe = tagged(tag);
            Sender::open("tapA").unwrap().send_probes(&probe, 100, 0..10).unwrap();
            let seen = capture.take(10);
            assert!(seen.iter().all(|frame| frame.beside.is_none()), "{way:?} {tag:?}");
            let bytes: Vec<_> = seen.into_iter().map(|frame| frame.bytes).collect();
            assert_eq!(bytes, probe.frames(100, 0..10).collect::<Vec<_>>(), "{way:?} {tag:?}");
        }
    }
}

#[test]
fn a_tag_that_came_through_a_bridge_is_beside_the_frame_with_its_priority() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = bridged_tap();
    for way in BOTH {
        for tag in TAGS {
            let mut capture = Capture::open(way, "tapA");
            Sender::open("vethA").unwrap().send_probes(&tagged(tag), 100, 0..10).unwrap();
            let expected = VlanTag { tpid: tag.tpid, tci: TCI };
            for (sequence, seen) in (0..).zip(capture.take(10)) {
                assert_eq!(seen.beside, Some(expected), "{way:?}");
                assert_eq!((seen.bytes.len(), seen.wire_len), (96, 96), "{way:?}");
                assert_eq!(numbers(&[seen]), [sequence]);
            }
        }
    }
}

#[test]
fn a_tag_is_beside_a_frame_that_a_veth_receives() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").unwrap();
    for way in BOTH {
        let mut capture = Capture::with(way, "vethB", Direction::Incoming, support::MARK);
        Sender::open("vethA").unwrap().send_probes(&tagged(TAGS[0]), 100, 0..10).unwrap();
        assert!(
            capture.take(10).iter().all(|frame| frame.beside == Some(VlanTag { tpid: 0x8100, tci: TCI }))
        );
    }
}

#[test]
fn of_two_tags_the_outer_one_is_beside_the_frame() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = bridged_tap();
    let inner = Tag::dot1q(7);
    let probe = Probe { tags: vec![TAGS[1], inner], ..Probe::default() };
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        Sender::open("vethA").unwrap().send_probes(&probe, 100, 3..4).unwrap();
        let seen = capture.take(1);
        assert_eq!(seen[0].beside, Some(VlanTag { tpid: 0x88a8, tci: TCI }), "{way:?}");
        let left = Probe { tags: vec![inner], ..Probe::default() }.build(3, 96);
        assert_eq!(seen[0].bytes, left, "{way:?}");
    }
}

#[test]
fn a_frame_without_a_tag_has_none_beside_it_even_after_one_that_has() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = bridged_tap();
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        Sender::open("vethA").unwrap().send_probes(&tagged(TAGS[0]), 100, 0..1).unwrap();
        capture.take(1);
        send("vethA", 1..2);
        let seen = capture.take(1);
        assert_eq!((seen[0].beside, seen[0].bytes.len()), (None, 64), "{way:?}");
    }
}

/// Sends a frame into vethA, captures it at tapA and sends it on into tapB, whose guest's frames are returned.
fn ferried(way: Way, frame: &Frame, output: &TapOptions, pieces: u64) -> Vec<Frame> {
    let guest = Reader::on_tap(tap_with("tapB", output));
    guest.keep_frames();
    let mut capture = Capture::open(way, "tapA");
    Sender::with_vnet_header("vethA").expect("a sender").send_frame(frame).expect("it is sent");
    let seen: Vec<Seen> = capture.take(1);
    let retagged: Vec<_> = seen
        .iter()
        .map(|frame| {
            assert!(frame.beside.is_some());
            let vnet = frame.vnet.with_tag_inserted().expect("offsets have room for a tag");
            Outgoing { vnet, ..frame.outgoing() }
        })
        .collect();
    inject(&mut injector("tapB"), &retagged);
    let tally = guest.wait_until(PATIENCE, |tally| tally.frames >= pieces);
    assert_eq!(
        (tally.frames, tally.tagged, tally.last_tag),
        (pieces, pieces, Some(TCI)),
        "{way:?} {tally:?}"
    );
    assert_eq!((tally.bad_checksum, tally.too_long), (0, 0), "{way:?} {tally:?}");
    guest.take_frames()
}

#[test]
fn a_tag_beside_a_frame_is_put_back_and_its_checksum_is_right() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = bridged_tap();
    for way in BOTH {
        for tag in TAGS {
            let whole = Frame { header: Default::default(), bytes: tagged(tag).build(5, 200) };
            let partial = Packet::new(Ip::V6, Checksum::Partial).tagged(tag).udp(5, 1000);
            assert_eq!(ferried(way, &whole, &TapOptions::like_qemu(), 1)[0].bytes, whole.bytes);
            assert_eq!(ferried(way, &partial, &TapOptions::like_qemu(), 1), std::slice::from_ref(&partial));
            let complete = Packet::new(Ip::V6, Checksum::Complete).tagged(tag).udp(5, 1000);
            assert_eq!(ferried(way, &partial, &TapOptions::default(), 1)[0].bytes, complete.bytes);
        }
    }
}

#[test]
fn a_gso_frame_that_was_tagged_again_still_segments() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = bridged_tap();
    for way in BOTH {
        for ip in [Ip::V4, Ip::V6] {
            let frame = Packet::new(ip, Checksum::Partial).tagged(TAGS[0]).tcp_gso(0, 14_000, 1400);
            assert_eq!(
                ferried(way, &frame, &TapOptions::like_qemu(), 1),
                std::slice::from_ref(&frame),
                "{way:?} {ip:?}"
            );
            assert_eq!(ferried(way, &frame, &TapOptions::default(), 10).len(), 10, "{way:?} {ip:?}");
        }
    }
}

#[test]
fn a_frame_with_its_tag_in_the_bytes_can_be_sent_as_it_is() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap_with("tapB", &TapOptions::default()));
    guest.keep_frames();
    let frame = Packet::new(Ip::V4, Checksum::Partial).tagged(TAGS[0]).udp(1, 500);
    inject(&mut injector("tapB"), &[outgoing(&frame)]);
    guest.wait_for(1, PATIENCE);
    let complete = Packet::new(Ip::V4, Checksum::Complete).tagged(TAGS[0]).udp(1, 500);
    assert_eq!(guest.take_frames()[0].bytes, complete.bytes);
}
