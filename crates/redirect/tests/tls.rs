//! Streams with TLS: frames, what is counted when a peer goes, strangers, and certificates that are renewed under way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{Directory, PATIENCE, Running, netdev, roomy_tap, start, stream, tap, try_start};
use tapferry_redirect::{Address, DropReason, End, EventKind, Plan, StreamPlan};
use tapferry_testbed::certificates::{self, Authority, Terms};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_tls::{Channel, Credentials, Side};

fn credentials(directory: &Directory, name: &str) -> PathBuf {
    let path = directory.path(name);
    certificates::make(&path, &Terms::default()).unwrap();
    path
}

fn free_port() -> u16 {
    link::set_up("lo").unwrap();
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn secure(port: u16, server: bool, creds: &Path) -> StreamPlan {
    let address = Address::Tcp { host: "localhost".into(), port, server };
    StreamPlan { tls_creds: Some(creds.to_owned()), ..stream(address) }
}

fn from_tap(to: StreamPlan) -> Plan {
    Plan::between(netdev("tapA"), End::Stream(to))
}

fn to_tap(from: StreamPlan) -> Plan {
    Plan::between(End::Stream(from), netdev("tapB"))
}

fn send(frames: std::ops::Range<u64>) {
    Sender::open("tapA").unwrap().send_probes(&Probe::default(), 1514, frames).unwrap();
}

/// A client of a redirector that listens, as another tapferry would be, and reads nothing by itself.
fn dial(port: u16, creds: &Path) -> Channel {
    let credentials = Credentials::open(creds, Side::Client).unwrap();
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut channel = Channel::client(socket.into(), &credentials, "localhost").unwrap();
    channel.establish(PATIENCE).unwrap();
    channel
}

fn warned(running: &Running) -> Vec<&'static str> {
    running.events().iter().filter_map(|event| event.code).collect()
}

#[test]
fn frames_pass_between_two_redirectors_whichever_listens() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let creds = credentials(&directory, "creds");
    let _a = Reader::on_tap(tap("tapA"));
    let b = Reader::on_tap(roomy_tap("tapB"));
    for output_listens in [true, false] {
        let port = free_port();
        let (output, input) =
            (from_tap(secure(port, output_listens, &creds)), to_tap(secure(port, !output_listens, &creds)));
        let (first, second) = if output_listens {
            let first = start(output);
            (first, start(input))
        } else {
            let second = start(input);
            (start(output), second)
        };
        let listens =
            if output_listens { (&first, EventKind::OutputBack) } else { (&second, EventKind::InputBack) };
        listens.0.wait_told(listens.1, 1);
        send(0..1_000);
        second.wait_captured(1_000);
        assert_eq!(first.stop().counters.forwarded, 1_000);
        let counters = second.stop().counters;
        assert_eq!((counters.captured, counters.forwarded), (1_000, 1_000));
        assert_eq!(b.wait_for(1_000, PATIENCE).ranges(0), [(0, 999)]);
        b.clear();
    }
}

#[test]
fn what_was_encrypted_and_not_sent_is_held_and_dropped_once_when_the_peer_goes() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let creds = credentials(&directory, "creds");
    let _a = Reader::on_tap(tap("tapA"));
    let port = free_port();
    let running = start(from_tap(secure(port, true, &creds)));
    let peer = dial(port, &creds);
    running.wait_told(EventKind::OutputBack, 1);
    // More than both sockets take.
    for batch in 0..10 {
        send(batch * 1_000..(batch + 1) * 1_000);
    }
    let stuck = running.wait_until("everything to be taken in", |statistics| {
        statistics.counters.captured == 10_000 && statistics.counters.held > 0
    });
    drop(peer);
    let counters = running.wait_until("letting go", |statistics| statistics.counters.held == 0).counters;
    assert_eq!(counters.dropped.of(DropReason::NoPeer), stuck.counters.held, "{counters:?}");
    assert_eq!(counters.forwarded, stuck.counters.forwarded);
    running.stop();
}

#[test]
fn strangers_are_told_of_once_and_do_not_keep_the_peer_out() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (creds, others) = (credentials(&directory, "creds"), credentials(&directory, "others"));
    let b = Reader::on_tap(tap("tapB"));
    let port = free_port();
    let running = start(to_tap(secure(port, true, &creds)));
    let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    for _ in 0..3 {
        let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        plain.write_all(&[0, 0, 0, 60]).unwrap();
    }
    running.wait_until("counting them", |statistics| statistics.tls_failures == 3);
    assert_eq!(warned(&running), ["TLS_PLAIN_PEER"]);
    let stranger = Credentials::open(&others, Side::Client).unwrap();
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut stranger = Channel::client(socket.into(), &stranger, "localhost").unwrap();
    assert_eq!(stranger.establish(PATIENCE).unwrap_err().code(), "TLS_UNKNOWN_CA");
    running.wait_until("counting it", |statistics| statistics.tls_failures == 4);
    assert_eq!(warned(&running), ["TLS_PLAIN_PEER", "TLS_REFUSED"]);
    let mut peer = dial(port, &creds);
    running.wait_told(EventKind::InputBack, 1);
    let record = [&60_u32.to_be_bytes()[..], &[0xff; 60]].concat();
    assert!(peer.send(&[std::io::IoSlice::new(&record)]).unwrap().is_out);
    running.wait_captured(1);
    assert_eq!(running.stop().counters.forwarded, 1);
    drop((silent, b));
}

#[test]
fn a_client_whose_server_does_not_suit_it_fails_at_the_start_and_with_wait_tells_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let (creds, others) = (credentials(&directory, "creds"), credentials(&directory, "others"));
    let (_a, _b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let port = free_port();
    let server = start(to_tap(secure(port, true, &others)));
    let error = try_start(from_tap(secure(port, false, &creds))).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "TLS_UNKNOWN_CA");
    let patient = start(Plan { wait: true, ..from_tap(secure(port, false, &creds)) });
    patient.wait_until("trying twice", |statistics| statistics.tls_failures >= 2);
    assert_eq!(warned(&patient), ["TLS_UNKNOWN_CA"]);
    patient.stop();
    server.stop();
}

#[test]
fn certificates_are_renewed_without_losing_a_frame() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let creds = credentials(&directory, "creds");
    let _a = Reader::on_tap(tap("tapA"));
    let b = Reader::on_tap(roomy_tap("tapB"));
    let port = free_port();
    let second = start(to_tap(secure(port, true, &creds)));
    let first = start(from_tap(secure(port, false, &creds)));
    second.wait_told(EventKind::InputBack, 1);
    let mut sent = 0;
    Authority::of(&creds).unwrap().write(&creds, &Terms::default()).unwrap();
    while first.told(EventKind::CredentialsRenewed) + second.told(EventKind::CredentialsRenewed) < 2 {
        send(sent..sent + 10);
        sent += 10;
        std::thread::sleep(Duration::from_millis(10));
    }
    send(sent..sent + 10);
    second.wait_captured(sent + 10);
    assert_eq!(b.wait_for(sent + 10, PATIENCE).ranges(0), [(0, sent + 9)]);
    assert_eq!(first.stop().counters.dropped.total() + second.stop().counters.dropped.total(), 0);
}

#[test]
fn a_renewal_of_no_use_is_warned_of_and_peers_still_come() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let creds = credentials(&directory, "creds");
    let _b = Reader::on_tap(tap("tapB"));
    let port = free_port();
    let running = start(to_tap(secure(port, true, &creds)));
    std::fs::write(creds.join("server-key.pem"), "half a fi").unwrap();
    running.wait_told(EventKind::Warning, 1);
    assert_eq!(warned(&running), ["TLS_NOT_RENEWED"]);
    let peer = dial(port, &creds);
    running.wait_told(EventKind::InputBack, 1);
    running.stop();
    drop(peer);
}

#[test]
fn without_a_host_there_is_no_name_to_verify() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = Directory::new();
    let creds = credentials(&directory, "creds");
    let _a = Reader::on_tap(tap("tapA"));
    let listener = std::os::unix::net::UnixListener::bind(directory.path("s")).unwrap();
    let plan = StreamPlan { tls_creds: Some(creds), ..support::client(&directory.path("s")) };
    assert_eq!(try_start(from_tap(plan)).map(|_| ()).unwrap_err().code(), "STREAM_INVALID");
    drop(listener);
}
