//! Every captured frame ends in exactly one counter, in every snapshot, whatever happens meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{BOTH, PATIENCE, QUIET, plan, roomy_tap, send, start, tap};
use tapferry_redirect::{DropReason, Latency, Plan};
use tapferry_sys::packet::PacketSocket;
use tapferry_sys::receive::RECEIVE_BUFFER;
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::{OFFLOADS_ALL, Tap, TapOptions};

#[test]
fn under_load_and_errors_every_snapshot_balances_and_nothing_is_uncounted() {
    let Some(namespace) = Namespace::enter_or_skip() else { return };
    let handle = namespace.handle();
    for latency in BOTH {
        // An input that takes every offload: the kernel would capture the segments of another one by one.
        let a = Tap::create("tapA", &TapOptions { offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() });
        let (_a, _b) = (Reader::on_tap(a.unwrap()), Reader::on_tap(roomy_tap("tapB")));
        let running = start(plan(latency));
        let stop = AtomicBool::new(false);
        let sent: u64 = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let _inside = handle.enter().unwrap();
                let sender = Sender::with_vnet_header("tapA").unwrap();
                let packet = Packet::new(Ip::V4, Checksum::Partial);
                let kinds = [
                    packet.udp(0, 200),
                    packet.tcp_gso(0, 20_000, 1400),
                    // Neither of these fits the output.
                    Packet::new(Ip::V4, Checksum::Complete).udp_gso(0, 4, 4_000),
                    packet.udp(0, 1400),
                ];
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    for frame in &kinds {
                        sender.send_frame(frame).unwrap();
                        sent += 1;
                    }
                }
                sent
            });
            let end = Instant::now() + Duration::from_millis(1_500);
            let mut turn = 0;
            while Instant::now() < end {
                running.statistics();
                match turn % 20 {
                    3 => link::set_down("tapB").unwrap(),
                    6 => link::set_up("tapB").unwrap(),
                    9 => running.redirector.set_running(false, None),
                    12 => running.redirector.set_running(true, None),
                    15 => running.redirector.set_status(false),
                    18 => running.redirector.set_status(true),
                    _ => {}
                }
                turn += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
            sending.join().unwrap()
        });
        let counters = running.stop().counters;
        assert!(counters.captured > 0 && counters.captured <= sent, "{counters:?} of {sent}");
        assert!(counters.dropped.of(DropReason::TooLong) > 0, "{counters:?}");
    }
}

#[test]
fn with_the_gate_open_every_frame_sent_is_captured_even_those_the_kernel_had_no_room_for() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let (_a, _b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
        let running = start(plan(latency));
        // More than a ring or a receive buffer takes at once: faster than a loaded machine may take them.
        let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 1400);
        let sender = Sender::with_vnet_header("tapA").unwrap();
        for _ in 0..3_000 {
            sender.send_frame(&frame).unwrap();
        }
        let counters = running.wait_captured(3_000).counters;
        assert_eq!(counters.captured, 3_000, "{latency:?}");
        assert_eq!(counters.forwarded + counters.dropped.of(DropReason::RingFull), 3_000, "{counters:?}");
        running.stop();
    }
}

/// Whether a plain socket may hold more than a few frames here.
fn has_room() -> bool {
    let socket = PacketSocket::open().unwrap();
    socket.set_receive_buffer(RECEIVE_BUFFER).unwrap();
    socket.has_receive_buffer(RECEIVE_BUFFER)
}

#[test]
fn a_slow_output_is_waited_for_and_loses_nothing_that_fits_the_capture() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        if latency == Latency::Low && !has_room() {
            Skip("SO_RCVBUFFORCE is refused".into()).announce();
            continue;
        }
        let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
        shape("tapB", "200mbit");
        let running = start(plan(latency));
        let sender = Sender::open("tapA").unwrap();
        sender.send_probes(&Probe::default(), 1514, 0..20_000).unwrap();
        let tally = b.wait_for(20_000, PATIENCE);
        let statistics = running.stop();
        assert_eq!(tally.ranges(0), [(0, 19_999)], "{latency:?} {statistics:?}");
        assert_eq!(tally.flow(0).out_of_order, 0);
        assert_eq!(statistics.counters.forwarded, 20_000);
    }
}

#[test]
fn a_stop_does_not_wait_for_an_output_that_never_moves() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let _a = Reader::on_tap(tap("tapA"));
        link::veth("stuck", "peer").unwrap();
        shape("stuck", "8kbit");
        let running = start(Plan { latency, ..Plan::new("tapA", "stuck").unwrap() });
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..20_000).unwrap();
        std::thread::sleep(QUIET);
        let begin = Instant::now();
        let counters = running.stop().counters;
        // The output would take hours for them. A third of a second is usual; a starved machine may take longer.
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert_eq!(counters.captured, 20_000, "{latency:?} {counters:?}");
        assert!(counters.dropped.of(DropReason::Stopped) > 0, "{counters:?}");
        link::delete("stuck").unwrap();
    }
}

#[test]
fn a_stalled_output_does_not_delay_another_redirector() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    link::veth("stuck", "peer").unwrap();
    shape("stuck", "8kbit");
    let stalled = start(Plan::new("tapA", "stuck").unwrap());
    let other = start(plan(Latency::Low));
    for first in (0..20_000).step_by(500) {
        send("tapA", first..first + 500);
        b.wait_for(first + 500, PATIENCE);
    }
    assert_eq!(b.tally().ranges(0), [(0, 19_999)]);
    other.stop();
    stalled.stop();
}

#[test]
fn an_idle_or_blocked_redirector_does_not_spin() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for latency in BOTH {
        let _a = Reader::on_tap(tap("tapA"));
        link::veth("stuck", "peer").unwrap();
        shape("stuck", "8kbit");
        let blocked = start(Plan { latency, ..Plan::new("tapA", "stuck").unwrap() });
        let idle = start(Plan { latency, ..Plan::new("peer", "tapA").unwrap() });
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..20_000).unwrap();
        std::thread::sleep(QUIET);
        let before = redirector_cpu();
        std::thread::sleep(Duration::from_secs(1));
        let used = redirector_cpu() - before;
        // A spinning thread would use a hundred ticks of 10 ms.
        assert!(used <= 3, "{latency:?}: {used} ticks in a second");
        blocked.stop();
        idle.stop();
        link::delete("stuck").unwrap();
    }
}

/// Slows an interface down. Its queue keeps the frames, and with them their room in the send buffer.
fn shape(name: &str, rate: &str) {
    link::tc(&format!("qdisc add dev {name} root tbf rate {rate} burst 64kb limit 1gb")).unwrap();
}

/// Ticks of CPU that this test's redirector threads have used (proc_pid_stat(5), fields 14 and 15).
fn redirector_cpu() -> u64 {
    let mut ticks = 0;
    let own_namespace = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        let Ok(namespace) = std::fs::read_link(path.join("ns/net")) else { continue };
        if !stat.contains("(ferry-") || namespace != own_namespace {
            continue;
        }
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    }
    ticks
}
