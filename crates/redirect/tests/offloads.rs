//! Frames come out correct, whatever offloads they were captured with and whatever the output can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{BOTH, PATIENCE, QUIET, plan, start, tap};
use tapferry_redirect::{DropReason, EventKind, Latency};
use tapferry_testbed::craft::{Checksum, Frame, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::{Probe, Tag};
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::{OFFLOADS_ALL, Tap, TapOptions};

/// Bytes of a large TCP send.
const LARGE: usize = 60_000;
const IPS: [Ip; 2] = [Ip::V4, Ip::V6];

/// The outputs that matter: nothing, a virtio-net header alone, QEMU's offloads, all of them.
fn outputs() -> [TapOptions; 4] {
    [
        TapOptions::default(),
        TapOptions { offloads: 0, ..TapOptions::like_qemu() },
        TapOptions::like_qemu(),
        TapOptions { offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() },
    ]
}

fn input() -> Tap {
    Tap::create("tapA", &TapOptions { offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() }).unwrap()
}

fn inject(frames: &[Frame]) {
    let sender = Sender::with_vnet_header("tapA").unwrap();
    for frame in frames {
        sender.send_frame(frame).unwrap();
    }
}

#[test]
fn large_tcp_sends_arrive_complete_at_every_kind_of_output() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for options in outputs() {
            for ip in IPS {
                let (_a, b) =
                    (Reader::on_tap(input()), Reader::on_tap(Tap::create("tapB", &options).unwrap()));
                let running = start(plan(latency));
                inject(&[Packet::new(ip, Checksum::Partial).tcp_gso(0, LARGE, 1400)]);
                let tally = b.wait_until(PATIENCE, |tally| tally.stream.bytes >= 60_000);
                let context = format!("{latency:?} {options:?} {ip:?} {tally:?} {:?}", running.statistics());
                assert_eq!(tally.stream.bytes, 60_000, "{context}");
                assert_eq!((tally.stream.damaged, tally.stream.jumps), (0, 0), "{context}");
                assert_eq!((tally.bad_checksum, tally.too_long, tally.other), (0, 0, 0), "{context}");
                assert_eq!(running.stop().counters.forwarded, 1);
            }
        }
    }
}

#[test]
fn udp_segmentation_arrives_as_the_datagrams_that_were_sent() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for options in outputs() {
            for ip in IPS {
                let (_a, b) =
                    (Reader::on_tap(input()), Reader::on_tap(Tap::create("tapB", &options).unwrap()));
                let running = start(plan(latency));
                inject(&[Packet::new(ip, Checksum::Partial).udp_gso(0, 40, 1400)]);
                let tally = b.wait_for(40, PATIENCE);
                let context = format!("{latency:?} {options:?} {ip:?} {tally:?}");
                assert_eq!(tally.ranges(0), [(0, 39)], "{context}");
                assert_eq!((tally.bad_checksum, tally.too_long), (0, 0), "{context}");
                running.stop();
            }
        }
    }
}

#[test]
fn partial_checksums_are_complete_or_announced_on_arrival() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for options in outputs() {
            let (_a, b) = (Reader::on_tap(input()), Reader::on_tap(Tap::create("tapB", &options).unwrap()));
            let running = start(plan(latency));
            let frames: Vec<_> = (0..10_u64)
                .zip(IPS.into_iter().cycle())
                .map(|(n, ip)| Packet::new(ip, Checksum::Partial).udp(n, 500))
                .collect();
            inject(&frames);
            let tally = b.wait_for(10, PATIENCE);
            assert_eq!(tally.ranges(0), [(0, 9)]);
            assert_eq!(tally.bad_checksum, 0, "{latency:?} {options:?} {tally:?}");
            running.stop();
        }
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // A redirector that repaired damage would hide it from the guest.
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Balanced));
    inject(&[Packet::new(Ip::V4, Checksum::Wrong).udp(0, 200)]);
    assert_eq!(b.wait_for(1, PATIENCE).bad_checksum, 1);
    running.stop();
}

#[test]
fn a_tag_in_the_bytes_stays_with_large_frames_too() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for options in outputs() {
            let (_a, b) = (Reader::on_tap(input()), Reader::on_tap(Tap::create("tapB", &options).unwrap()));
            let running = start(plan(latency));
            let packet = Packet::new(Ip::V4, Checksum::Partial).tagged(Tag::dot1q(0x2064));
            inject(&[packet.tcp_gso(0, LARGE, 1400), packet.udp(0, 300)]);
            let tally = b.wait_until(PATIENCE, |tally| tally.numbered() == 1);
            let context = format!("{latency:?} {options:?} {tally:?}");
            assert_eq!(tally.stream.bytes, 60_000, "{context}");
            assert_eq!((tally.bad_checksum, tally.too_long, tally.stream.damaged), (0, 0, 0), "{context}");
            assert_eq!((tally.tagged, tally.last_tag), (tally.frames, Some(0x2064)), "{context}");
            running.stop();
        }
    }
}

/// veth -> bridge -> tapA: the veth takes the tag out of the bytes and holds it beside the frame.
fn bridged_input() -> (Tap, Sender) {
    let tap = input();
    link::veth("host", "port").unwrap();
    link::bridge("br0", &["port", "tapA"]).unwrap();
    (tap, Sender::with_vnet_header("host").unwrap())
}

#[test]
fn a_tag_that_the_kernel_holds_beside_the_frame_is_put_back() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for options in outputs() {
            let (a, host) = bridged_input();
            let _a = Reader::on_tap(a);
            let b = Reader::on_tap(Tap::create("tapB", &options).unwrap());
            let running = start(plan(latency));
            let packet = Packet::new(Ip::V4, Checksum::Partial).tagged(Tag::dot1q(0x2064));
            for frame in [packet.udp(0, 300), packet.tcp_gso(0, LARGE, 1400), packet.udp(1, 300)] {
                host.send_frame(&frame).unwrap();
            }
            let tally = b.wait_for(2, PATIENCE);
            let context = format!("{latency:?} {options:?} {tally:?} {:?}", running.statistics());
            assert_eq!(tally.stream.bytes, 60_000, "{context}");
            assert_eq!((tally.bad_checksum, tally.too_long, tally.stream.damaged), (0, 0, 0), "{context}");
            assert_eq!((tally.tagged, tally.last_tag), (tally.frames, Some(0x2064)), "{context}");
            running.stop();
            link::delete("br0").unwrap();
            link::delete("host").unwrap();
        }
    }
}

#[test]
fn segments_never_exceed_the_mtu_of_the_output() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for options in outputs() {
            for ip in IPS {
                let a = Tap::create(
                    "tapA",
                    &TapOptions { mtu: 9000, offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() },
                );
                let (_a, b) =
                    (Reader::on_tap(a.unwrap()), Reader::on_tap(Tap::create("tapB", &options).unwrap()));
                let running = start(plan(latency));
                inject(&[Packet::new(ip, Checksum::Partial).tcp_gso(0, LARGE, 8900)]);
                let tally = b.wait_until(PATIENCE, |tally| tally.stream.bytes >= 60_000);
                let context = format!("{latency:?} {options:?} {ip:?} {tally:?}");
                assert_eq!((tally.stream.bytes, tally.stream.damaged), (60_000, 0), "{context}");
                assert_eq!((tally.too_long, tally.bad_checksum), (0, 0), "{context}");
                running.stop();
            }
        }
    }
}

#[test]
fn what_cannot_be_made_shorter_is_counted_and_named_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let a =
            Tap::create("tapA", &TapOptions { mtu: 9000, offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() });
        let (_a, b) = (Reader::on_tap(a.unwrap()), Reader::on_tap(tap("tapB")));
        let running = start(plan(latency));
        let packet = Packet::new(Ip::V4, Checksum::Complete);
        // A jumbo frame, twice, datagrams of a jumbo size, and one frame that fits.
        inject(&[packet.udp(0, 4000), packet.udp(1, 4000), packet.udp_gso(10, 5, 4000), packet.udp(2, 1514)]);
        assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(2, 2)]);
        let statistics = running.wait_captured(4);
        assert_eq!(statistics.counters.dropped.of(DropReason::TooLong), 3, "{statistics:?}");
        running.wait_told(EventKind::Warning, 1);
        let warnings: Vec<_> = running.events().into_iter().filter_map(|event| event.code).collect();
        assert_eq!(warnings, ["too_long"]);
        assert_eq!(b.settle(QUIET).frames, 1);
        running.stop();
    }
}

#[test]
fn jumbo_frames_pass_between_jumbo_interfaces() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let jumbo = TapOptions { mtu: 9000, ..TapOptions::like_qemu() };
        let (_a, b) = (
            Reader::on_tap(Tap::create("tapA", &jumbo).unwrap()),
            Reader::on_tap(Tap::create("tapB", &jumbo).unwrap()),
        );
        let running = start(plan(latency));
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 9014, 0..100).unwrap();
        let tally = b.wait_for(100, PATIENCE);
        assert_eq!((tally.ranges(0), tally.max_length), ([(0, 99)].as_slice(), 9014));
        running.stop();
    }
}

#[test]
fn a_lowered_mtu_is_followed_while_running() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _a = Reader::on_tap(input());
    let b =
        Reader::on_tap(Tap::create("tapB", &TapOptions { offloads: 0, ..TapOptions::like_qemu() }).unwrap());
    let running = start(plan(Latency::Low));
    link::set_mtu("tapB", 1000).unwrap();
    // The change is known once a later snapshot has passed through the same loop.
    running.wait_until("following the MTU", |_| true);
    std::thread::sleep(QUIET);
    inject(&[Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, LARGE, 1400)]);
    let tally = b.wait_until(PATIENCE, |tally| tally.stream.bytes >= 60_000);
    assert_eq!(tally.stream.bytes, 60_000);
    assert!(tally.max_length <= 1014, "{tally:?}");
    running.stop();
}
