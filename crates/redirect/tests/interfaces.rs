//! Interfaces that go down, come up, are deleted, re-created, renamed, or appear late.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{BOTH, PATIENCE, QUIET, Running, plan, send, start, tap};
use tapferry_redirect::{DropReason, EventKind, Latency, Plan};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;

/// Sends until a frame gets through: re-binding takes a moment after the interface is back.
fn flows_again(running: &Running) {
    let before = running.statistics().counters.forwarded;
    let sender = Sender::open("tapA").unwrap();
    running.wait_until("forwarding again", |statistics| {
        sender.send_probes(&Probe::of_flow(9), 64, 0..1).unwrap();
        statistics.counters.forwarded > before
    });
}

#[test]
fn an_output_that_is_down_drops_by_name_and_forwarding_goes_on_when_it_is_up() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let running = start(plan(latency));
        send("tapA", 0..100);
        running.wait_captured(100);
        link::set_down("tapB").unwrap();
        running.wait_told(EventKind::OutputDown, 1);
        send("tapA", 100..200);
        running.wait_captured(200);
        link::set_up("tapB").unwrap();
        running.wait_told(EventKind::OutputUp, 1);
        send("tapA", 200..300);
        running.wait_captured(300);
        assert_eq!(b.wait_for(200, PATIENCE).ranges(0), [(0, 99), (200, 299)], "{latency:?}");
        let statistics = running.stop();
        assert_eq!(statistics.counters.dropped.of(DropReason::OutputDown), 100);
        assert_eq!(statistics.output_outages.count, 1);
        assert!(statistics.output_outages.total_ns > 0);
    }
}

#[test]
fn an_output_without_a_carrier_gets_nothing_that_would_be_lost_without_a_word() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), tap("tapB"));
        let running = start(plan(latency));
        b.set_carrier(false).unwrap();
        running.wait_told(EventKind::OutputDown, 1);
        send("tapA", 0..100);
        running.wait_captured(100);
        b.set_carrier(true).unwrap();
        running.wait_told(EventKind::OutputUp, 1);
        let b = Reader::on_tap(b);
        send("tapA", 100..200);
        running.wait_captured(200);
        assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(100, 199)], "{latency:?}");
        let told = running.events().iter().any(|event| event.message == "out_netdev 'tapB' has no carrier");
        assert!(told, "{:?}", running.events());
        assert_eq!(running.stop().counters.dropped.of(DropReason::OutputDown), 100);
    }
}

#[test]
fn an_input_that_was_down_is_captured_again() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let running = start(plan(latency));
        for outage in 1..=3 {
            link::set_down("tapA").unwrap();
            running.wait_told(EventKind::InputDown, outage);
            link::set_up("tapA").unwrap();
            running.wait_told(EventKind::InputUp, outage);
            let first = 100 * u64::try_from(outage).unwrap();
            send("tapA", first..first + 100);
        }
        assert_eq!(b.wait_for(300, PATIENCE).ranges(0), [(100, 399)], "{latency:?}");
        assert_eq!(running.stop().input_outages.count, 3);
    }
}

#[test]
fn an_input_that_was_deleted_is_captured_again_when_it_is_re_created() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (a, b) = (tap("tapA"), Reader::on_tap(tap("tapB")));
        let running = start(plan(latency));
        a.delete().unwrap();
        running.wait_told(EventKind::InputMissing, 1);
        let _a = Reader::on_tap(tap("tapA"));
        running.wait_told(EventKind::InputBack, 1);
        flows_again(&running);
        send("tapA", 0..100);
        assert_eq!(b.wait_until(PATIENCE, |tally| tally.flow(0).count == 100).ranges(0), [(0, 99)]);
        let statistics = running.stop();
        assert_eq!(statistics.input_outages.count, 1, "{latency:?}");
        assert!(statistics.last_error.is_none(), "{statistics:?}");
    }
}

#[test]
fn an_output_that_was_deleted_is_sent_into_again_when_it_is_re_created() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), tap("tapB"));
        let running = start(plan(latency));
        b.delete().unwrap();
        running.wait_told(EventKind::OutputMissing, 1);
        send("tapA", 0..100);
        let statistics = running.wait_captured(100);
        assert_eq!(statistics.counters.dropped.of(DropReason::OutputMissing), 100, "{statistics:?}");
        let b = Reader::on_tap(tap("tapB"));
        running.wait_told(EventKind::OutputBack, 1);
        flows_again(&running);
        send("tapA", 100..200);
        assert_eq!(b.wait_until(PATIENCE, |tally| tally.flow(0).count == 100).ranges(0), [(100, 199)]);
        running.stop();
    }
}

#[test]
fn an_interface_deleted_and_re_created_at_once_is_followed() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (mut a, b) = (tap("tapA"), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Balanced));
    for _ in 0..20 {
        a.delete().unwrap();
        a = tap("tapA");
    }
    running.wait_told(EventKind::InputBack, 1);
    flows_again(&running);
    send("tapA", 0..100);
    assert_eq!(b.wait_until(PATIENCE, |tally| tally.flow(0).count == 100).ranges(0), [(0, 99)]);
    running.stop();
}

#[test]
fn a_renamed_interface_stays_ours() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Low));
    link::set_down("tapA").unwrap();
    link::ip("link set tapA name renamed").unwrap();
    link::set_up("renamed").unwrap();
    running.wait_told(EventKind::InputUp, 1);
    send("renamed", 0..100);
    assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(0, 99)]);
    running.stop();
}

#[test]
fn when_a_renamed_interface_is_deleted_the_one_that_has_its_name_now_is_taken() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (a, b) = (tap("tapA"), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Low));
    link::set_down("tapA").unwrap();
    link::ip("link set tapA name renamed").unwrap();
    let _new = Reader::on_tap(tap("tapA"));
    drop(a);
    running.wait_told(EventKind::InputBack, 1);
    flows_again(&running);
    send("tapA", 0..100);
    assert_eq!(b.wait_until(PATIENCE, |tally| tally.flow(0).count == 100).ranges(0), [(0, 99)]);
    running.stop();
}

#[test]
fn both_ends_may_be_missing_at_the_start_when_it_is_to_wait() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let running = start(Plan { wait: true, ..plan(latency) });
        assert_eq!(running.told(EventKind::Waiting), 2);
        assert_eq!(running.told(EventKind::Ready), 0);
        let b = Reader::on_tap(tap("tapB"));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(running.told(EventKind::Ready), 0, "one end is still missing");
        let _a = Reader::on_tap(tap("tapA"));
        running.wait_told(EventKind::Ready, 1);
        flows_again(&running);
        send("tapA", 0..100);
        let tally = b.wait_until(PATIENCE, |tally| tally.flow(0).count == 100);
        assert_eq!(tally.ranges(0), [(0, 99)], "{latency:?}");
        running.stop();
    }
}

#[test]
fn an_input_that_is_down_at_the_start_is_said_and_waited_for() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        link::set_down("tapA").unwrap();
        let running = start(plan(latency));
        assert_eq!((running.told(EventKind::InputDown), running.told(EventKind::Ready)), (1, 1));
        link::set_up("tapA").unwrap();
        running.wait_told(EventKind::InputUp, 1);
        send("tapA", 0..100);
        assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(0, 99)], "{latency:?}");
        running.stop();
    }
}

#[test]
fn what_the_output_loses_behind_our_back_is_shown_beside_the_sum() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // Nobody reads tapB, whose queue holds 1000.
    let (_a, _b) = (Reader::on_tap(tap("tapA")), tap("tapB"));
    let running = start(plan(Latency::Balanced));
    send("tapA", 0..3_000);
    running.wait_captured(3_000);
    std::thread::sleep(QUIET);
    let statistics = running.stop();
    assert_eq!(statistics.counters.forwarded, 3_000);
    assert_eq!(statistics.lost_at_output, 2_000);
}

#[test]
fn an_interface_that_comes_back_without_ethernet_ends_the_redirector_with_its_reason() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _b = tap("tapB");
    let running = start(Plan { wait: true, ..plan(Latency::Low) });
    link::ip("tuntap add dev tapA mode tun").unwrap();
    running.wait_told(EventKind::Failed, 1);
    let failure = running.events().into_iter().find(|event| event.kind == EventKind::Failed).unwrap();
    assert_eq!(failure.code, Some("NETDEV_NOT_ETHERNET"));
    running.stop();
}
