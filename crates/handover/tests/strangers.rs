//! Whoever connects and is not the source that the VM comes from: refused with a reason, and in nobody's way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use support::raw::{Raw, hello};
use support::{Meeting, Side, destination, destination_plan, guest, identity, source, source_plan};
use tapferry_handover::wire::{Hello, Message, RefusalCode, Role};
use tapferry_handover::{Destination, EventKind, Identity};
use tapferry_testbed::namespace::Namespace;

/// A destination that somebody visits before its source comes.
fn visited(visit: impl FnOnce(&Meeting, &Side<Destination>)) {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));

    visit(&meeting, &destination);
    assert_eq!(destination.told.count(EventKind::PeerRefused), 1, "{:#?}", destination.told.events());

    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    destination.told.wait_kind(EventKind::Ready);
    assert_eq!(source.told.count(EventKind::Warning), source.told.count_code("tap_not_held"));
    assert_eq!(destination.told.count(EventKind::PeerRefused), 1);
}

fn told_of(destination: &Side<Destination>, words: &str) {
    let event = destination.told.wait_kind(EventKind::PeerRefused);
    assert!(event.message.contains(words), "{}", event.message);
}

/// A source like ours says this hello, and is refused with this code.
fn refused(hello: Hello, code: RefusalCode, words: &str) {
    visited(|meeting, destination| {
        let mut peer = Raw::connect(meeting);
        peer.say(&Message::Hello(hello));
        assert_eq!(peer.refusal().code, code);
        told_of(destination, words);
    });
}

#[test]
fn a_port_scanner_comes_and_goes() {
    visited(|meeting, destination| {
        drop(UnixStream::connect(meeting.path()).unwrap());
        told_of(destination, "closed before it said who it is");
    });
}

#[test]
fn one_that_comes_again_and_again_is_told_of_once() {
    visited(|meeting, destination| {
        for _ in 0..20 {
            drop(UnixStream::connect(meeting.path()).unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        told_of(destination, "closed before it said who it is");
    });
}

#[test]
fn somebody_who_says_nothing_is_sent_away() {
    visited(|meeting, destination| {
        let mut peer = Raw::connect(meeting);
        assert!(peer.is_closed_without_a_word());
        told_of(destination, "has not said who it is for 5 s");
    });
}

#[test]
fn a_browser_gets_no_answer() {
    visited(|meeting, destination| {
        let mut peer = Raw::connect(meeting);
        peer.stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        assert!(peer.is_closed_without_a_word());
        told_of(destination, "this is an HTTP request");
    });
}

#[test]
fn a_tapferry_of_another_version_is_told_both_versions() {
    visited(|meeting, destination| {
        let mut peer = Raw::connect(meeting);
        peer.stream.write_all(b"\0\0\0\x0b\x01TAPFERRY\0\x02").unwrap();
        let refusal = peer.refusal();
        assert_eq!(refusal.code, RefusalCode::Version);
        assert!(refusal.text.contains("speaks version 2"), "{refusal:?}");
        told_of(destination, "speaks version 2");
    });
}

#[test]
fn words_that_mean_nothing_are_malformed() {
    visited(|meeting, destination| {
        let mut peer = Raw::connect(meeting);
        peer.stream.write_all(b"\0\0\0\x0b\x01TAPFERRY\0\x01").unwrap();
        assert_eq!(peer.refusal().code, RefusalCode::Malformed);
        told_of(destination, "a connection was refused");
    });
}

#[test]
fn a_source_with_another_vm_is_refused() {
    let identity = Identity { vm_uuid: [8; 16], vm_name: "db1".into(), ..identity() };
    refused(hello(Role::Source, &identity), RefusalCode::OtherVm, "VM 'db1'");
}

#[test]
fn a_source_of_an_unknown_netdev_is_refused() {
    let identity = Identity { mac: [2, 0, 0, 0, 0, 9], netdev_id: "hn9".into(), ..identity() };
    refused(hello(Role::Source, &identity), RefusalCode::UnknownNetdev, "'hn9'");
}

#[test]
fn a_netdev_of_the_same_id_with_another_address_is_another() {
    let identity = Identity { mac: [2, 0, 0, 0, 0, 9], ..identity() };
    refused(hello(Role::Source, &identity), RefusalCode::UnknownNetdev, "'hn0'");
}

#[test]
fn another_destination_is_refused() {
    refused(hello(Role::Destination, &identity()), RefusalCode::Role, "is a destination as well");
}

#[test]
fn a_source_that_breaks_off_its_words_is_told_so_and_may_come_again() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    for _ in 0..2 {
        let mut peer = Raw::source(&meeting);
        peer.stream.write_all(&[0, 0, 0, 1, 99]).unwrap();
        assert_eq!(peer.refusal().code, RefusalCode::Malformed);
    }
    let event = destination.told.wait_kind(EventKind::LinkLost);
    assert!(event.message.contains("unknown type 99"), "{}", event.message);
}

#[test]
fn a_second_source_waits_for_the_first_to_go() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let first = Raw::source(&meeting);

    let mut second = Raw::connect(&meeting);
    second.say(&Message::Hello(Hello { session: 2, ..hello(Role::Source, &identity()) }));
    assert_eq!(second.refusal().code, RefusalCode::Busy);
    told_of(&destination, "another source is connected");
    let source = source(source_plan(&meeting, "tapA"));
    let event = source.told.wait_kind(EventKind::Warning);
    assert_eq!(event.code, Some("peer_refuses"));

    drop(first);
    source.told.wait_kind(EventKind::Ready);
    destination.told.wait_kind(EventKind::LinkBack);
    assert_eq!(source.told.count_code("peer_refuses"), 1);
}

#[test]
fn another_source_is_refused_once_the_vm_of_the_first_has_stopped() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let mut first = Raw::source(&meeting);
    first.say(&Message::Stopped { at_ns: 1 });
    destination.told.wait_state("parked");
    drop(first);
    destination.told.wait_kind(EventKind::LinkLost);

    let mut second = Raw::connect(&meeting);
    second.say(&Message::Hello(Hello { session: 2, ..hello(Role::Source, &identity()) }));
    assert_eq!(second.refusal().code, RefusalCode::State);
    told_of(&destination, "under way or over");
}

#[test]
fn a_source_that_comes_when_all_is_over_is_told_so() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    destination.handle.gone();
    destination.ended();
    // Its thread is about to end.
    std::thread::sleep(Duration::from_millis(100));

    let mut late = Raw::connect(&meeting);
    late.say(&Message::Hello(hello(Role::Source, &identity())));
    assert_eq!(late.refusal().code, RefusalCode::State);
    told_of(&destination, "is over");
}

#[test]
fn a_source_that_finds_a_source_says_so_on_both_sides_and_goes_on_looking() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let listener = UnixListener::bind(meeting.path()).unwrap();
    let source = source(source_plan(&meeting, "tapA"));
    for _ in 0..2 {
        let mut other = Raw::from(listener.accept().unwrap().0);
        assert!(matches!(other.next(), Some(Message::Hello(_))));
        other.say(&Message::Hello(hello(Role::Source, &identity())));
        assert_eq!(other.refusal().code, RefusalCode::Role);
    }
    let event = source.told.wait_kind(EventKind::Warning);
    assert_eq!((event.code, source.told.count_code("peer_refuses")), (Some("peer_refuses"), 1));
    assert!(event.message.contains("is a source as well"), "{}", event.message);

    drop(listener);
    std::fs::remove_file(meeting.path()).unwrap();
    let destination = destination(&meeting, destination_plan("tapB"));
    source.told.wait_kind(EventKind::Ready);
    destination.told.wait_kind(EventKind::Ready);
}
