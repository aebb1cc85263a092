//! Peers that come, go, stall and misbehave: each costs its own frames, counted, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use support::peer::{Peer, record};
use support::{
    Directory, PATIENCE, QUIET, Running, client, netdev, plan, roomy_tap, server, start, stream, tap,
    try_start, with_headers,
};
use tapferry_redirect::{
    Address, BufferPlan, DropReason, End, EventKind, Hold, Latency, Plan, StreamPlan, WhenFull,
};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;

fn to(stream: StreamPlan) -> Plan {
    Plan { latency: Latency::Low, ..Plan::between(netdev("tapA"), End::Stream(stream)) }
}

fn from(stream: StreamPlan) -> Plan {
    Plan::between(End::Stream(stream), netdev("tapB"))
}

fn numbered(sequence: u64) -> Vec<u8> {
    Probe::default().build(sequence, 64)
}

fn code_of(outcome: Result<Running, tapferry_redirect::StartError>) -> &'static str {
    outcome.err().map_or("none", |error| error.code())
}

#[test]
fn without_a_peer_frames_are_dropped_by_name_and_the_next_peer_gets_what_comes_then() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let running = start(to(server(&directory.path("out"))));
    support::send("tapA", 0..10);
    assert_eq!(running.wait_captured(10).counters.dropped.of(DropReason::NoPeer), 10);
    for round in 1..=3_usize {
        let mut peer = Peer::connect(&directory.path("out"), false);
        running.wait_told(EventKind::OutputBack, round);
        support::send("tapA", 100..110);
        for sequence in 100..110 {
            assert_eq!(peer.receive().unwrap().frame, numbered(sequence));
        }
        drop(peer);
        running.wait_told(EventKind::OutputMissing, round);
        support::send("tapA", 0..10);
        let captured = 10 + 20 * u64::try_from(round).unwrap();
        let counters = running.wait_captured(captured).counters;
        assert_eq!(counters.dropped.of(DropReason::NoPeer), captured - counters.forwarded);
    }
    assert_eq!(running.told(EventKind::Warning), 1, "once, however often: {:?}", running.events());
    assert_eq!(running.stop().output_outages.count, 3);
}

#[test]
fn half_a_record_is_never_joined_with_the_next_connection() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(tap("tapB"));
    let running = start(from(server(&directory.path("in"))));
    for round in 0..5 {
        let mut peer = Peer::connect(&directory.path("in"), false);
        peer.send(&[], &numbered(round));
        peer.send_raw(&record(false, &[], &numbered(99))[..40]);
        drop(peer);
    }
    assert_eq!(b.wait_for(5, PATIENCE).ranges(0), [(0, 4)]);
    running.wait_told(EventKind::InputMissing, 5);
    let told = running.events().into_iter().find(|event| event.kind == EventKind::InputMissing).unwrap();
    assert!(told.message.contains("in the middle of a frame"), "{}", told.message);
    let statistics = running.stop();
    assert_eq!((statistics.counters.captured, statistics.framing_errors), (5, 0));
}

#[test]
fn a_peer_that_sends_no_frames_is_closed_told_and_the_next_is_served() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(tap("tapB"));
    let too_long = 69_633_u32.to_be_bytes();
    let frame = numbered(1);
    for (vnet_hdr, sent, words) in [
        (false, too_long.to_vec(), "limit is 69632"),
        (false, vec![0xff; 4], "limit is 69632"),
        (false, b"GET / HTTP/1.1\r\n\r\n".to_vec(), "limit is 69632"),
        (true, record(false, &[], &frame), "--vnet-hdr-support=off"),
    ] {
        let path = directory.path("in");
        let running = start(from(StreamPlan { vnet_hdr, ..server(&path) }));
        let mut wrong = Peer::connect(&path, vnet_hdr);
        wrong.send_raw(&sent);
        assert!(wrong.is_closed(), "{words}");
        running.wait_told(EventKind::InputMissing, 1);
        let told = running.events().into_iter().find(|event| event.kind == EventKind::InputMissing).unwrap();
        assert!(told.message.contains(words), "{}", told.message);
        assert_eq!(told.code, Some("framing_error"));

        let mut right = Peer::connect(&path, vnet_hdr);
        let header = if vnet_hdr { vec![0; 12] } else { vec![] };
        right.send(&header, &numbered(5));
        assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(5, 5)]);
        b.clear();
        let statistics = running.stop();
        assert_eq!((statistics.framing_errors, statistics.counters.captured), (1, 1));
    }
}

#[test]
fn a_client_connects_again_for_as_long_as_it_takes() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let path = directory.path("out");
    let listener = UnixListener::bind(&path).unwrap();
    let running = start(to(client(&path)));
    for round in 1..=3 {
        let mut peer = Peer::accept(&listener, false);
        if round > 1 {
            running.wait_told(EventKind::OutputBack, round - 1);
        }
        support::send("tapA", 0..1);
        assert_eq!(peer.receive().unwrap().frame, numbered(0));
        drop(peer);
        running.wait_told(EventKind::OutputMissing, round);
    }
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    running.stop();
}

#[test]
fn a_client_without_a_peer_fails_at_the_start_or_waits_on_request() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let path = directory.path("out");
    assert_eq!(code_of(try_start(to(client(&path)))), "STREAM_UNREACHABLE");

    let running = start(Plan { wait: true, ..to(client(&path)) });
    running.wait_told(EventKind::Waiting, 1);
    assert_eq!(running.told(EventKind::Ready), 0);
    let listener = UnixListener::bind(&path).unwrap();
    let mut peer = Peer::accept(&listener, false);
    running.wait_told(EventKind::Ready, 1);
    support::send("tapA", 0..1);
    assert_eq!(peer.receive().unwrap().frame, numbered(0));
    running.stop();
}

#[test]
fn a_socket_of_ours_is_private_replaces_a_stale_one_and_goes_at_the_end() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _b = Reader::on_tap(tap("tapB"));
    let path = directory.path("in");

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a socket outlives its listener");
    let running = start(from(server(&path)));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(code_of(try_start(from(server(&path)))), "STREAM_IN_USE");
    assert!(Peer::connect(&path, false).send_raw(&record(false, &[], &numbered(0))), "still ours");
    running.stop();
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    assert_eq!(code_of(try_start(from(server(&path)))), "STREAM_INVALID");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_stalled_peer_costs_a_bounded_buffer_and_counted_frames_and_nobody_else() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(roomy_tap("tapB")));
    let other = start(plan(Latency::Low));
    let buffer = BufferPlan { bytes: 4 << 20, frames: 100_000, when_full: WhenFull::DropNewest };
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let path = directory.path("out");
        let stalled = start(Plan { buffer: BufferPlan { when_full, ..buffer }, ..to(server(&path)) });
        let mut peer = Peer::connect(&path, false);
        stalled.wait_told(EventKind::OutputBack, 1);
        let sender = Sender::open("tapA").unwrap();
        for first in (0..20_000).step_by(500) {
            sender.send_probes(&Probe::default(), 1514, first..first + 500).unwrap();
            stalled.wait_captured(first + 500);
            b.wait_for(first + 500, PATIENCE);
        }
        let counters = stalled.statistics().counters;
        assert_eq!(counters.captured, 20_000);
        let full = counters.dropped.of(DropReason::OutputFull);
        assert!(full > 10_000 && counters.held > 2_000, "{counters:?}");
        assert!(counters.held_bytes <= (4 << 20) + 1514, "{counters:?}");

        let left = counters.captured - full;
        let tally = peer.tally(left, 1500);
        let ranges = tally.ranges(0);
        match when_full {
            WhenFull::DropNewest => assert_eq!(ranges, [(0, left - 1)]),
            WhenFull::DropOldest => {
                assert_eq!(ranges.last().unwrap().1, 19_999, "{ranges:?}");
                assert_eq!(ranges[0].0, 0, "what the kernel had already");
            }
        }
        let counters = stalled.wait_until("draining", |s| s.counters.held == 0).counters;
        assert_eq!(counters.forwarded, left);
        stalled.stop();
        b.clear();
    }
    other.stop();
}

#[test]
fn a_stop_does_not_wait_for_a_peer_that_never_reads() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let running = start(to(server(&directory.path("out"))));
    let _peer = Peer::connect(&directory.path("out"), false);
    running.wait_told(EventKind::OutputBack, 1);
    Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..5_000).unwrap();
    running.wait_captured(5_000);
    let counters = running.stop().counters;
    assert_eq!(counters.forwarded + counters.dropped.of(DropReason::Stopped), 5_000, "{counters:?}");
    assert!(counters.dropped.of(DropReason::Stopped) > 0);
}

#[test]
fn a_peer_is_always_read_however_stuck_the_output_is() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    link::veth("stuck", "far").unwrap();
    link::tc("qdisc add dev stuck root tbf rate 8kbit burst 64kb limit 1gb").unwrap();
    let buffer = BufferPlan { bytes: 1 << 20, frames: 1_000, when_full: WhenFull::DropNewest };
    let stream = End::Stream(server(&directory.path("in")));
    let running = start(Plan { buffer, ..Plan::between(stream, netdev("stuck")) });
    let mut peer = Peer::connect(&directory.path("in"), false);
    let frame = Probe::default().build(0, 1514);
    for _ in 0..30_000 {
        peer.send(&[], &frame);
    }
    let counters = running.wait_captured(30_000).counters;
    assert!(counters.dropped.of(DropReason::OutputFull) > 10_000, "{counters:?}");
    running.stop();
}

#[test]
fn over_tcp_a_peer_that_leaves_is_noticed_although_nothing_is_sent() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::set_up("lo").unwrap();
    let _a = Reader::on_tap(tap("tapA"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = |port, server| stream(Address::Tcp { host: "127.0.0.1".into(), port, server });
    let running = start(to(address(port, false)));
    let mut peer = Peer::on_tcp(listener.accept().unwrap().0, false);
    support::send("tapA", 0..1);
    assert_eq!(peer.receive().unwrap().frame, numbered(0));
    drop(peer);
    running.wait_told(EventKind::OutputMissing, 1);
    let mut peer = Peer::on_tcp(listener.accept().unwrap().0, false);
    running.wait_told(EventKind::OutputBack, 1);
    support::send("tapA", 1..2);
    assert_eq!(peer.receive().unwrap().frame, numbered(1));
    assert_eq!(code_of(try_start(to(address(port, true)))), "STREAM_IN_USE");
    running.stop();

    drop(listener);
    let b = Reader::on_tap(tap("tapB"));
    let running = start(from(with_headers(address(port, true))));
    let mut peer = Peer::on_tcp(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(), true);
    peer.send(&[0; 12], &numbered(2));
    assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(2, 2)]);
    running.stop();
}

#[test]
fn a_passed_descriptor_has_one_peer_and_its_end_is_told() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let passed =
        |socket: UnixStream| stream(Address::Passed { number: 3, descriptor: Arc::new(socket.into()) });

    let (ours, theirs) = UnixStream::pair().unwrap();
    let reading = start(from(passed(ours)));
    let mut peer = Peer::on_unix(theirs, false);
    peer.send(&[], &numbered(0));
    drop(peer);
    reading.wait_told(EventKind::InputClosed, 1);
    assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(0, 0)], "what came before the end");
    reading.stop();

    let (ours, theirs) = UnixStream::pair().unwrap();
    let writing = start(to(passed(ours)));
    drop(theirs);
    writing.wait_told(EventKind::Failed, 1);
    let failure = writing.events().into_iter().find(|event| event.kind == EventKind::Failed).unwrap();
    assert_eq!(failure.code, Some("STREAM_CLOSED"));
    writing.stop();

    let file = std::fs::File::open("/dev/null").unwrap();
    let no_socket = stream(Address::Passed { number: 3, descriptor: Arc::new(file.into()) });
    assert_eq!(code_of(try_start(to(no_socket))), "STREAM_INVALID");
}

#[test]
fn a_passed_listener_has_peers_like_any_server() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(tap("tapB"));
    let path = directory.path("in");
    let descriptor = Arc::new(UnixListener::bind(&path).unwrap().into());
    let running = start(from(stream(Address::Passed { number: 3, descriptor })));
    for round in 0..2 {
        Peer::connect(&path, false).send(&[], &numbered(round));
        assert_eq!(b.wait_for(round + 1, PATIENCE).numbered(), round + 1);
    }
    running.stop();
}

#[test]
fn frames_are_held_until_the_vm_runs_in_order_and_bounded() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(roomy_tap("tapB"));
    let running = start(Plan {
        running: false,
        when_stopped: tapferry_redirect::WhenStopped::On,
        hold: Some(Hold::UntilRunning),
        buffer: BufferPlan { bytes: 1 << 20, frames: 100, when_full: WhenFull::DropNewest },
        ..from(server(&directory.path("in")))
    });
    let mut peer = Peer::connect(&directory.path("in"), false);
    for sequence in 0..150 {
        peer.send(&[], &numbered(sequence));
    }
    let counters = running.wait_captured(150).counters;
    assert_eq!((counters.held, counters.dropped.of(DropReason::HoldFull)), (100, 50));
    assert_eq!(b.tally().numbered(), 0);
    running.redirector.set_running(true, None);
    assert_eq!(b.wait_for(100, PATIENCE).ranges(0), [(0, 99)]);
    peer.send(&[], &numbered(150));
    let tally = b.wait_for(101, PATIENCE);
    assert_eq!((tally.ranges(0), tally.flow(0).out_of_order), (&[(0, 99), (150, 150)][..], 0));
    running.redirector.set_running(false, None);
    running.wait_until("stopping the VM", |statistics| !statistics.running);
    peer.send(&[], &numbered(151));
    running.wait_captured(152);
    assert_eq!(running.stop().counters.dropped.of(DropReason::Stopped), 1, "for a VM that does not run");
}

#[test]
fn frames_are_released_together_at_an_interval_and_the_last_ones_at_the_end() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let interval = Duration::from_millis(300);
    let running = start(Plan { hold: Some(Hold::Every(interval)), ..plan(Latency::Low) });
    support::send("tapA", 0..10);
    let counters = running.wait_captured(10).counters;
    assert_eq!(counters.held + counters.forwarded, 10);
    assert_eq!(b.wait_for(10, PATIENCE).ranges(0), [(0, 9)]);
    running.stop();

    let running = start(Plan { hold: Some(Hold::Every(Duration::from_secs(3600))), ..plan(Latency::Low) });
    support::send("tapA", 10..20);
    running.wait_captured(10);
    std::thread::sleep(QUIET);
    assert_eq!(b.tally().numbered(), 10, "an hour is not over");
    assert_eq!(running.stop().counters.forwarded, 10);
    assert_eq!(b.wait_for(20, PATIENCE).ranges(0), [(0, 19)]);
}

#[test]
fn a_peer_that_leaves_while_the_capture_is_closed_is_lost_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let running = start(to(server(&directory.path("out"))));
    for round in 1..=20_usize {
        let peer = Peer::connect(&directory.path("out"), false);
        running.wait_told(EventKind::OutputBack, round);
        // It never reads, so that the output is stuck when both things happen.
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..2_000).unwrap();
        running.redirector.set_status(false);
        drop(peer);
        running.wait_told(EventKind::OutputMissing, round);
        running.redirector.set_status(true);
    }
    assert_eq!(running.told(EventKind::Failed), 0, "{:?}", running.events());
    assert_eq!(running.told(EventKind::OutputMissing), 20);
    running.stop();
}

#[test]
fn a_live_listener_is_not_connected_to_in_order_to_see_whether_it_lives() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _b = Reader::on_tap(tap("tapB"));
    let path = directory.path("in");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(code_of(try_start(from(server(&path)))), "STREAM_IN_USE");
    // A QEMU filter would be deaf after it.
    assert!(listener.accept().is_err(), "somebody has connected");
}

#[test]
fn an_empty_record_does_not_fill_the_buffer() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(tap("tapB"));
    let running = start(Plan {
        running: false,
        when_stopped: tapferry_redirect::WhenStopped::On,
        hold: Some(Hold::UntilRunning),
        ..from(server(&directory.path("in")))
    });
    let mut peer = Peer::connect(&directory.path("in"), false);
    peer.send(&[], &[]);
    for sequence in 0..10 {
        peer.send(&[], &numbered(sequence));
    }
    running.wait_captured(11);
    running.redirector.set_running(true, None);
    assert_eq!(b.wait_for(10, PATIENCE).ranges(0), [(0, 9)]);
    assert_eq!(running.stop().counters.dropped.of(DropReason::Malformed), 1);
}

#[test]
fn what_came_after_the_stop_and_is_still_here_does_not_leave() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let hold = Some(Hold::Every(Duration::from_secs(3600)));
    let running = start(Plan { hold, ..plan(Latency::Low) });
    support::send("tapA", 0..10);
    running.wait_captured(10);
    let stopped_at = tapferry_testbed::sender::realtime();
    support::send("tapA", 10..20);
    running.wait_captured(20);
    running.redirector.set_running(false, Some(stopped_at));
    running.wait_told(EventKind::GateClosed, 1);
    let counters = running.stop().counters;
    assert_eq!((counters.forwarded, counters.dropped.of(DropReason::GateClosed)), (10, 10), "{counters:?}");
    assert_eq!(b.wait_for(10, PATIENCE).ranges(0), [(0, 9)]);
}

#[test]
fn over_tcp_the_last_frames_arrive_although_the_peer_has_sent_what_nobody_reads() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::set_up("lo").unwrap();
    let _a = Reader::on_tap(tap("tapA"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = Address::Tcp { host: "127.0.0.1".into(), port, server: false };
    let running = start(to(stream(address)));
    let mut peer = Peer::on_tcp(listener.accept().unwrap().0, false);
    peer.send(&[], &numbered(0));
    let reading = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        peer.tally(1_000, 2_000)
    });
    Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..1_000).unwrap();
    running.wait_captured(1_000);
    assert_eq!(running.stop().counters.forwarded, 1_000);
    assert_eq!(reading.join().unwrap().ranges(0), [(0, 999)]);
}

#[test]
fn a_socket_that_is_neither_connected_nor_listening_is_refused() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _a = Reader::on_tap(tap("tapA"));
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let address = Address::Passed { number: 3, descriptor: Arc::new(socket.unwrap()) };
    assert_eq!(code_of(try_start(to(stream(address)))), "STREAM_INVALID");
}

#[test]
fn a_peer_that_reads_nothing_is_told_of_while_it_lasts_and_at_the_end() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let running = start(to(server(&directory.path("out"))));
    let _peer = Peer::connect(&directory.path("out"), false);
    running.wait_told(EventKind::OutputBack, 1);
    Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, 0..5_000).unwrap();
    let warned =
        |running: &Running| -> Vec<_> { running.events().iter().filter_map(|event| event.code).collect() };
    running.wait_until("the warning of a stall", |_| warned(&running).contains(&"peer_stalled"));
    running.stop();

    let running = start(to(server(&directory.path("out"))));
    let _peer = Peer::connect(&directory.path("out"), false);
    running.wait_told(EventKind::OutputBack, 1);
    support::send("tapA", 0..10);
    running.wait_until("forwarding", |statistics| statistics.counters.forwarded == 10);
    running.redirector.stop();
    assert_eq!(warned(&running), ["unread"]);
}

#[test]
fn peers_that_bring_nonsense_again_and_again_do_not_fill_the_log() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(tap("tapB"));
    let path = directory.path("in");
    let running = start(from(server(&path)));
    for _ in 0..5 {
        let mut wrong = Peer::connect(&path, false);
        wrong.send_raw(b"hello\n");
        assert!(wrong.is_closed());
    }
    running.wait_until("counting them", |statistics| statistics.framing_errors == 5);
    assert_eq!((running.told(EventKind::InputBack), running.told(EventKind::InputMissing)), (1, 1));
    let mut right = Peer::connect(&path, false);
    right.send(&[], &numbered(0));
    running.wait_told(EventKind::InputBack, 2);
    assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(0, 0)]);
    running.stop();
}

/// It waits for an answer for ever; what looks like TLS later on is the middle of a frame.
#[test]
fn a_peer_that_begins_in_tls_is_told_of_and_left() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let running = start(to(server(&directory.path("out"))));
    let mut stranger = UnixStream::connect(directory.path("out")).unwrap();
    stranger.write_all(b"\x16\x03\x01").unwrap();
    running.wait_told(EventKind::OutputMissing, 1);
    assert!(running.events().iter().any(|event| event.code == Some("TLS_PEER")), "{:?}", running.events());
    assert_eq!(stranger.read(&mut [0]).unwrap(), 0);

    let mut peer = Peer::connect(&directory.path("out"), false);
    running.wait_told(EventKind::OutputBack, 2);
    peer.send(&[], &[0; 60]);
    running.wait_told(EventKind::Warning, 1);
    peer.send(&[], &[0x16, 0x03].repeat(30));
    support::send("tapA", 0..1);
    assert_eq!(peer.receive().unwrap().frame.len(), 64);
    assert_eq!(running.told(EventKind::OutputMissing), 1);
    running.stop();
}

#[test]
fn what_the_peer_of_an_output_sends_is_discarded_and_told_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let running = start(to(server(&directory.path("out"))));
    let mut peer = Peer::connect(&directory.path("out"), false);
    running.wait_told(EventKind::OutputBack, 1);
    // More than the kernel keeps: who is not read would wait here.
    for _ in 0..2_000 {
        peer.send(&[], &[0; 1_500]);
    }
    support::send("tapA", 0..3);
    for _ in 0..3 {
        assert_eq!(peer.receive().unwrap().frame.len(), 64);
    }
    running.wait_told(EventKind::Warning, 1);
    assert_eq!(running.stop().counters.forwarded, 3);
}
