//! How a handover ends when it does not end well: each side says why, and leaves the host as it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{
    Meeting, assert_once_in_order, destination, destination_plan, guest, link, send, source, source_plan,
    under_way,
};
use tapferry_handover::{DestinationPlan, EventKind, Outcome, SourcePlan};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;

/// For tests in which the VM does not run in time.
const SHORT: Duration = Duration::from_secs(1);

#[test]
fn a_vm_that_never_runs_at_the_destination_fails_both_sides_with_a_reason() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let plan = DestinationPlan { resume_timeout: SHORT, ..destination_plan("tapB") };
    let destination = destination(&meeting, plan);
    let source = source(SourcePlan { resume_timeout: SHORT, ..source_plan(&meeting, "tapA") });
    source.migrate(&here, 100);
    send("tapA", 100..150);
    source.handle.completed();

    let left = source.ended();
    drop(source);
    let arrived = destination.ended();
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Failed, Outcome::Failed));
    for reason in [left.reason.unwrap(), arrived.reason.unwrap()] {
        assert!(reason.contains("did not run") && reason.contains("within 1 s"), "{reason}");
    }
    // Both hosts are as they were: what is sent passes, and the queue is as long as it was.
    here.set_paused(false);
    assert_once_in_order(&here, 0..150);
    assert_eq!(link("tapB").tx_queue_length, 1000);
    send("tapB", 1000..1010);
    there.set_paused(false);
    let got = there.wait_for(60, support::PATIENCE).flow(0);
    assert!(got.ranges.contains(1000) && got.ranges.contains(1009), "{got:?}");
}

#[test]
fn a_vm_whose_state_takes_long_is_waited_for_and_so_is_its_destination() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let short = Duration::from_millis(300);
    let meeting = Meeting::new();
    let plan = DestinationPlan { resume_timeout: short, ..destination_plan("tapB") };
    let destination = destination(&meeting, plan);
    let source = source(SourcePlan { resume_timeout: short, ..source_plan(&meeting, "tapA") });
    source.migrate(&here, 100);
    send("tapA", 100..150);
    std::thread::sleep(2 * short);
    assert_eq!((source.report().outcome, destination.report().outcome), (Outcome::Pending, Outcome::Pending));
    source.handle.completed();
    there.set_paused(false);
    destination.handle.resumed(None);
    assert_eq!((source.ended().outcome, destination.ended().outcome), (Outcome::Done, Outcome::Done));
    assert_once_in_order(&there, 100..150);
}

#[test]
fn a_vm_that_sends_frames_runs_although_nobody_has_told() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let (_meeting, destination, source) = under_way(&here);
    send("tapA", 100..150);
    destination.wait_until("injecting them", |report| report.injected == 50);
    let announcement = Probe::of_flow(7).build(0, 64);
    there.tap().unwrap().write_plain(&announcement).unwrap();
    there.set_paused(false);
    destination.told.wait_code("vm_runs_untold");
    assert_eq!((source.ended().outcome, destination.ended().outcome), (Outcome::Done, Outcome::Done));
    assert_once_in_order(&there, 100..150);
}

#[test]
fn a_vm_that_ends_at_the_destination_before_it_ran_fails_a_source_whose_process_has_ended() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, _there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    send("tapA", 100..150);
    source.wait_until("acknowledging", |report| report.acknowledged == 50);
    destination.handle.gone();

    let arrived = destination.ended();
    assert_eq!(arrived.outcome, Outcome::Cancelled, "{arrived:#?}");
    assert!(arrived.reason.unwrap().contains("ended at the destination before it ran"));
    assert_eq!(link("tapB").tx_queue_length, 1000);
    source.handle.gone();
    let left = source.ended();
    assert_eq!((left.outcome, left.links_lost), (Outcome::Failed, 0), "{left:#?}");
    assert!(left.reason.unwrap().contains("the destination gave up: the VM has ended"));
}

#[test]
fn a_vm_that_ends_at_the_destination_before_the_stop_is_told_and_another_may_take_its_place() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let first = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    first.handle.gone();
    let warning = source.told.wait_code("destination_gone");
    assert!(warning.message.contains("ended at the destination before it ran"), "{warning:?}");
    drop(first);

    let _second = destination(&meeting, destination_plan("tapB"));
    source.told.wait_kind(EventKind::LinkBack);
    assert_eq!(source.told.count_code("destination_gone"), 1);
}

#[test]
fn a_vm_that_runs_on_after_the_destination_has_given_up_has_its_frames() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, _there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    send("tapA", 100..150);
    destination.handle.gone();
    assert_eq!(destination.ended().outcome, Outcome::Cancelled);

    std::thread::sleep(Duration::from_millis(300));
    here.set_paused(false);
    source.handle.resumed();
    let left = source.ended();
    assert_eq!((left.outcome, left.given_back), (Outcome::Cancelled, 0), "{left:#?}");
    assert_once_in_order(&here, 0..150);
}

#[test]
fn without_its_source_the_destination_gives_what_it_has_and_then_fails() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let (_meeting, destination, source) = under_way(&here);
    send("tapA", 100..150);
    destination.wait_until("taking them", |report| report.received == 50);
    let left = source.handle.stop().unwrap();
    assert!(left.balance() && left.outcome == Outcome::Failed, "{left:#?}");
    destination.told.wait_kind(EventKind::LinkLost);

    there.set_paused(false);
    destination.handle.resumed(None);
    assert_once_in_order(&there, 100..150);
    let arrived = destination.ended();
    assert_eq!((arrived.outcome, arrived.injected), (Outcome::Failed, 50), "{arrived:#?}");
    assert!(arrived.reason.unwrap().contains("source was lost before it had sent everything"));
    assert_eq!(link("tapB").tx_queue_length, 1000);
}

#[test]
fn without_its_destination_the_source_fails_when_the_vm_runs_there() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let (_meeting, destination, source) = under_way(&here);
    send("tapA", 100..150);
    destination.handle.resumed(None);
    source.told.wait_state("drain");
    assert_once_in_order(&there, 100..150);
    let arrived = destination.handle.stop().remove(0);
    assert!(arrived.balance() && arrived.outcome == Outcome::Failed, "{arrived:#?}");
    assert_eq!(link("tapB").tx_queue_length, 1000);
    drop(destination);

    let left = source.ended();
    assert_eq!(left.outcome, Outcome::Failed, "{left:#?}");
    assert!(left.reason.unwrap().contains("tapferry at the destination was told to stop"));
}

#[test]
fn a_vm_that_ends_without_a_migration_leaves_nothing_to_do() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _here = guest("tapA");
    let source = source(source_plan(&Meeting::new(), "tapA"));
    source.handle.gone();
    let left = source.ended();
    assert_eq!(left.outcome, Outcome::Failed);
    assert!(left.reason.unwrap().contains("ended without a migration"));
}

#[test]
fn a_stop_without_a_migration_means_nothing() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let here = guest("tapA");
    let source = source(source_plan(&Meeting::new(), "tapA"));
    source.handle.stopped(None);
    source.handle.resumed();
    send("tapA", 0..50);
    assert_once_in_order(&here, 0..50);
    let left = source.handle.stop().unwrap();
    assert_eq!((left.outcome, left.captured, left.states.len()), (Outcome::Stopped, 0, 1), "{left:#?}");
}

#[test]
fn frames_that_wait_for_a_vm_that_may_run_yet_are_not_cut_from_its_queue() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let (_meeting, destination, _source) = under_way(&here);
    send("tapA", 100..3100);
    destination.wait_until("injecting them", |report| report.injected == 3000);
    destination.handle.stop();
    assert_eq!(destination.told.count_code("queue_left_long"), 1);
    there.set_paused(false);
    assert_once_in_order(&there, 100..3100);
}
