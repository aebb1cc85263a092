//! Whatever its state, a side that is told to stop leaves nothing behind: no gate, no longer queue, no thread, no
//! descriptor. Alone in its process, because it counts what the process has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{
    Meeting, PATIENCE, Side, assert_once_in_order, destination, destination_plan, guest, link, send, source,
    source_plan,
};
use tapferry_handover::{Destination, EventKind, Source};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::reader::Reader;

/// How far a handover goes before it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Alone,
    Armed,
    Calibrate,
    Stopping,
    Forward,
    Drain,
    GiveBack,
}

const POINTS: [Point; 7] = [
    Point::Alone,
    Point::Armed,
    Point::Calibrate,
    Point::Stopping,
    Point::Forward,
    Point::Drain,
    Point::GiveBack,
];

fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Threads and descriptors of this process.
fn resources() -> (usize, usize) {
    (count("/proc/self/task"), count("/proc/self/fd"))
}

fn advance(source: &Side<Source>, destination: &Side<Destination>, to: Point) {
    if to >= Point::Armed {
        source.told.wait_kind(EventKind::Ready);
    }
    if to >= Point::Calibrate {
        source.handle.calibrate(Default::default());
        source.told.wait_state("calibrate");
        send("tapA", 0..50);
    }
    if to >= Point::Stopping {
        source.handle.stopped(None);
    }
    if to >= Point::Forward {
        source.told.wait_state("forward");
        send("tapA", 50..100);
        destination.told.wait_state("injecting");
    }
    if to == Point::Drain {
        destination.handle.resumed(None);
        source.told.wait_state("drain");
    }
    if to == Point::GiveBack {
        source.handle.resumed();
        source.told.wait_state("give_back");
    }
}

fn round(here: &Reader, there: &Reader, number: usize) {
    let point = POINTS[number % POINTS.len()];
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    assert_eq!(link("tapB").tx_queue_length, 50_000);
    advance(&source, &destination, point);
    // The one or the other goes first.
    if number / POINTS.len() % 2 == 0 {
        assert!(source.handle.stop().unwrap().balance(), "{point:?}");
        assert!(destination.handle.stop().remove(0).balance(), "{point:?}");
    } else {
        assert!(destination.handle.stop().remove(0).balance(), "{point:?}");
        assert!(source.handle.stop().unwrap().balance(), "{point:?}");
    }
    assert_eq!(link("tapB").tx_queue_length, 1000, "{point:?}");
    there.settle(Duration::from_millis(20));
    there.clear();
    send("tapB", 0..10);
    assert_once_in_order(there, 0..10);
    there.clear();
    here.clear();
    send("tapA", 0..10);
    here.wait_until(PATIENCE, |tally| tally.flow(0).ranges.contains(9));
}

#[test]
fn a_side_that_is_told_to_stop_leaves_nothing_behind_whatever_its_state() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    // What is opened once and for all is opened.
    (0..POINTS.len()).for_each(|number| round(&here, &there, number));
    let before = resources();
    (0..50).for_each(|number| round(&here, &there, number));
    // A thread that was told to end may need a moment.
    let deadline = Instant::now() + PATIENCE;
    while resources() != before {
        assert!(Instant::now() < deadline, "{before:?} before, {:?} now", resources());
        std::thread::sleep(Duration::from_millis(20));
    }
}
