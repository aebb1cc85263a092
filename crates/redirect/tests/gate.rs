//! The gate on real frames: exact by timestamp, nothing stale, nothing hooked while it is shut for good.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use support::{BOTH, PATIENCE, QUIET, plan, roomy_tap, send, start, tap};
use tapferry_redirect::counters::Engine;
use tapferry_redirect::{DropReason, EventKind, Latency, Plan, WhenStopped};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::{Pace, Sender, Stamp, realtime};
use tapferry_testbed::vnet::VnetHeader;

/// Evenly spaced numbered frames, and when each was sent.
fn send_stamped(count: u64, rate: u32) -> Vec<Stamp> {
    let sender = Sender::open("tapA").unwrap();
    let pace = Pace::Even { rate };
    let header = VnetHeader::default();
    let never = AtomicBool::new(false);
    sender
        .pace(pace, count, true, &never, |sequence, send| {
            send(&header, &Probe::default().build(sequence, 64))
        })
        .stamps
}

/// AF_PACKET sockets in this namespace.
fn packet_sockets() -> usize {
    std::fs::read_to_string("/proc/thread-self/net/packet").unwrap().lines().count() - 1
}

#[test]
fn status_run_state_and_rule_decide_together_which_frames_pass() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for status in [true, false] {
            for running in [true, false] {
                for when_stopped in [WhenStopped::Off, WhenStopped::On, WhenStopped::Only] {
                    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
                    let redirector = start(Plan { status, running, when_stopped, ..plan(latency) });
                    send("tapA", 0..100);
                    let open = status
                        && match when_stopped {
                            WhenStopped::Off => running,
                            WhenStopped::On => true,
                            WhenStopped::Only => !running,
                        };
                    let expected = if open { 100 } else { 0 };
                    if open {
                        b.wait_for(100, PATIENCE);
                    } else {
                        std::thread::sleep(Duration::from_millis(80));
                    }
                    let context = format!("{latency:?} {status} {running} {when_stopped:?}");
                    assert_eq!(redirector.statistics().gate_open, open, "{context}");
                    let statistics = redirector.stop();
                    assert_eq!(b.tally().numbered(), expected, "{context}");
                    assert_eq!(statistics.counters.forwarded, expected, "{context}");
                    let closed = statistics.counters.dropped.of(DropReason::GateClosed);
                    assert_eq!(closed, if status && !open { 100 } else { 0 }, "{context}");
                }
            }
        }
    }
}

#[test]
fn opening_in_the_past_passes_exactly_the_frames_sent_since() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector = start(Plan { running: false, pre_roll: Duration::from_secs(5), ..plan(latency) });
        let stamps = send_stamped(200, 2_000);
        // An event between frame 119 and frame 120 that arrives after all of them.
        let moment = stamps[119].after.midpoint(stamps[120].before);
        redirector.redirector.set_running(true, Some(moment));
        assert_eq!(b.wait_for(80, PATIENCE).ranges(0), [(120, 199)], "{latency:?}");
        send("tapA", 200..300);
        assert_eq!(b.wait_for(180, PATIENCE).ranges(0), [(120, 299)]);
        assert_eq!(b.tally().flow(0).out_of_order, 0);
        let statistics = redirector.stop();
        assert_eq!(statistics.counters.dropped.of(DropReason::GateClosed), 120);
    }
}

#[test]
fn the_first_frame_after_the_event_passes_even_while_traffic_flows() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector = start(Plan { running: false, ..plan(latency) });
        let (stamps, moment) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| send_stamped(600, 2_000));
            std::thread::sleep(Duration::from_millis(150));
            let moment = realtime();
            // As late as events come on a busy host.
            std::thread::sleep(Duration::from_millis(3));
            redirector.redirector.set_running(true, Some(moment));
            (sending.join().unwrap(), moment)
        });
        let first_after = stamps.iter().find(|stamp| stamp.before >= moment).unwrap().index;
        let last_before = stamps.iter().rev().find(|stamp| stamp.after < moment).unwrap().index;
        let tally = b.settle(QUIET);
        let (from, to) = tally.ranges(0)[0];
        assert_eq!((tally.ranges(0).len(), to), (1, 599), "{latency:?} {tally:?}");
        assert!(last_before < from && from <= first_after, "{last_before} < {from} <= {first_after}");
        redirector.stop();
    }
}

#[test]
fn what_piled_up_while_closed_never_comes_out() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector = start(Plan { running: false, ..plan(latency) });
        send("tapA", 0..500);
        redirector.redirector.set_running(true, Some(realtime()));
        redirector.wait_told(EventKind::GateOpened, 1);
        send("tapA", 500..600);
        assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(500, 599)], "{latency:?}");
        redirector.redirector.set_status(false);
        redirector.wait_told(EventKind::GateClosed, 1);
        send("tapA", 600..900);
        redirector.redirector.set_status(true);
        redirector.wait_told(EventKind::GateOpened, 2);
        send("tapA", 900..1000);
        assert_eq!(b.wait_for(200, PATIENCE).ranges(0), [(500, 599), (900, 999)], "{latency:?}");
        redirector.stop();
    }
}

#[test]
fn the_pre_roll_ends_by_itself() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, _b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector =
            start(Plan { running: false, pre_roll: Duration::from_millis(300), ..plan(latency) });
        send("tapA", 0..100);
        let held = redirector.wait_captured(100).counters;
        assert_eq!((held.held, held.held_bytes), (100, 6_400), "{latency:?}");
        // Nothing else happens: only time.
        let after = redirector.wait_until("the end of the pre-roll", |now| now.counters.held == 0);
        assert_eq!(after.counters.dropped.of(DropReason::GateClosed), 100);
        redirector.stop();
    }
}

#[test]
fn the_pre_roll_is_bounded_in_memory_and_keeps_the_newest() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let redirector = start(Plan {
        running: false,
        pre_roll: Duration::from_secs(5),
        pre_roll_bytes: 10_000,
        ..plan(Latency::Balanced)
    });
    let before = realtime();
    send("tapA", 0..250);
    let statistics = redirector.wait_captured(250);
    let held = statistics.counters.held;
    assert!((50..150).contains(&held), "{held}");
    assert_eq!(statistics.counters.dropped.of(DropReason::PreRollFull), 250 - held);
    redirector.redirector.set_running(true, Some(before));
    assert_eq!(b.wait_for(held, PATIENCE).ranges(0), [(250 - held, 249)]);
    redirector.stop();
}

#[test]
fn closing_in_the_past_counts_what_had_slipped_through() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector = start(plan(latency));
        let stamps = send_stamped(100, 2_000);
        assert_eq!(b.wait_for(100, PATIENCE).numbered(), 100);
        let moment = stamps[59].after.midpoint(stamps[60].before);
        redirector.redirector.set_running(false, Some(moment));
        redirector.wait_told(EventKind::GateClosed, 1);
        send("tapA", 100..200);
        redirector.wait_captured(200);
        let statistics = redirector.stop();
        assert_eq!(statistics.counters.forwarded, 100, "{latency:?}");
        assert_eq!(statistics.counters.forwarded_late, 40);
        assert_eq!(b.settle(QUIET).numbered(), 100);
    }
}

#[test]
fn an_event_from_the_future_counts_from_its_arrival() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let redirector = start(Plan { running: false, ..plan(Latency::Balanced) });
    redirector.redirector.set_running(true, Some(realtime() + 3_600_000_000_000));
    redirector.wait_told(EventKind::GateOpened, 1);
    send("tapA", 0..100);
    assert_eq!(b.wait_for(100, PATIENCE).numbered(), 100);
    redirector.stop();
}

#[test]
fn status_off_unhooks_the_capture_and_on_hooks_it_again() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(roomy_tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector = start(plan(latency));
        let hooked = packet_sockets();
        redirector.redirector.set_status(false);
        assert_eq!(redirector.statistics().engine, Engine::Closed);
        assert_eq!(packet_sockets(), 1, "only the output's socket is left");
        redirector.redirector.set_status(true);
        redirector.wait_told(EventKind::GateOpened, 1);
        assert_eq!(packet_sockets(), hooked);
        send("tapA", 0..100);
        assert_eq!(b.wait_for(100, PATIENCE).numbered(), 100);
        redirector.stop();
        assert_eq!(packet_sockets(), 0);
    }
}

#[test]
fn without_a_pre_roll_a_closed_gate_is_unhooked_too() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let redirector = start(Plan { running: false, pre_roll: Duration::ZERO, ..plan(latency) });
        assert_eq!(redirector.statistics().engine, Engine::Closed);
        redirector.redirector.set_running(true, None);
        redirector.wait_told(EventKind::GateOpened, 1);
        send("tapA", 0..100);
        assert_eq!(b.wait_for(100, PATIENCE).numbered(), 100);
        redirector.redirector.set_running(false, None);
        assert_eq!(redirector.statistics().engine, Engine::Closed);
        redirector.stop();
    }
}
