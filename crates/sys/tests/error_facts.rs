//! Interfaces that go down, vanish and come back: what sockets report, and what revives them.

mod support;

use std::time::Duration;

use rustix::event::PollFlags;
use support::{
    BOTH, Capture, MARK, PATIENCE, Way, events, events_now, ifindex, injector, name, numbers, plain, send,
    tap, tap_with, wait_until,
};
use tapferry_sys::Errno;
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::inject::Injector;
use tapferry_sys::netdev::{self, IfIndex};
use tapferry_sys::packet::{Binding, PacketSocket};
use tapferry_sys::receive::Receiver;
use tapferry_sys::ring::{Geometry, Ring};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::tap::TapOptions;

/// A socket with an error has something to say at once.
fn assert_reports_an_error(capture: &Capture) {
    assert!(events(capture.socket(), Duration::from_secs(1)).contains(PollFlags::ERR), "{capture:?}");
}

fn assert_captures(capture: &mut Capture, sequences: std::ops::Range<u64>) {
    send("tapA", sequences.clone());
    let expected: Vec<_> = sequences.collect();
    assert_eq!(numbers(&capture.take(expected.len())), expected);
}

#[test]
fn a_receiver_is_told_once_that_its_interface_went_down_and_goes_on_when_it_is_up() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut capture = Capture::open(Way::Receiver, "tapA");
    assert_captures(&mut capture, 0..10);
    link::set_down("tapA").unwrap();
    assert_reports_an_error(&capture);
    assert_eq!(capture.fill(), Err(Errno::NETDOWN));
    assert_eq!(capture.fill(), Ok(false), "only once");
    assert_eq!(events_now(capture.socket()), PollFlags::empty());
    link::set_up("tapA").unwrap();
    assert_captures(&mut capture, 10..20);
}

#[test]
fn frames_received_before_the_interface_went_down_follow_the_error() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        send("tapA", 0..10);
        link::set_down("tapA").unwrap();
        if way == Way::Receiver {
            assert_eq!(capture.fill(), Err(Errno::NETDOWN));
        }
        assert_eq!(numbers(&capture.take(10)), (0..10).collect::<Vec<_>>(), "{way:?}");
        link::set_up("tapA").unwrap();
    }
}

#[test]
fn a_ring_reports_an_error_until_it_is_taken_and_goes_on_when_the_interface_is_up() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut capture = Capture::open(Way::Ring, "tapA");
    assert_captures(&mut capture, 0..10);
    link::set_down("tapA").unwrap();
    for _ in 0..3 {
        assert_reports_an_error(&capture);
        assert_eq!(capture.fill(), Ok(false));
    }
    assert_eq!(capture.socket().take_error(), Err(Errno::NETDOWN));
    assert_eq!(capture.socket().take_error(), Ok(()), "only once");
    assert!(!events_now(capture.socket()).contains(PollFlags::ERR));
    link::set_up("tapA").unwrap();
    assert_captures(&mut capture, 10..20);
}

#[test]
fn sending_into_an_interface_that_is_down_fails_until_it_is_up() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let mut injector = injector("tapA");
    let frame = Probe::default().build(0, 64);
    link::set_down("tapA").unwrap();
    for _ in 0..3 {
        assert_eq!(injector.send(&[plain(&frame)]), Err(Errno::NETDOWN));
    }
    link::set_up("tapA").unwrap();
    assert_eq!(injector.send(&[plain(&frame)]), Ok(1));
    assert_eq!(guest.wait_for(1, PATIENCE).frames, 1);
}

#[test]
fn a_socket_that_only_sends_is_told_nothing_by_poll() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let injector = injector("tapA");
    link::set_down("tapA").unwrap();
    assert_eq!(injector.socket().take_error(), Ok(()));
    assert!(!events_now(&injector).contains(PollFlags::ERR), "LinkWatch and send tell it instead");
    let down = PacketSocket::open().unwrap();
    down.bind(ifindex("tapA"), Binding::SendOnly).unwrap();
    assert_eq!(down.take_error(), Ok(()));
}

#[test]
fn a_deleted_interface_leaves_a_dead_capture_that_a_bind_revives() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for way in BOTH {
        let guest = tap("tapA");
        let mut capture = Capture::open(way, "tapA");
        assert_captures(&mut capture, 0..10);
        let old = ifindex("tapA");
        drop(guest);
        assert_reports_an_error(&capture);
        assert_eq!(capture.socket().take_error(), Err(Errno::NETDOWN), "{way:?}");
        assert_eq!(capture.fill(), Ok(false), "then it is silent");
        assert_eq!(events_now(capture.socket()), PollFlags::empty(), "{way:?}");
        assert_eq!(capture.socket().bind(old, Binding::Capture), Err(Errno::NODEV), "{way:?}");

        let _guest = Reader::on_tap(tap("tapA"));
        assert_ne!(ifindex("tapA"), old);
        send("tapA", 10..20);
        assert_eq!(capture.rest(), [], "{way:?}: the same name is not the same interface");
        let found = netdev::ifindex(capture.socket(), &name("tapA")).unwrap();
        assert_eq!(found, ifindex("tapA"));
        capture.socket().bind(found, Binding::Capture).unwrap();
        assert_captures(&mut capture, 20..30);
    }
}

#[test]
fn a_deleted_interface_leaves_a_dead_sender_that_a_bind_revives() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let old = tap("tapA");
    let mut injector = injector("tapA");
    let frame = Probe::default().build(0, 64);
    assert_eq!(injector.send(&[plain(&frame)]), Ok(1));
    drop(old);
    assert_eq!(injector.send(&[plain(&frame)]), Err(Errno::NXIO));
    let guest = Reader::on_tap(tap("tapA"));
    assert_eq!(injector.send(&[plain(&frame)]), Err(Errno::NXIO));
    injector.socket().bind(ifindex("tapA"), Binding::SendOnly).unwrap();
    assert_eq!(injector.send(&[plain(&frame)]), Ok(1));
    assert_eq!(guest.wait_for(1, PATIENCE).frames, 1);
}

#[test]
fn a_filter_and_its_counts_survive_a_new_bind() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for way in BOTH {
        let first = tap("tapA");
        let mut capture = Capture::open(way, "tapA");
        assert_captures(&mut capture, 0..10);
        drop(first);
        let guest = tap("tapA");
        capture.socket().take_error().ok();
        capture.socket().bind(ifindex("tapA"), Binding::Capture).unwrap();
        guest.write_plain(&Probe::default().build(99, 64)).unwrap();
        assert_captures(&mut capture, 10..20);
        assert_eq!(capture.packets(), 20, "{way:?}");
    }
}

#[test]
fn a_capture_bound_to_an_interface_that_is_down_says_so_and_starts_with_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap_with("tapA", &TapOptions { up: false, ..TapOptions::like_qemu() }));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        assert_reports_an_error(&capture);
        assert_eq!(capture.socket().take_error(), Err(Errno::NETDOWN), "{way:?}");
        link::set_up("tapA").unwrap();
        assert_captures(&mut capture, 0..10);
        link::set_down("tapA").unwrap();
    }
}

#[test]
fn a_renamed_interface_keeps_its_sockets() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapB"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapB");
        let mut injector = Injector::open(&name("tapB"), MARK + 1).unwrap();
        link::ip("link set tapB name tapA").unwrap();
        assert_captures(&mut capture, 0..10);
        let frame = Probe::default().build(10, 64);
        assert_eq!(injector.send(&[plain(&frame)]), Ok(1));
        assert_eq!(numbers(&capture.take(1)), [10], "{way:?}");
        link::ip("link set tapA name tapB").unwrap();
    }
}

#[test]
fn opening_on_a_missing_interface_says_that_there_is_no_such_device() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (missing, filter) = (name("tapX"), Program::capture(Direction::Both, MARK));
    let errors = [
        Ring::open(&missing, &filter, Geometry::DEFAULT).map(drop).unwrap_err(),
        Receiver::open(&missing, &filter).map(drop).unwrap_err(),
        Injector::open(&missing, MARK).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.errno, error.object.as_str()), (Errno::NODEV, "tapX"));
        assert_eq!(error.to_string(), "failed to resolve ifindex for 'tapX': No such device (os error 19)");
    }
}

#[test]
fn binding_to_a_number_that_no_interface_has_fails() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let missing = IfIndex::from_netlink(4711).unwrap();
    for binding in [Binding::Capture, Binding::SendOnly] {
        assert_eq!(PacketSocket::open().unwrap().bind(missing, binding), Err(Errno::NODEV));
    }
}

#[test]
fn a_socket_belongs_to_the_namespace_it_was_opened_in() {
    let Some(_here) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        let elsewhere = Namespace::enter_new().unwrap();
        assert_eq!(netdev::ifindex(PacketSocket::open().unwrap(), &name("tapA")), Err(Errno::NODEV));
        let found = netdev::ifindex(capture.socket(), &name("tapA")).unwrap();
        capture.socket().bind(found, Binding::Capture).unwrap();
        drop(elsewhere);
        assert_captures(&mut capture, 0..10);
    }
}

#[test]
fn promiscuous_mode_lasts_as_long_as_its_socket() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("nic", "peer").unwrap();
    let promiscuity = |expected: &str| link::ip("-d link show nic").unwrap().contains(expected);
    for way in BOTH {
        let capture = Capture::with(way, "nic", Direction::Incoming, MARK);
        assert!(promiscuity("promiscuity 0 "), "{way:?}");
        capture.socket().join_promiscuous(ifindex("nic")).unwrap();
        assert!(promiscuity("promiscuity 1 "), "{way:?}");
        drop(capture);
        // A command started by another test may hold a copy of the descriptor for a moment.
        wait_until("leaving promiscuous mode", || promiscuity("promiscuity 0 "));
    }
}
