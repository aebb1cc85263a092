//! Frames in datagrams: one in each, whole, whoever is there or not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Directory, PATIENCE, netdev, roomy_tap, start, tap, try_start};
use tapferry_redirect::{DatagramPlan, Destination, DropReason, End, EventKind, HostPort, Plan};
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::{Probe, Tag};
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tally::Tally;
use tapferry_testbed::tap::{OFFLOADS_ALL, Tap, TapOptions};

/// A UDP datagram's payload over IPv4, in bytes.
const LONGEST_DATAGRAM: usize = 65_507;

fn datagrams(destination: Destination) -> End {
    End::Datagram(DatagramPlan { destination, namespace: None })
}

fn unix(path: &Path) -> End {
    datagrams(Destination::Unix(path.to_owned()))
}

fn udp(to: &UdpSocket) -> End {
    datagrams(Destination::Udp { to: place(to), from: None })
}

fn place(socket: &UdpSocket) -> HostPort {
    let address = socket.local_addr().unwrap();
    HostPort { host: address.ip().to_string(), port: address.port() }
}

/// A port that is free, for a moment.
fn free_place() -> HostPort {
    place(&loopback())
}

fn loopback() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn to(end: End) -> Plan {
    Plan::between(netdev("tapA"), end)
}

fn from(end: End) -> Plan {
    Plan::between(end, netdev("tapB"))
}

fn bound(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A namespace whose loopback is up.
fn enter() -> Option<Namespace> {
    let namespace = Namespace::enter_or_skip()?;
    link::set_up("lo").unwrap();
    Some(namespace)
}

fn numbered(sequence: u64) -> Vec<u8> {
    Probe::default().build(sequence, 64)
}

fn send(sequences: std::ops::Range<u64>) {
    support::send("tapA", sequences);
}

/// The next datagrams, judged.
fn tally(frames: usize, mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>) -> Tally {
    let (mut tally, mut buffer) = (Tally::default(), vec![0; 70_000]);
    for _ in 0..frames {
        let len = receive(&mut buffer).unwrap();
        tally.add(None, &buffer[..len], 1500);
    }
    tally
}

#[test]
fn each_frame_is_a_datagram_over_udp_and_over_a_unix_socket() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let (path, socket) = (directory.path("out"), loopback());
    let peer = bound(&path);
    for (end, receive) in [
        (
            unix(&path),
            &(|buffer: &mut [u8]| peer.recv(buffer)) as &dyn Fn(&mut [u8]) -> std::io::Result<usize>,
        ),
        (udp(&socket), &|buffer| socket.recv(buffer)),
    ] {
        let running = start(to(end));
        assert_eq!(running.told(EventKind::Ready), 1);
        send(0..200);
        let mut buffer = [0; 100];
        for sequence in 0..200 {
            let len = receive(&mut buffer).unwrap();
            assert_eq!(buffer[..len], numbered(sequence));
        }
        let counters = running.stop().counters;
        assert_eq!((counters.captured, counters.forwarded), (200, 200));
    }
    assert!(path.exists(), "the socket is not ours");
}

#[test]
fn offloads_are_finished_before_a_frame_becomes_a_datagram() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(
        Tap::create("tapA", &TapOptions { offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() }).unwrap(),
    );
    let path = directory.path("out");
    let peer = bound(&path);
    let running = start(to(unix(&path)));
    for ip in [Ip::V4, Ip::V6] {
        // More segments than the queue of a unix socket takes: the others wait.
        let frame = Packet::new(ip, Checksum::Partial).tcp_gso(0, 60_000, 1400);
        Sender::with_vnet_header("tapA").unwrap().send_frame(&frame).unwrap();
        let tally = tally(43, |buffer| peer.recv(buffer));
        assert_eq!((tally.stream.bytes, tally.stream.jumps), (60_000, 0), "{tally:?}");
        assert_eq!((tally.bad_checksum, tally.too_long, tally.other), (0, 0, 0), "{tally:?}");
    }
    let sender = Sender::with_vnet_header("tapA").unwrap();
    let tagged = |checksum| Packet::new(Ip::V4, checksum).tagged(Tag::dot1q(42));
    sender.send_frame(&tagged(Checksum::Complete).udp(1, 200)).unwrap();
    sender.send_frame(&tagged(Checksum::Partial).udp(2, 200)).unwrap();
    let tally = tally(2, |buffer| peer.recv(buffer));
    assert_eq!(tally.ranges(0), [(1, 2)]);
    assert_eq!((tally.bad_checksum, tally.other), (0, 0), "{tally:?}");
    let counters = running.stop().counters;
    assert_eq!((counters.captured, counters.forwarded), (4, 4), "frames, not segments");
}

#[test]
fn datagrams_become_frames_in_order() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let b = Reader::on_tap(roomy_tap("tapB"));
    let path = directory.path("in");
    drop(bound(&path));
    let running = start(from(unix(&path)));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "of a path that was left behind, and is made anew");
    let peer = UnixDatagram::unbound().unwrap();
    for sequence in 0..500 {
        peer.send_to(&numbered(sequence), &path).unwrap();
    }
    assert_eq!(b.wait_for(500, PATIENCE).ranges(0), [(0, 499)]);
    assert_eq!(running.stop().counters.forwarded, 500);
    assert!(!path.exists(), "it goes at the end");

    let here = free_place();
    let running = start(from(datagrams(Destination::Udp { to: here.clone(), from: None })));
    for sequence in 500..600 {
        loopback().send_to(&numbered(sequence), (here.host.as_str(), here.port)).unwrap();
    }
    assert_eq!(b.wait_for(600, PATIENCE).ranges(0), [(0, 599)]);
    assert_eq!(running.stop().counters.forwarded, 100);
}

#[test]
fn only_a_named_sender_is_heard_and_only_from_its_own_port_is_sent() {
    let Some(_namespace) = enter() else { return };
    let b = Reader::on_tap(roomy_tap("tapB"));
    let (here, sender) = (free_place(), loopback());
    let named = Destination::Udp { to: here.clone(), from: Some(place(&sender)) };
    let running = start(from(datagrams(named.clone())));
    loopback().send_to(&numbered(0), (here.host.as_str(), here.port)).unwrap();
    sender.send_to(&numbered(1), (here.host.as_str(), here.port)).unwrap();
    assert_eq!(b.wait_for(1, PATIENCE).ranges(0), [(1, 1)]);
    assert_eq!(running.stop().counters.captured, 1);

    drop(sender);
    let _a = Reader::on_tap(tap("tapA"));
    let receiver = UdpSocket::bind((here.host.as_str(), here.port)).unwrap();
    let running = start(to(datagrams(named.clone())));
    send(0..1);
    let (_, origin) = receiver.recv_from(&mut [0; 100]).unwrap();
    let Destination::Udp { from: Some(from), .. } = named else { unreachable!() };
    assert_eq!(origin.port(), from.port);
    running.stop();
}

#[test]
fn a_peer_that_is_not_there_or_comes_back_costs_frames_and_nothing_else() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let (path, gone) = (directory.path("out"), free_place());
    let to_nobody = Destination::Udp { to: gone.clone(), from: None };
    for (end, is_unix) in [(unix(&path), true), (datagrams(to_nobody), false)] {
        let running = start(to(end));
        for sequence in 0..20 {
            send(sequence..sequence + 1);
        }
        let dropped = running.wait_captured(20).counters.dropped;
        let lost = dropped.of(DropReason::NoPeer);
        assert_eq!(dropped.total(), lost, "{dropped:?}");
        // Over UDP, a frame is on its way before it is known that nobody is there.
        assert!(if is_unix { lost == 20 } else { lost >= 5 }, "{dropped:?}");
        assert_eq!(running.told(EventKind::Warning), 1);
        let receive = |sequences: std::ops::Range<u64>| {
            let mut buffer = [0; 100];
            let len = if is_unix {
                std::fs::remove_file(&path).ok();
                let peer = bound(&path);
                // Whoever was missing is looked for again after a pause.
                std::thread::sleep(Duration::from_millis(5));
                send(sequences);
                peer.recv(&mut buffer)
            } else {
                let peer = UdpSocket::bind((gone.host.as_str(), gone.port)).unwrap();
                peer.set_read_timeout(Some(PATIENCE)).unwrap();
                // The first one may be told what became of the last one.
                send(sequences);
                peer.recv(&mut buffer)
            };
            buffer[..len.unwrap()].to_vec()
        };
        for round in 0..2 {
            let frame = receive(100 + 10 * round..102 + 10 * round);
            assert!([100, 101, 110, 111].map(numbered).contains(&frame));
        }
        running.stop();
    }
}

#[test]
fn a_peer_that_does_not_read_costs_frames_and_blocks_nobody() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let _a = Reader::on_tap(tap("tapA"));
    let path = directory.path("out");
    let peer = bound(&path);
    let plan = to(unix(&path));
    let buffer = tapferry_redirect::BufferPlan { frames: 50, ..plan.buffer };
    let running = start(Plan { buffer, ..plan });
    send(0..1_000);
    let counters = running.wait_captured(1_000).counters;
    assert_eq!(counters.held, 50);
    let waiting = counters.forwarded;
    assert_eq!(counters.dropped.of(DropReason::OutputFull), 950 - waiting);
    let tally = tally(usize::try_from(waiting).unwrap() + 50, |buffer| peer.recv(buffer));
    assert_eq!(tally.ranges(0), [(0, waiting + 49)]);
    let began = Instant::now();
    assert_eq!(running.stop().counters.forwarded, waiting + 50);
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn what_is_too_long_for_a_datagram_is_dropped_as_such() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let path = directory.path("in");
    let socket = loopback();
    let running = start(Plan::between(unix(&path), udp(&socket)));
    let peer = UnixDatagram::unbound().unwrap();
    for len in [LONGEST_DATAGRAM, LONGEST_DATAGRAM + 1, 69_632, 69_633, 64] {
        peer.send_to(&Probe::default().build(0, len), &path).unwrap();
    }
    peer.send_to(&[], &path).unwrap();
    let mut buffer = vec![0; 70_000];
    assert_eq!(socket.recv(&mut buffer).unwrap(), LONGEST_DATAGRAM);
    assert_eq!(socket.recv(&mut buffer).unwrap(), 64);
    let counters = running.wait_captured(6).counters;
    let lost = [DropReason::TooLong, DropReason::Truncated, DropReason::Malformed]
        .map(|reason| counters.dropped.of(reason));
    assert_eq!((counters.forwarded, lost), (2, [2, 1, 1]), "{counters:?}");
    running.stop();
}

#[test]
fn an_end_that_cannot_be_had_says_why() {
    let Some(_namespace) = enter() else { return };
    let directory = Directory::new();
    let _taps = [tap("tapA"), tap("tapB")];
    let (path, socket) = (directory.path("x"), loopback());
    let code = |plan: Plan| try_start(plan).err().map(|error| error.code());
    assert_eq!(code(from(udp(&socket))), Some("STREAM_IN_USE"));
    let alive = bound(&path);
    assert_eq!(code(from(unix(&path))), Some("STREAM_IN_USE"));
    drop(alive);
    std::fs::remove_file(&path).unwrap();
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(code(from(unix(&path))), Some("STREAM_IN_USE"));
    assert_eq!(code(to(unix(&path))), Some("STREAM_INVALID"), "a stream socket");
    std::fs::write(directory.path("file"), "").unwrap();
    assert_eq!(code(from(unix(&directory.path("file")))), Some("STREAM_INVALID"));
    assert_eq!(code(to(unix(&directory.path("file")))), Some("STREAM_INVALID"));
    let elsewhere = HostPort { host: "192.0.2.1".into(), port: 4000 };
    let end = datagrams(Destination::Udp { to: elsewhere, from: None });
    assert_eq!(code(from(end)), Some("SYSTEM"), "no address of this host");
    let mixed = Destination::Udp {
        to: HostPort { host: "127.0.0.1".into(), port: 4000 },
        from: Some(HostPort { host: "::1".into(), port: 4000 }),
    };
    assert_eq!(code(to(datagrams(mixed))), Some("STREAM_UNREACHABLE"));
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket(), "nobody's socket was removed");
}

#[test]
fn a_local_address_that_cannot_be_sent_from_is_told_from_the_one_that_is_sent_to() {
    let Some(_namespace) = enter() else { return };
    let _a = tap("tapA");
    let at = |host: &str| HostPort { host: host.into(), port: 4000 };
    let end = datagrams(Destination::Udp { to: at("127.0.0.1"), from: Some(at("192.0.2.1")) });
    let error = try_start(to(end)).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "SYSTEM");
    assert!(error.to_string().contains("cannot send from its local address: "), "{error}");
}
