//! Frames that cannot be handed over are counted, each in one place.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::mpsc;

use support::{
    MARK, Meeting, PATIENCE, Side, destination, destination_plan, guest, send, source, source_plan,
    source_that, under_way,
};
use tapferry_handover::{EventKind, Outcome, Source};
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::{Tap, TapOptions};

/// A source whose thread stands still when it has the cut, until it is told to go on.
fn held_source(meeting: &Meeting) -> (Side<Source>, mpsc::Sender<()>) {
    let (go_on, waits) = mpsc::channel();
    let waits = std::sync::Mutex::new(waits);
    let source = source_that(source_plan(meeting, "tapA"), move |event| {
        if event.kind == EventKind::State && event.state == "forward" {
            waits.lock().unwrap().recv().ok();
        }
    });
    (source, go_on)
}

#[test]
fn frames_that_the_kernel_had_no_room_for_are_counted_and_the_others_arrive() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let jumbo = TapOptions { mtu: 9000, ..TapOptions::like_qemu() };
    let [here, there] = ["tapA", "tapB"]
        .map(|name| tapferry_testbed::reader::Reader::on_tap(Tap::create(name, &jumbo).unwrap()));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let (source, go_on) = held_source(&meeting);
    source.migrate(&here, 100);
    const FRAMES: u64 = 40_000;
    let sent = Sender::open("tapA").unwrap().send_probes(&Probe::default(), 9000, 100..100 + FRAMES).unwrap();
    assert_eq!(sent.frames, FRAMES);
    go_on.send(()).unwrap();
    source.told.wait_code("ring_full");
    destination.told.wait_state("injecting");
    destination.handle.resumed(None);

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, left.sent + left.ring_full), (FRAMES, FRAMES), "{left:#?}");
    assert!(left.sent > 0 && left.ring_full > 0, "{left:#?}");
    assert_eq!(arrived.injected, left.sent, "{arrived:#?}");
    let flow = there.wait_for(left.sent, PATIENCE).flow(0);
    assert_eq!((flow.count, flow.duplicates, flow.out_of_order), (left.sent, 0, 0));
}

#[test]
fn frames_that_the_destination_s_interface_does_not_take_are_counted() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let jumbo = TapOptions { mtu: 9000, ..TapOptions::like_qemu() };
    let here = tapferry_testbed::reader::Reader::on_tap(Tap::create("tapA", &jumbo).unwrap());
    let there = guest("tapB");
    let (_meeting, destination, source) = under_way(&here);
    destination.told.wait_code("mtu_smaller");
    assert_eq!(source.told.count_code("mtu_smaller"), 1);
    let long = Sender::open("tapA").unwrap();
    send("tapA", 100..150);
    long.send_probes(&Probe::default(), 8000, 150..170).unwrap();
    send("tapA", 170..200);
    destination.wait_until("refusing some", |report| report.refused == 20);
    destination.handle.resumed(None);

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((arrived.received, arrived.injected, arrived.refused), (100, 80, 20), "{arrived:#?}");
    let flow = there.wait_for(80, PATIENCE).flow(0);
    assert_eq!(flow.ranges.as_slice(), [(100, 149), (170, 199)]);
}

#[test]
fn frames_that_are_longer_than_the_protocol_carries_are_counted() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // BIG TCP: interfaces that are not TAPs can be told to take GSO frames of more than 64 KiB.
    link::veth("tapA", "peer").unwrap();
    link::ip("link set tapA gso_max_size 200000").unwrap();
    let there = guest("tapB");
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    source.handle.calibrate(None);
    source.handle.stopped(None);
    source.told.wait_state("forward");
    let mut long = Packet::new(Ip::V6, Checksum::Partial).tcp_gso(0, 60_000, 1428);
    long.bytes.resize(100_000, 0);
    // A packet that has no room for its length has the length 0 (RFC 2675).
    long.bytes[18..20].fill(0);
    send("tapA", 0..20);
    Sender::with_vnet_header("tapA").unwrap().send_frame(&long).unwrap();
    send("tapA", 20..40);
    destination.wait_until("taking the others", |report| report.injected >= 40);
    destination.handle.resumed(None);

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.unsendable, left.captured), (1, left.sent + 1), "{left:#?}");
    assert_eq!(there.wait_for(40, PATIENCE).flow(0).ranges.as_slice(), [(0, 39)]);
}

#[test]
fn frames_that_we_have_injected_ourselves_are_not_handed_over() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    let options = tapferry_testbed::sender::SenderOptions { mark: Some(MARK), ..Default::default() };
    Sender::with("tapA", options).unwrap().send_probes(&Probe::default(), 64, 100..150).unwrap();
    send("tapA", 150..160);
    destination.told.wait_state("injecting");
    destination.handle.resumed(None);
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.captured, arrived.injected), (10, 10), "{left:#?}");
    assert_eq!(there.wait_for(10, PATIENCE).flow(0).ranges.as_slice(), [(150, 159)]);
}

#[test]
fn a_guest_that_was_behind_all_the_time_is_told_and_one_that_caught_up_is_not() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // Tests beside this one have TAPs of the usual name in this process, and all of that name are held.
    let name = "tapBehind";
    let (here, _there) = (guest(name), guest("tapB"));
    let pid = std::process::id().cast_signed();
    for is_behind in [true, false] {
        here.set_paused(is_behind);
        let meeting = Meeting::new();
        let destination = destination(&meeting, destination_plan("tapB"));
        let source = source(source_plan(&meeting, name));
        source.told.wait_kind(EventKind::Ready);
        send(name, 0..100);
        source.handle.calibrate(Some(pid));
        source.told.wait_state("calibrate");
        // Time for some looks at the queue.
        std::thread::sleep(std::time::Duration::from_millis(100));
        source.handle.stopped(None);
        source.told.wait_state("forward");
        assert!(source.report().tap_held);
        assert_eq!(source.told.count_code("guest_behind"), 0, "it may run on here");
        destination.handle.resumed(None);
        source.told.wait_state("drain");
        assert_eq!(source.told.count_code("guest_behind"), usize::from(is_behind));
    }
}
