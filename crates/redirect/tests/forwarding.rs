//! Which frames pass from tapA to tapB, and that they pass once and in order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use support::{BOTH, PATIENCE, QUIET, plan, roomy_tap, send, start, tap, try_start, try_start_that};
use tapferry_redirect::counters::Engine;
use tapferry_redirect::{DropReason, EventKind, Latency, Plan, Queue, StartError};
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::{Direction, Reader};
use tapferry_testbed::sender::{Pace, Sender, SenderOptions};

#[test]
fn frames_to_the_guest_come_out_once_and_in_order() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
        let running = start(plan(latency));
        send("tapA", 0..10_000);
        let tally = b.wait_for(10_000, PATIENCE);
        let statistics = running.stop();
        assert_eq!(tally.ranges(0), [(0, 9_999)], "{latency:?} {statistics:?}");
        assert_eq!((tally.flow(0).duplicates, tally.flow(0).out_of_order), (0, 0));
        assert_eq!(statistics.counters.captured, 10_000);
        assert_eq!(statistics.counters.forwarded, 10_000);
        assert_eq!(statistics.counters.forwarded_bytes, 640_000);
    }
}

#[test]
fn a_capture_that_gets_no_ring_warns_once_and_goes_on_without_one() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
    // The capture is open by then, and a ring is another socket.
    let running = try_start_that(plan(Latency::Balanced), |event| {
        if event.kind == EventKind::Ready {
            let had = capabilities(None).unwrap();
            let effective = had.effective - CapabilitySet::NET_RAW;
            set_capabilities(None, CapabilitySets { effective, ..had }).unwrap();
        }
    })
    .unwrap();
    if running.statistics().engine != Engine::Socket {
        return Skip("SO_RCVBUFFORCE is refused".into()).announce();
    }
    send("tapA", 0..5_000);
    running.wait_told(EventKind::Warning, 1);
    send("tapA", 5_000..10_000);
    assert_eq!(b.wait_for(10_000, PATIENCE).ranges(0), [(0, 9_999)]);
    let codes: Vec<_> = running.events().iter().filter_map(|event| event.code).collect();
    assert_eq!(codes, ["ring_refused"]);
    assert_eq!(running.statistics().engine, Engine::Socket);
    assert_eq!(running.stop().counters.forwarded, 10_000);
}

#[test]
fn of_frames_in_the_wrong_direction_none_passes() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (a, b) = (tap("tapA"), Reader::on_tap(tap("tapB")));
        let running = start(plan(latency));
        for frame in Probe::default().frames(64, 0..1000) {
            a.write_plain(&frame).unwrap();
        }
        std::thread::sleep(QUIET);
        assert_eq!(b.tally().numbered(), 0);
        assert_eq!(running.stop().counters.captured, 0);
    }
}

#[test]
fn queue_rx_takes_frames_from_the_guest_and_queue_all_both() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        for (queue, expected) in [(Queue::Rx, [0, 1000]), (Queue::All, [1000, 1000])] {
            let (a, b) = (tap("tapA"), Reader::on_tap(roomy_tap("tapB")));
            let running = start(Plan { queue, ..plan(latency) });
            send("tapA", 0..1000);
            for frame in Probe::of_flow(1).frames(64, 0..1000) {
                a.write_plain(&frame).unwrap();
            }
            running.wait_captured(expected.iter().sum());
            let tally = b.settle(QUIET);
            assert_eq!([tally.flow(0).count, tally.flow(1).count], expected, "{queue:?} {latency:?}");
            running.stop();
        }
    }
}

#[test]
fn queue_rx_on_a_network_card_takes_frames_for_other_addresses() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("nic", "peer").unwrap();
    link::set_up("nic").unwrap();
    link::set_up("peer").unwrap();
    let b = Reader::on_tap(tap("tapB"));
    let running = start(Plan { queue: Queue::Rx, ..Plan::new("nic", "tapB").unwrap() });
    let promiscuity = link::ip("-d link show nic").unwrap();
    assert!(promiscuity.contains("promiscuity 1"), "{promiscuity}");
    send("peer", 0..100);
    assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(0, 99)]);
    running.stop();
    let promiscuity = link::ip("-d link show nic").unwrap();
    assert!(promiscuity.contains("promiscuity 0"), "left as it was: {promiscuity}");
}

#[test]
fn frames_sent_before_the_start_never_come_out() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        // Nobody reads tapA: the frames wait in its queue, and must not be mistaken for new ones.
        let (_a, b) = (tap("tapA"), Reader::on_tap(tap("tapB")));
        send("tapA", 0..500);
        let running = start(plan(latency));
        send("tapA", 500..600);
        assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(500, 599)]);
        running.stop();
    }
}

#[test]
fn a_stopped_guest_that_reads_nothing_is_captured_in_full() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // tapA's own queue holds 1000; what it drops, capture still sees.
    let (_a, b) = (tap("tapA"), Reader::on_tap(roomy_tap("tapB")));
    let running = start(plan(Latency::Balanced));
    send("tapA", 0..5_000);
    assert_eq!(b.wait_for(5_000, PATIENCE).ranges(0), [(0, 4_999)]);
    running.stop();
}

#[test]
fn what_was_captured_before_the_stop_is_forwarded() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
        for _ in 0..10 {
            let running = start(plan(latency));
            send("tapA", 0..500);
            let statistics = running.stop();
            assert_eq!(statistics.counters.forwarded, 500, "{latency:?} {statistics:?}");
            assert_eq!(statistics.engine, Engine::Closed);
        }
        assert_eq!(b.wait_for(5_000, PATIENCE).flow(0).count, 5_000);
    }
}

#[test]
fn count_forwards_exactly_so_many_and_says_so() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let running = start(Plan { count: Some(100), ..plan(latency) });
        send("tapA", 0..250);
        running.wait_told(EventKind::CountReached, 1);
        running.wait_captured(250);
        let statistics = running.stop();
        assert_eq!(b.settle(QUIET).ranges(0), [(0, 99)]);
        assert_eq!(statistics.counters.forwarded, 100);
        assert_eq!(statistics.counters.dropped.of(DropReason::CountReached), 150);
    }
}

#[test]
fn two_opposite_redirectors_do_not_loop() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
        let there = start(plan(latency));
        let back = start(Plan { latency, ..Plan::new("tapB", "tapA").unwrap() });
        send("tapA", 0..100);
        let flow = Probe::of_flow(1);
        Sender::open("tapB").unwrap().send_probes(&flow, 64, 0..100).unwrap();
        std::thread::sleep(QUIET);
        for reader in [&a, &b] {
            let tally = reader.settle(QUIET);
            assert_eq!([tally.flow(0).count, tally.flow(1).count], [100, 100], "{latency:?}");
        }
        assert_eq!(there.stop().counters.captured, 100);
        assert_eq!(back.stop().counters.captured, 100);
    }
}

#[test]
fn a_redirector_into_its_own_input_does_not_storm() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let a = Reader::on_tap(tap("tapA"));
        let running = start(Plan { latency, ..Plan::new("tapA", "tapA").unwrap() });
        send("tapA", 0..100);
        std::thread::sleep(QUIET);
        assert_eq!(a.settle(QUIET).flow(0).count, 200, "each frame and its copy");
        assert_eq!(running.stop().counters.captured, 100);
    }
}

#[test]
fn a_deliberate_chain_takes_another_mark() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, _b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let c = Reader::on_tap(tap("tapC"));
    let first = start(Plan { mark: 1, ..plan(Latency::Low) });
    let second = start(Plan { mark: 2, latency: Latency::Low, ..Plan::new("tapB", "tapC").unwrap() });
    send("tapA", 0..100);
    assert_eq!(c.wait_for(100, PATIENCE).ranges(0), [(0, 99)]);
    first.stop();
    second.stop();
}

#[test]
fn what_bears_our_mark_is_not_captured() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Balanced));
    let options = SenderOptions { mark: Some(tapferry_redirect::plan::DEFAULT_MARK), ..Default::default() };
    let sender = Sender::with("tapA", options).unwrap();
    sender.send_probes(&Probe::default(), 64, 0..100).unwrap();
    send("tapA", 100..200);
    assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(100, 199)]);
    running.stop();
}

#[test]
fn a_bridge_of_two_interfaces_is_a_legal_pair_of_ends() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("port", "peer").unwrap();
    link::set_up("port").unwrap();
    link::set_up("peer").unwrap();
    let _a = Reader::on_tap(tap("tapA"));
    let peer = Reader::on_interface("peer", Direction::Incoming).unwrap();
    let running = start(Plan::new("tapA", "port").unwrap());
    send("tapA", 0..100);
    assert_eq!(peer.wait_for(100, PATIENCE).ranges(0), [(0, 99)]);
    running.stop();
}

#[test]
fn evenly_spaced_frames_arrive_soon_in_low_latency() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Low));
    let sender = Sender::open("tapA").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let none = tapferry_testbed::vnet::VnetHeader::default();
    sender.pace(Pace::Even { rate: 1_000 }, 300, false, &stop, |sequence, send| {
        send(&none, &Probe::default().build(sequence, 64))
    });
    assert_eq!(b.wait_for(300, Duration::from_secs(1)).ranges(0), [(0, 299)]);
    running.stop();
}

#[test]
fn a_missing_interface_is_named_with_its_role() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _a = tap("tapA");
    let error = try_start(plan(Latency::Balanced)).err().unwrap();
    assert!(matches!(error, StartError::NotFound { .. }), "{error:?}");
    assert_eq!(error.code(), "NETDEV_NOT_FOUND");
    assert!(error.to_string().starts_with("out_netdev 'tapB' not found"), "{error}");
    let error = try_start(Plan::new("tapX", "tapA").unwrap()).err().unwrap();
    assert!(error.to_string().starts_with("in_netdev 'tapX' not found"), "{error}");
}

#[test]
fn an_interface_without_ethernet_is_refused() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _a = tap("tapA");
    link::ip("tuntap add dev tun0 mode tun").unwrap();
    let error = try_start(Plan::new("tun0", "tapA").unwrap()).err().unwrap();
    assert_eq!(error.code(), "NETDEV_NOT_ETHERNET", "{error}");
}
