//! The migration is cancelled: the guest at the source has every frame once; the VM at the destination never runs.
//!
//! A guest made of a thread never throws away what it has read, as QEMU does when it stops: that is `cut`'s test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use rustix::thread::CapabilitySet;
use support::proxy::Proxy;
use support::{
    Meeting, PATIENCE, assert_once_in_order, destination, destination_plan, guest, link, send, source,
    source_plan, under_way, without,
};
use tapferry_handover::{DestinationPlan, EventKind, Outcome, SourcePlan};
use tapferry_testbed::namespace::Namespace;

/// Long enough for a frame that should not come.
const SILENCE: Duration = Duration::from_millis(200);

#[test]
fn cancelled_before_the_stop_nothing_has_happened() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    source.handle.calibrate(None);
    source.told.wait_state("calibrate");
    send("tapA", 0..100);
    source.handle.resumed();
    send("tapA", 100..200);

    let left = source.ended();
    assert_eq!((left.outcome, left.captured, left.given_back), (Outcome::Cancelled, 0, 0), "{left:#?}");
    assert_once_in_order(&here, 0..200);
    // The destination waits for the next try.
    destination.told.wait_kind(EventKind::LinkLost);
    let again = support::source(source_plan(&meeting, "tapA"));
    again.told.wait_kind(EventKind::Ready);
    destination.told.wait_kind(EventKind::LinkBack);
    assert_eq!(destination.report().received, 0);
    assert_once_in_order(&there, 0..0);
}

/// The VM stops, so many frames come, and it runs on; then some more come.
fn cancelled_after(frames: u64) {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let (_meeting, destination, source) = under_way(&here);
    send("tapA", 100..100 + frames);
    source.wait_until("acknowledging", |report| report.acknowledged == frames);
    here.set_paused(false);
    source.handle.resumed();
    let left = source.ended();
    send("tapA", 100 + frames..200 + frames);

    assert_eq!((left.outcome, left.given_back), (Outcome::Cancelled, link("tapA").tx_dropped), "{left:#?}");
    assert_eq!(left.given_back > 0, frames > 1000);
    assert_eq!((left.captured, left.sent), (frames, frames), "{left:#?}");
    assert_once_in_order(&here, 0..200 + frames);
    destination.told.wait_state_again("gated", 2);
    destination.handle.gone();
    let arrived = destination.ended();
    assert_eq!((arrived.outcome, arrived.direct), (Outcome::Cancelled, 0), "{arrived:#?}");
    assert_eq!((arrived.received, arrived.injected, arrived.discarded), (frames, 0, frames), "{arrived:#?}");
    assert!(arrived.reason.unwrap().contains("runs on at the source"));
    assert_eq!((left.links_lost, arrived.links_lost), (0, 0));
    assert_eq!(link("tapB").tx_queue_length, 1000);
}

#[test]
fn a_vm_that_was_paused_and_continued_while_it_migrated_is_handed_over_by_the_next_session() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let (meeting, destination, paused) = under_way(&here);
    send("tapA", 100..400);
    destination.wait_until("injecting them", |report| report.injected == 300);
    here.set_paused(false);
    paused.handle.resumed();
    assert_eq!(paused.ended().outcome, Outcome::Cancelled);
    assert_once_in_order(&here, 0..400);
    destination.told.wait_state_again("gated", 2);
    assert_eq!(destination.told.count(EventKind::LinkLost), 0, "one line says all of it");
    drop(paused);

    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    source.migrate_on(&here, 400..500);
    source.told.wait_state("forward");
    send("tapA", 500..600);
    destination.wait_until("injecting them", |report| report.injected == 100);
    there.set_paused(false);
    destination.handle.resumed(None);
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((arrived.received, arrived.discarded), (100, 0), "{arrived:#?}");
    assert_once_in_order(&here, 0..500);
    assert_once_in_order(&there, 500..600);
    assert_eq!(destination.told.count_code("queue_not_emptied"), 0);
    assert_eq!(link("tapB").tx_queue_length, 1000);
}

#[test]
fn cancelled_after_the_stop_the_guest_has_what_waited_in_its_queue() {
    cancelled_after(300);
}

#[test]
fn cancelled_when_the_queue_was_full_the_guest_is_given_what_had_no_room() {
    cancelled_after(1700);
}

#[test]
fn what_is_given_back_does_not_fill_the_queue_again() {
    cancelled_after(6000);
}

#[test]
fn frames_that_come_while_it_is_cancelled_are_not_taken_for_those_that_had_no_room() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, _there) = (guest("tapA"), guest("tapB"));
    let (_meeting, _destination, source) = under_way(&here);
    send("tapA", 100..1500);
    source.wait_until("acknowledging", |report| report.acknowledged == 1400);
    let dropped = link("tapA").tx_dropped;
    // It runs already, and that is not known yet.
    here.set_paused(false);
    here.wait_for(1500 - dropped, PATIENCE);
    send("tapA", 1500..1550);
    source.handle.resumed();
    let left = source.ended();
    assert_eq!((left.outcome, left.given_back), (Outcome::Cancelled, dropped), "{left:#?}");
    let flow = here.wait_for(1550, PATIENCE).flow(0);
    assert_eq!((flow.ranges.as_slice(), flow.duplicates), ([(0, 1549)].as_slice(), 0));
}

#[test]
fn cancelled_when_the_destination_is_full_it_hears_of_it_all_the_same() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    // What exceeds half of a short queue of the TAP has to wait.
    let small = DestinationPlan { max_hold: 1 << 16, ..destination_plan("tapB") };
    let destination = without(CapabilitySet::NET_ADMIN, || destination(&meeting, small));
    let source = source(source_plan(&meeting, "tapA"));
    source.migrate(&here, 100);
    const FRAMES: u64 = 20_000;
    send("tapA", 100..100 + FRAMES);
    destination.told.wait_code("hold_full");
    here.set_paused(false);
    source.handle.resumed();
    destination.told.wait("the news", |event| event.message.contains("runs on at the source"));
    destination.handle.gone();
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Cancelled, Outcome::Cancelled), "{arrived:#?}");
    assert!((500..1500).contains(&arrived.received), "{}", arrived.received);
    assert_once_in_order(&here, 0..100 + FRAMES);
}

#[test]
fn cancelled_behind_frames_that_a_slow_link_still_carries_the_destination_hears_of_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let proxy = Proxy::new(&meeting);
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(SourcePlan { to: proxy.stream(), ..source_plan(&meeting, "tapA") });
    source.migrate(&here, 100);
    proxy.set_rate(2_000_000);
    send("tapA", 100..10_100);
    source.wait_until("sending them", |report| report.sent > 8000);
    here.set_paused(false);
    source.handle.resumed();
    destination.told.wait("the news", |event| event.message.contains("runs on at the source"));
    destination.handle.gone();
    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Cancelled, Outcome::Cancelled), "{arrived:#?}");
    assert_eq!((left.links_lost, arrived.links_lost), (0, 0));
    assert_once_in_order(&here, 0..10_100);
}

#[test]
fn cancelled_while_the_cut_is_sought_the_destination_hears_of_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    source.migrate_alone(&here, 100);
    source.handle.resumed();
    here.set_paused(false);
    let left = source.ended();
    destination.told.wait_state_again("gated", 2);
    let arrived = destination.handle.stop().remove(0);
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Cancelled, Outcome::Cancelled));
    assert_once_in_order(&here, 0..100);
    assert_eq!(there.settle(SILENCE).numbered(), 0);
}

#[test]
fn cancelled_without_a_destination_the_guest_has_its_frames_all_the_same() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let here = guest("tapA");
    let source = source(source_plan(&Meeting::new(), "tapA"));
    source.migrate_alone(&here, 100);
    source.told.wait_state("forward");
    send("tapA", 100..1400);
    source.wait_until("keeping them", |report| report.held == 1300);
    here.set_paused(false);
    source.handle.resumed();
    let left = source.ended();
    assert_eq!((left.outcome, left.discarded), (Outcome::Cancelled, 1300), "{left:#?}");
    assert_eq!(left.given_back, link("tapA").tx_dropped);
    assert_once_in_order(&here, 0..1400);
}
