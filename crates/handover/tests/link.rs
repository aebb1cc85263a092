//! The link between the two sides is lost, comes late, leads to another process, or is narrow: nothing is lost that need
//! not be, nothing comes twice, and every frame is in one sum.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::thread::CapabilitySet;
use support::proxy::Proxy;
use support::{
    Meeting, assert_once_in_order, destination, destination_plan, guest, identity, send, source, source_plan,
    without,
};
use tapferry_handover::{DestinationPlan, EventKind, Outcome, SourcePlan};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::sender::{Pace, Sender};

/// Sends numbers from `first` on for a while, to the VM alone: as long as they come, the network has not learned.
fn traffic(first: u64, count: u64, rate: u32) {
    let probe = Probe { destination: identity().mac, ..Probe::default() };
    let mut frame = vec![0; 64];
    Sender::open("tapA").unwrap().pace(
        Pace::Even { rate },
        count,
        false,
        &AtomicBool::new(false),
        |index, send| {
            probe.build_into(first + index, &mut frame);
            send(&Default::default(), &frame)
        },
    );
}

#[test]
fn a_link_that_is_cut_again_and_again_loses_nothing_and_brings_nothing_twice() {
    let Some(namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let proxy = Proxy::new(&meeting);
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(SourcePlan { to: proxy.stream(), ..source_plan(&meeting, "tapA") });
    source.migrate(&here, 500);

    thread::scope(|scope| {
        let inside = namespace.handle();
        scope.spawn(move || {
            let _namespace = inside.enter().unwrap();
            traffic(500, 6000, 2000);
        });
        for (round, lost) in (0..6).zip(0..) {
            let before = destination.report().received;
            destination.wait_until("more frames", |report| report.received > before + 50);
            proxy.set_cut(true);
            source.wait_until("the loss is known", |report| report.links_lost > round);
            proxy.set_cut(false);
            source.wait_until("finding it again", |_| source.told.count(EventKind::LinkBack) > lost);
            if round == 2 {
                there.set_paused(false);
                destination.handle.resumed(None);
            }
        }
    });
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, left.sent, left.acknowledged), (6000, 6000, 6000), "{left:#?}");
    assert_eq!((arrived.received, arrived.injected), (6000, 6000), "{arrived:#?}");
    assert_eq!((left.links_lost, arrived.links_lost), (6, 6));
    assert_eq!(source.told.count(EventKind::LinkBack), 6);
    assert_once_in_order(&there, 500..6500);
}

#[test]
fn a_destination_that_comes_after_the_cut_gets_everything_from_there_on() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Waiting);
    source.migrate_alone(&here, 300);
    source.told.wait_state("forward");
    send("tapA", 300..700);
    source.wait_until("the frames are kept", |report| report.held == 400);

    let destination = destination(&meeting, destination_plan("tapB"));
    destination.wait_until("injecting them", |report| report.injected == 400);
    there.set_paused(false);
    destination.handle.resumed(None);
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.sent, left.no_peer, arrived.injected), (400, 0, 400));
    assert_once_in_order(&there, 300..700);
}

#[test]
fn a_handover_in_which_no_frame_comes_is_done_as_well() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.migrate(&here, 200);
    destination.told.wait_state("injecting");
    destination.handle.resumed(None);
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, arrived.received, left.links_lost, arrived.links_lost), (0, 0, 0, 0));
    assert_once_in_order(&there, 0..0);
}

#[test]
fn another_destination_is_sent_nothing_that_the_first_may_have_injected() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let proxy = Proxy::new(&meeting);
    let first = destination(&meeting, destination_plan("tapB"));
    let source = source(SourcePlan { to: proxy.stream(), ..source_plan(&meeting, "tapA") });
    source.migrate(&here, 100);
    send("tapA", 100..400);
    source.wait_until("acknowledging", |report| report.acknowledged == 300);

    // These are on their way when the process ends.
    proxy.set_rate(1);
    send("tapA", 400..500);
    source.wait_until("sending", |report| report.sent == 400);
    let before = first.handle.stop().remove(0);
    assert!(before.balance() && before.outcome == Outcome::Failed, "{before:#?}");
    proxy.set_cut(true);
    drop(first);
    proxy.set_rate(0);
    send("tapA", 500..600);
    let second = destination(&meeting, destination_plan("tapB"));
    proxy.set_cut(false);

    second.wait_until("injecting the rest", |report| report.injected == 100);
    let event = source.told.wait_code("peer_restarted");
    there.set_paused(false);
    second.handle.resumed(None);
    let (left, arrived) = (source.ended(), second.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, left.sent + left.no_peer), (500, 500), "{left:#?}");
    assert_eq!(left.acknowledged, left.sent, "{left:#?}");
    assert!(
        (1..=100).contains(&left.no_peer) && left.no_peer + before.injected >= 400,
        "{left:#?} {before:#?}"
    );
    assert!(event.message.contains(&format!(": {} frames that", left.no_peer)), "{}", event.message);
    assert_eq!((arrived.received, arrived.injected), (100, 100), "{arrived:#?}");
    let got = there.wait_for(before.injected + 100, support::PATIENCE).flow(0);
    assert_eq!((got.count, got.duplicates, got.out_of_order), (before.injected + 100, 0, 0));
    assert!(got.ranges.contains(399) && got.ranges.contains(500) && got.ranges.contains(599));
}

#[test]
fn what_a_full_destination_passes_over_it_asks_for_again_when_the_vm_runs() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let small = DestinationPlan { max_hold: 1 << 17, ..destination_plan("tapB") };
    let destination = without(CapabilitySet::NET_ADMIN, || destination(&meeting, small));
    let source = source(source_plan(&meeting, "tapA"));
    source.migrate(&here, 100);
    send("tapA", 100..4100);
    destination.told.wait_code("hold_full");
    source.wait_until("sending all", |report| report.sent == 4000);
    there.set_paused(false);
    destination.handle.resumed(None);
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, left.sent, left.hold_full), (4000, 4000, 0), "{left:#?}");
    assert_eq!((arrived.received, arrived.injected, arrived.links_lost), (4000, 4000, 1), "{arrived:#?}");
    assert_once_in_order(&there, 100..4100);
}

#[test]
fn what_a_narrow_link_has_no_room_for_is_counted_and_the_rest_arrives_in_order() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let proxy = Proxy::new(&meeting);
    proxy.set_rate(1_000_000);
    let destination = destination(&meeting, destination_plan("tapB"));
    let plan = SourcePlan { to: proxy.stream(), max_hold: 1 << 20, ..source_plan(&meeting, "tapA") };
    let source = source(plan);
    source.migrate(&here, 100);

    let sent = Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1400, 100..5100).unwrap();
    assert_eq!(sent.frames, 5000);
    source.told.wait_code("hold_full");
    there.set_paused(false);
    destination.handle.resumed(None);
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((left.captured, left.sent + left.hold_full), (5000, 5000), "{left:#?}");
    assert!(left.hold_full > 0 && left.sent > 500, "{left:#?}");
    assert_eq!(arrived.injected, left.sent, "{arrived:#?}");
    let got = there.wait_for(left.sent, support::PATIENCE).flow(0);
    assert_eq!((got.count, got.duplicates, got.out_of_order), (left.sent, 0, 0));
    assert_eq!(source.told.count_code("hold_full"), 1);
}
