//! The network floods a frame to both hosts: the guest gets it once, whichever way it comes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::CapabilitySet;
use support::{
    Flood, Meeting, assert_once_in_order, destination, destination_plan, guest, send, source, source_plan,
    under_way, without,
};
use tapferry_handover::{DestinationPlan, EventKind, Outcome};
use tapferry_sys::egress_gate::GateKind;
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::sender::{Pace, Sender, SenderOptions};

#[test]
fn before_the_gate_opens_nothing_comes_by_itself_and_afterwards_nothing_twice() {
    [GateKind::Tcx, GateKind::ClsBpf].into_iter().for_each(nothing_comes_before_it_opens_and_nothing_twice);
}

fn nothing_comes_before_it_opens_and_nothing_twice(gate: GateKind) {
    let Some(namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let plan = DestinationPlan { gate: Some(gate), ..destination_plan("tapB") };
    let destination = destination(&meeting, plan);
    if !destination.is_gated_or_skip() {
        return;
    }
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    source.handle.calibrate(None);
    source.told.wait_state("calibrate");

    let is_over = AtomicBool::new(false);
    let (kept_out, flooded) = thread::scope(|scope| {
        let inside = namespace.handle();
        let flooding = scope.spawn(|| {
            let _namespace = { inside }.enter().unwrap();
            let flood = Flood::open();
            let (mut kept_out, mut next) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                kept_out += flood.flood(next..next + 1);
                next += 1;
                thread::sleep(Duration::from_micros(500));
            }
            (kept_out, next)
        });
        here.wait_for(300, support::PATIENCE);
        assert_eq!(there.tally().numbered(), 0, "the gate is closed");
        here.set_paused(true);
        thread::sleep(Duration::from_millis(20));
        source.handle.stopped(None);
        destination.told.wait_state("passing");
        destination.wait_until("frames over both ways", |report| report.deduplicated > 200);
        destination.handle.resumed(None);
        source.told.wait_state("drain");
        is_over.store(true, Ordering::Relaxed);
        flooding.join().unwrap()
    });
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    let got = here.tally().numbered();
    assert_eq!((left.captured, arrived.received), (flooded - got, flooded - got), "{arrived:#?}");
    assert_eq!((arrived.kept_out, arrived.direct), (kept_out, flooded - kept_out), "{arrived:#?}");
    assert_eq!(
        (arrived.injected, arrived.deduplicated),
        (kept_out - got, flooded - kept_out),
        "{arrived:#?}"
    );
    let flow = there.wait_for(flooded - got, support::PATIENCE).flow(0);
    assert_eq!((flow.ranges.as_slice(), flow.duplicates), ([(got, flooded - 1)].as_slice(), 0));
}

#[test]
fn a_checksum_that_one_of_the_two_ways_leaves_to_do_makes_no_difference() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    destination.told.wait_state("injecting");
    destination.handle.resumed(None);
    source.told.wait_state("drain");

    let options = SenderOptions { vnet_header: true, ..SenderOptions::default() };
    let [to_b, to_a] = ["tapB", "tapA"].map(|name| Sender::with(name, options).unwrap());
    for number in 0..40 {
        let [complete, partial] = [Checksum::Complete, Checksum::Partial]
            .map(|checksum| Packet::new(Ip::V4, checksum).udp(number, 100));
        let (first, second) = if number % 2 == 0 { (&complete, &partial) } else { (&partial, &complete) };
        to_b.send_frame(first).unwrap();
        to_a.send_frame(second).unwrap();
    }
    let arrived = destination.ended();
    source.ended();
    assert_eq!((arrived.received, arrived.direct), (40, 40), "{arrived:#?}");
    assert_eq!((arrived.injected, arrived.deduplicated), (0, 40), "{arrived:#?}");
    let tally = there.wait_for(40, support::PATIENCE);
    assert_eq!((tally.numbered(), tally.flow(0).duplicates, tally.bad_checksum), (40, 0, 0));
}

#[test]
fn as_many_copies_pass_as_were_flooded() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    destination.told.wait_state("injecting");
    destination.handle.resumed(None);
    source.told.wait_state("drain");
    // The same frame five times over both ways, and twice more over the source alone.
    let flood = Flood::open();
    (0..5).for_each(|_| assert_eq!(flood.flood(7..8), 0));
    (0..2).for_each(|_| send("tapA", 7..8));

    let arrived = destination.ended();
    source.ended();
    assert_eq!((arrived.received, arrived.direct), (7, 5), "{arrived:#?}");
    assert_eq!((arrived.injected, arrived.deduplicated), (2, 5), "{arrived:#?}");
    assert_eq!(there.wait_for(7, support::PATIENCE).flow(0).count, 7);
}

#[test]
fn without_a_gate_the_source_s_copies_of_what_has_come_by_itself_are_left_out() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let ebpf = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    let destination = without(ebpf, || destination(&meeting, destination_plan("tapB")));
    let source = source(source_plan(&meeting, "tapA"));
    assert_eq!(destination.told.wait_kind(EventKind::Warning).code, Some("no_gate"));
    source.migrate(&here, 100);
    let flood = Flood::open();
    assert_eq!(flood.flood(100..200), 0, "there is no gate");
    send("tapA", 200..300);
    destination.wait_until("taking them", |report| report.received == 200 && report.parked == 0);
    there.set_paused(false);
    destination.handle.resumed(None);
    source.told.wait_state("drain");
    assert_eq!(flood.flood(300..350), 0);

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome, arrived.gate), (Outcome::Done, Outcome::Done, None));
    assert_eq!((arrived.received, arrived.direct, arrived.kept_out), (250, 150, 0), "{arrived:#?}");
    assert_eq!((arrived.injected, arrived.deduplicated), (100, 150), "{arrived:#?}");
    assert_once_in_order(&there, 100..350);
    assert_eq!(destination.told.count_code("no_gate"), 1);
}

#[test]
fn traffic_that_never_pauses_leaves_the_queue_long_and_loses_nothing() {
    let Some(namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, _source) = under_way(&here);
    destination.told.wait_state("injecting");
    destination.handle.resumed(None);
    destination.told.wait_state("passing");
    let is_over = AtomicBool::new(false);
    let (arrived, sent) = thread::scope(|scope| {
        let inside = namespace.handle();
        let sending = scope.spawn(|| {
            let _namespace = { inside }.enter().unwrap();
            let probe = Probe::default();
            Sender::open("tapB").unwrap().pace(
                Pace::Even { rate: 500 },
                u64::MAX,
                false,
                &is_over,
                |number, send| send(&Default::default(), &probe.build(number, 64)),
            )
        });
        there.wait_for(100, support::PATIENCE);
        let arrived = destination.handle.stop().remove(0);
        is_over.store(true, Ordering::Relaxed);
        (arrived, sending.join().unwrap())
    });
    assert!(arrived.balance() && arrived.outcome == Outcome::Failed, "{arrived:#?}");
    assert_eq!((destination.told.count_code("queue_left_long"), sent.refused), (1, 0));
    assert_once_in_order(&there, 0..sent.frames);
}
