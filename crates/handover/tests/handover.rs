//! A whole handover on real interfaces: what the two sides do with frames, whatever the VM does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{
    Meeting, PATIENCE, destination, destination_plan, guest, identity, send, source, source_plan, under_way,
};
use tapferry_handover::{EventKind, Outcome};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::sender::Sender;

#[test]
fn what_comes_while_the_vm_moves_reaches_its_guest_once_and_in_order() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);

    source.handle.calibrate(None);
    source.told.wait_state("calibrate");
    send("tapA", 0..500);
    here.wait_for(500, PATIENCE);
    std::thread::sleep(Duration::from_millis(100));
    here.set_paused(true);
    // It may be in the midst of reading one.
    std::thread::sleep(Duration::from_millis(50));
    source.handle.stopped(None);
    send("tapA", 500..1000);
    source.told.wait_state("forward");
    send("tapA", 1000..1500);
    destination.wait_until("injecting the frames", |report| report.injected == 1000);

    there.set_paused(false);
    destination.handle.resumed(None);
    source.handle.completed();
    source.told.wait_state("drain");
    send("tapA", 1500..1600);

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, left.sent, left.acknowledged), (1100, 1100, 1100), "{left:#?}");
    assert_eq!((arrived.received, arrived.injected), (1100, 1100), "{arrived:#?}");
    let flow = there.wait_for(1100, PATIENCE).flow(0);
    assert_eq!(flow.ranges.as_slice(), [(500, 1599)]);
    assert_eq!((flow.duplicates, flow.out_of_order), (0, 0));
}

#[test]
fn the_guest_s_announcement_of_its_new_place_is_noted_and_not_handed_over() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, _there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    destination.handle.resumed(None);
    source.told.wait_state("drain");

    let switch = Sender::open("tapA").unwrap();
    let own = identity().mac;
    // An ARP of the guest's own, and then what QEMU says twice.
    for ethertype in [[0x08, 0x06], [0x80, 0x35], [0x80, 0x35]] {
        let frame = [&[0xff; 6][..], &own, &ethertype, &[0; 46]].concat();
        switch.send(&Default::default(), &frame).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.reflected, arrived.received), (3, 0), "{left:#?}");
    let since_resume = left.announced_ns.unwrap().cast_signed() - left.resumed_ns.unwrap().cast_signed();
    assert!((5_000_000..1_000_000_000).contains(&since_resume), "{since_resume} ns");
}
