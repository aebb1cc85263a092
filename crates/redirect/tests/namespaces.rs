//! Interfaces in other network namespaces than the one the redirector is started in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{BOTH, PATIENCE, send, start, tap, try_start};
use tapferry_redirect::counters::Engine;
use tapferry_redirect::{End, EventKind, Latency, Netdev, Plan};
use tapferry_sys::namespace::Namespace as Place;
use tapferry_testbed::namespace::{Handle, Namespace};
use tapferry_testbed::reader::Reader;

/// A namespace with a TAP whose guest reads, and the way there: the testbed's for senders, ours for plans.
struct Room {
    way: Handle,
    place: Place,
    guest: Reader,
}

impl Room {
    fn with_tap(name: &str) -> Self {
        let inside = Namespace::enter_new().unwrap();
        let guest = Reader::on_tap(tap(name));
        Self { way: inside.handle(), place: Place::own().unwrap(), guest }
    }

    fn netdev(&self, name: &str) -> Netdev {
        Netdev { namespace: Some(self.place.clone()), ..Netdev::here(name).unwrap() }
    }
}

fn between(input: &Room, output: &Room, latency: Latency) -> Plan {
    Plan {
        input: End::Netdev(input.netdev("tap0")),
        output: End::Netdev(output.netdev("tap0")),
        latency,
        ..Plan::new("tap0", "tap0").unwrap()
    }
}

#[test]
fn frames_go_from_one_namespace_to_another_whose_interfaces_bear_the_same_name() {
    let Some(_home) = Namespace::enter_or_skip() else { return };
    let home = Place::own().unwrap();
    for latency in BOTH {
        let (input, output) = (Room::with_tap("tap0"), Room::with_tap("tap0"));
        let running = start(between(&input, &output, latency));
        let inside = input.way.enter().unwrap();
        send("tap0", 0..300);
        drop(inside);
        running.wait_captured(300);
        assert_eq!(output.guest.wait_for(300, PATIENCE).ranges(0), [(0, 299)], "{latency:?}");
        assert_eq!(running.stop().counters.forwarded, 300);
        assert_eq!(Place::own().unwrap(), home, "who starts a redirector stays where they are");
    }
}

#[test]
fn one_end_may_be_where_the_redirector_is_started() {
    let Some(home) = Namespace::enter_or_skip() else { return };
    let (a, room) = (Reader::on_tap(tap("tapA")), Room::with_tap("tap0"));
    let there =
        start(Plan { output: End::Netdev(room.netdev("tap0")), ..Plan::new("tapA", "tap0").unwrap() });
    send("tapA", 0..10);
    there.wait_captured(10);
    assert_eq!(room.guest.wait_for(10, PATIENCE).ranges(0), [(0, 9)]);
    there.stop();
    let back = start(Plan { input: End::Netdev(room.netdev("tap0")), ..Plan::new("tap0", "tapA").unwrap() });
    let inside = room.way.enter().unwrap();
    send("tap0", 10..20);
    drop(inside);
    back.wait_captured(10);
    assert_eq!(a.wait_for(20, PATIENCE).ranges(0), [(0, 19)]);
    back.stop();
    drop(home);
}

#[test]
fn interfaces_that_come_back_and_a_move_to_the_ring_find_their_namespace() {
    let Some(_home) = Namespace::enter_or_skip() else { return };
    let (input, mut output) = (Room::with_tap("tap0"), Room::with_tap("tap0"));
    let running = start(between(&input, &output, Latency::Balanced));
    {
        let _inside = output.way.enter().unwrap();
        drop(output.guest);
        running.wait_told(EventKind::OutputMissing, 1);
        output.guest = Reader::on_tap(tap("tap0"));
    }
    running.wait_told(EventKind::OutputBack, 1);
    let _inside = input.way.enter().unwrap();
    for burst in 0..20 {
        send("tap0", burst * 250..(burst + 1) * 250);
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    running.wait_until("moving to the ring", |statistics| statistics.engine == Engine::Ring);
    running.wait_captured(5000);
    assert_eq!(output.guest.wait_for(5000, PATIENCE).ranges(0), [(0, 4999)]);
    running.stop();
}

#[test]
fn an_interface_is_missed_in_its_own_namespace_alone() {
    let Some(_home) = Namespace::enter_or_skip() else { return };
    let (_here, room) = (tap("tapA"), Room::with_tap("tap0"));
    let error =
        try_start(Plan { input: End::Netdev(room.netdev("tapA")), ..Plan::new("tapA", "tapA").unwrap() });
    assert!(error.is_err_and(|error| error.code() == "NETDEV_NOT_FOUND"));
}
