//! The cut where only the VM's monitor tells how far its guest is: it answers when the VM's state has left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::raw::Raw;
use support::{
    Meeting, PATIENCE, Side, assert_once_in_order, destination, destination_plan, guest, send, source,
    source_plan,
};
use tapferry_handover::wire::{self, Message, Method};
use tapferry_handover::{Destination, Outcome, Source};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::reader::Reader;

/// Buffers that the guest's queue had used before the first frame.
const USED_BEFORE: u16 = 65_530;

/// The used index when the guest has been given so many frames.
fn used(frames: u64) -> u16 {
    USED_BEFORE.wrapping_add(u16::try_from(frames).unwrap())
}

/// Both sides, and both guests. The monitor of the one that leaves has told how far it is until it stopped: it has been
/// given 100 frames, as far as the TAP's counter knows. 50 more have come since.
struct Scene {
    source: Side<Source>,
    destination: Side<Destination>,
    _here: Reader,
    there: Reader,
    _namespace: Namespace,
}

fn scene() -> Option<Scene> {
    let namespace = Namespace::enter_or_skip()?;
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(tapferry_handover::EventKind::Ready);
    source.handle.calibrate(None);
    source.told.wait_state("calibrate");
    assert!(!source.handle.receive_queue(Err("the VM's memory may not be read".into())));
    for frames in [0..40, 40..100] {
        // The last two are on their way when the monitor answers.
        let (end, told) = (frames.end, frames.end.min(98));
        send("tapA", frames);
        here.wait_for(end, PATIENCE);
        // Samples of counters that stand still.
        std::thread::sleep(Duration::from_millis(50));
        source.handle.used_index(Some(used(told)), false);
        // It is to be compared with these frames, not with the next.
        source.report();
    }
    here.set_paused(true);
    std::thread::sleep(Duration::from_millis(20));
    source.handle.stopped(None);
    source.told.wait_state("asking");
    send("tapA", 100..150);
    // Four that the guest may lack, too.
    destination.wait_until("parking them", |report| report.received == 54);
    assert_eq!(destination.report().injected, 0);
    Some(Scene { source, destination, _here: here, there, _namespace: namespace })
}

impl Scene {
    /// The VM runs at the destination, and its guest is given the frames from `first` on, once.
    fn arrives(&self, first: u64, method: Method) {
        self.there.set_paused(false);
        self.destination.handle.resumed(None);
        let (left, arrived) = (self.source.ended(), self.destination.ended());
        assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
        assert_eq!(left.cut_method, Some(method.name()), "{left:#?}");
        assert_eq!((left.sent, left.acknowledged), (150 - first, 150 - first), "{left:#?}");
        assert_eq!((arrived.before_cut, arrived.injected), (first - 96, 150 - first), "{arrived:#?}");
        assert_once_in_order(&self.there, first..150);
        assert_eq!(self.source.told.count_code("cut_inexact"), 1);
        assert_eq!(left.cut_reason.as_deref(), Some("the VM's memory may not be read"));
    }
}

#[test]
fn frames_that_were_read_and_not_given_to_the_guest_are_found_by_its_last_word() {
    let Some(scene) = scene() else { return };
    scene.source.handle.used_index(Some(used(98)), true);
    scene.destination.wait_until("injecting them", |report| report.injected == 52);
    scene.arrives(98, Method::QueueStatus);
}

#[test]
fn without_a_word_soon_after_the_end_of_the_migration_the_counter_holds() {
    let Some(scene) = scene() else { return };
    scene.source.handle.completed();
    scene.source.told.wait_state("forward");
    scene.destination.wait_until("injecting them", |report| report.injected == 50);
    scene.arrives(100, Method::TxPackets);
}

#[test]
fn a_monitor_that_does_not_answer_is_not_waited_for() {
    let Some(scene) = scene() else { return };
    scene.source.handle.used_index(None, true);
    scene.destination.wait_until("injecting them", |report| report.injected == 50);
    scene.arrives(100, Method::TxPackets);
}

#[test]
fn a_vm_that_runs_before_the_word_is_given_what_is_surely_missing_at_once() {
    let Some(scene) = scene() else { return };
    scene.arrives(100, Method::TxPackets);
}

#[test]
fn a_last_word_that_comes_when_the_vm_runs_is_too_late_and_that_is_told() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let mut source = Raw::source(&meeting);
    let cut = |index, is_final| Message::Cut(wire::Cut { index, is_final, method: Method::TxPackets });
    source.say(&Message::Stopped { at_ns: 1 });
    source.say(&cut(7, false));
    destination.told.wait_state("parked");
    destination.handle.resumed(None);
    destination.told.wait_state("passing");
    source.say(&cut(5, true));
    let warning = destination.told.wait_code("cut_late");
    assert!(warning.message.contains("2 frames"), "{}", warning.message);
}
