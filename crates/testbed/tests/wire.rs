//! The testbed on real interfaces: what is sent is what is read, with and without virtio-net headers.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tapferry_testbed::craft::{Checksum, Frame, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::{Probe, Tag};
use tapferry_testbed::reader::{Direction, Reader};
use tapferry_testbed::sender::{Pace, Sender, SenderOptions};
use tapferry_testbed::tap::{OFFLOADS_TCP, Tap, TapOptions};
use tapferry_testbed::vnet::VnetHeader;

const SOON: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(50);

fn tap(name: &str, options: &TapOptions) -> Tap {
    Tap::create(name, options).expect("a TAP is created")
}

#[test]
fn a_namespace_is_empty_and_left_again() {
    let before = std::fs::read_link("/proc/thread-self/ns/net").expect("a thread has a namespace");
    let Some(namespace) = Namespace::enter_or_skip() else { return };
    assert!(link::exists("lo") && !link::exists("tapA"));
    let tap = tap("tapA", &TapOptions::default());
    let seen_inside = std::thread::spawn(|| link::exists("tapA")).join().expect("the thread ends");
    assert!(seen_inside, "a thread inherits the namespace");
    let handle = namespace.handle();
    drop(namespace);
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").expect("it is back"), before);
    assert!(!link::exists("tapA"));
    let _again = handle.enter().expect("a namespace can be entered again");
    assert!(link::exists("tapA"));
    drop(tap);
    assert!(!link::exists("tapA"), "a TAP goes with its descriptor");
}

#[test]
fn frames_that_gather_are_all_counted_in_order() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = tap("tapA", &TapOptions::default());
    let host = Reader::gathering("tapA", Direction::Incoming, Duration::from_millis(5)).expect("a reader");
    for frame in Probe::default().frames(100, 0..1000) {
        guest.write_plain(&frame).expect("the guest sends");
    }
    let tally = host.wait_for(1000, SOON);
    let flow = tally.flow(0);
    assert_eq!(tally.ranges(0), [(0, 999)], "{tally:?}");
    assert_eq!((flow.duplicates, flow.out_of_order, tally.lost_by_reader), (0, 0, 0));
}

#[test]
fn what_the_host_sends_reaches_the_guest_and_back() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for vnet_header in [None, Some(10), Some(12)] {
        let options = TapOptions { vnet_header, ..TapOptions::default() };
        let guest = Reader::on_tap(tap("tapA", &options));
        let host = Reader::on_interface("tapA", Direction::Incoming).expect("a reader");
        let sent = Sender::open("tapA").expect("a sender").send_probes(&Probe::default(), 60, 0..1000);
        assert_eq!(sent.expect("all are sent").frames, 1000);
        let tally = guest.wait_for(1000, SOON);
        assert_eq!(tally.ranges(0), [(0, 999)], "{vnet_header:?}: {tally:?}");
        assert_eq!((tally.frames, tally.flow(0).duplicates, tally.flow(0).damaged), (1000, 0, 0));

        let probe = Probe::of_flow(1);
        for frame in probe.frames(100, 0..200) {
            guest.tap().expect("it reads a TAP").write_plain(&frame).expect("the guest sends");
        }
        let tally = host.wait_for(200, SOON);
        assert_eq!(tally.ranges(1), [(0, 199)], "{tally:?}");
        assert_eq!(tally.frames, 200, "the host's own frames are not incoming");
    }
}

#[test]
fn an_idle_interface_is_silent() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions::like_qemu()));
    link::set_down("tapA").expect("down");
    link::set_up("tapA").expect("up");
    assert_eq!(guest.settle(Duration::from_millis(300)).frames, 0);
}

#[test]
fn a_gso_frame_arrives_whole_with_offloads_and_in_segments_without() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for (ip, gso_size, segments) in [(Ip::V4, 1448, 42), (Ip::V6, 1428, 43)] {
        let frame = Packet::new(ip, Checksum::Partial).tcp_gso(0, 60_000, gso_size);
        for (offloads, vnet_header) in [(OFFLOADS_TCP, Some(12)), (0, Some(10)), (0, None)] {
            let options = TapOptions { vnet_header, offloads, ..TapOptions::default() };
            let guest = Reader::on_tap(tap("tapA", &options));
            guest.keep_frames();
            Sender::with_vnet_header("tapA").expect("a sender").send_frame(&frame).expect("it is sent");
            let tally = guest.wait_until(SOON, |tally| tally.stream.bytes >= 60_000);
            assert_eq!(tally.stream.bytes, 60_000, "{tally:?}");
            assert_eq!((tally.stream.damaged, tally.stream.jumps), (0, 0));
            assert_eq!((tally.bad_checksum, tally.too_long), (0, 0), "{tally:?}");
            if offloads == 0 {
                assert_eq!((tally.gso, tally.frames), (0, segments));
            } else {
                assert_eq!((tally.gso, tally.partial_checksum, tally.frames), (1, 1, 1));
                assert_eq!(guest.take_frames(), std::slice::from_ref(&frame));
            }
        }
    }
}

#[test]
fn udp_segments_are_numbered_one_by_one() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions::like_qemu()));
    let frame = Packet::new(Ip::V4, Checksum::Partial).of_flow(3).udp_gso(100, 40, 1200);
    Sender::with_vnet_header("tapA").expect("a sender").send_frame(&frame).expect("it is sent");
    let tally = guest.wait_for(40, SOON);
    assert_eq!(tally.ranges(3), [(100, 139)], "{tally:?}");
    assert_eq!((tally.bad_checksum, tally.flow(3).damaged), (0, 0));
}

#[test]
fn a_partial_checksum_sent_plainly_arrives_bad() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions::default()));
    let frame = Packet::new(Ip::V4, Checksum::Partial).udp(0, 1054);
    Sender::open("tapA").expect("a sender").send(&VnetHeader::default(), &frame.bytes).expect("it is sent");
    assert_eq!(guest.wait_for(1, SOON).bad_checksum, 1);
    guest.clear();
    Sender::with_vnet_header("tapA").expect("a sender").send_frame(&frame).expect("it is sent");
    assert_eq!(guest.wait_for(1, SOON).bad_checksum, 0);
}

#[test]
fn a_tag_held_beside_the_frame_is_put_back_by_the_reader() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").expect("a veth pair");
    let port = Reader::on_interface("vethB", Direction::Incoming).expect("a reader");
    port.keep_frames();
    let probe = Probe { tags: vec![Tag::dot1q(0x2064)], ..Probe::default() };
    Sender::open("vethA").expect("a sender").send_probes(&probe, 100, 0..10).expect("all are sent");
    let tally = port.wait_for(10, SOON);
    assert_eq!((tally.tagged, tally.last_tag, tally.flow(0).damaged), (10, Some(0x2064), 0), "{tally:?}");
    let bytes: Vec<_> = port.take_frames().into_iter().map(|frame| frame.bytes).collect();
    assert_eq!(bytes, probe.frames(100, 0..10).collect::<Vec<_>>());
}

#[test]
fn a_bridge_passes_frames_at_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").expect("a veth pair");
    let guest = Reader::on_tap(tap("tapA", &TapOptions::like_qemu()));
    link::bridge("br0", &["vethB", "tapA"]).expect("a bridge");
    Sender::open("vethA")
        .expect("a sender")
        .send_probes(&Probe::default(), 60, 0..100)
        .expect("all are sent");
    assert_eq!(guest.wait_for(100, SOON).ranges(0), [(0, 99)]);
}

#[test]
fn a_guest_that_does_not_read_keeps_what_its_queue_holds() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions { queue_length: 500, ..TapOptions::default() }));
    guest.set_paused(true);
    let sender = Sender::open("tapA").expect("a sender");
    sender.send_probes(&Probe::default(), 60, 0..600).expect("all are sent");
    assert_eq!(guest.settle(SILENCE).frames, 0);
    assert_eq!(link::counters("tapA").expect("counters").tx_dropped, 100);
    guest.set_paused(false);
    assert_eq!(guest.wait_for(500, SOON).ranges(0), [(0, 499)]);
}

#[test]
fn a_multi_queue_tap_is_read_on_all_queues() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions { queues: 4, ..TapOptions::like_qemu() }));
    Sender::open("tapA").expect("a sender").send_probes(&Probe::default(), 60, 0..100).expect("all are sent");
    assert_eq!(guest.wait_for(100, SOON).flow(0).count, 100);
}

#[test]
fn a_persistent_tap_stays_until_it_is_deleted() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    Tap::create_unheld("tapA", &TapOptions::like_qemu()).expect("a TAP for QEMU");
    assert!(link::exists("tapA"));
    let tap = tap("tapA", &TapOptions { persistent: true, ..TapOptions::like_qemu() });
    tap.delete().expect("it is deleted");
    assert!(!link::exists("tapA"));
}

#[test]
fn a_reader_survives_down_and_up_and_knows_when_its_interface_is_gone() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").expect("a veth pair");
    let port = Reader::on_interface("vethB", Direction::Incoming).expect("a reader");
    let sender = Sender::open("vethA").expect("a sender");
    sender.send_probes(&Probe::default(), 60, 0..10).expect("all are sent");
    port.wait_for(10, SOON);
    link::set_down("vethB").expect("down");
    link::set_up("vethB").expect("up");
    sender.send_probes(&Probe::default(), 60, 10..20).expect("all are sent");
    assert_eq!(port.wait_for(20, SOON).ranges(0), [(0, 19)]);
    link::delete("vethA").expect("deleted");
    let failed = sender.send_probes(&Probe::default(), 60, 0..1).expect_err("it is gone");
    assert_eq!(failed.errno(), Some(libc::ENXIO));
}

#[test]
fn a_paced_sender_keeps_its_rate_and_stamps_each_frame() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions::default()));
    let options = SenderOptions { mark: Some(0x3074), ..SenderOptions::default() };
    let sender = Sender::with("tapA", options).expect("a sender with a mark");
    let probe = Probe::default();
    for pace in [Pace::Even { rate: 2000 }, Pace::Bursts { rate: 2000, size: 50 }] {
        guest.clear();
        let sent = sender.pace(pace, 401, true, &AtomicBool::new(false), |index, send| {
            send(&VnetHeader::default(), &probe.build(index, 60))
        });
        assert_eq!((sent.frames, sent.refused, sent.stamps.len()), (401, 0, 401));
        let milliseconds = (sent.last - sent.first) / 1_000_000;
        assert!((195..1000).contains(&milliseconds), "{pace:?}: {milliseconds} ms for 200 ms");
        assert!(sent.stamps.iter().all(|stamp| stamp.before <= stamp.after && stamp.before > 0));
        assert_eq!(guest.wait_for(401, SOON).ranges(0), [(0, 400)]);
    }
}

#[test]
fn a_frame_read_by_hand_has_its_header() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = tap("tapA", &TapOptions::like_qemu());
    assert_eq!(guest.read(SILENCE).expect("nothing comes"), None);
    let frame = Packet::new(Ip::V6, Checksum::Partial).udp(1, 200);
    Sender::with_vnet_header("tapA").expect("a sender").send_frame(&frame).expect("it is sent");
    let read: Vec<Frame> = guest.read_all(SILENCE).expect("one comes");
    assert_eq!(read, [frame]);
}

#[test]
fn a_guest_knows_when_its_tap_was_deleted() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions::default()));
    assert_eq!(guest.failure(), None);
    link::delete("tapA").expect("deleted");
    guest.wait_until(SOON, |_| false);
    assert!(guest.failure().is_some_and(|failure| failure.contains("tapA")));
}

#[test]
fn a_guest_can_be_read_by_hand_again() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA", &TapOptions::default()));
    let sender = Sender::open("tapA").expect("a sender");
    sender.send_probes(&Probe::default(), 60, 0..1).expect("it is sent");
    guest.wait_for(1, SOON);
    let guest = guest.into_tap().expect("it read a TAP");
    sender.send_probes(&Probe::default(), 60, 1..2).expect("it is sent");
    let frame = guest.read(SOON).expect("it is there").expect("one comes");
    assert_eq!(frame.bytes, Probe::default().build(1, 60));
}
