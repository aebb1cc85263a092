//! Rehearsals: both sides learn of each other what the night would bring, and nobody is disturbed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::thread;

use support::raw::{Raw, hello};
use support::{Meeting, PATIENCE, destination, destination_plan, guest, identity, source, source_plan};
use tapferry_handover::rehearsal::visit;
use tapferry_handover::wire::{Message, Refusal, RefusalCode, Role};
use tapferry_handover::{Encounter, EventKind, Identity, Rehearsal, Weight};
use tapferry_redirect::{Address, Netdev, StreamPlan};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::tap::{Tap, TapOptions};

/// A look from tapA, the source's.
fn look(meeting: &Meeting, identity: &Identity) -> Encounter {
    visit(&Netdev::here("tapA").unwrap(), identity, &meeting.stream(false)).unwrap()
}

/// One that waits for looks at tapB, the destination's.
fn rehearsal(meeting: &Meeting) -> Rehearsal {
    let netdevs = vec![(Netdev::here("tapB").unwrap(), identity())];
    Rehearsal::open(&meeting.stream(true), netdevs).unwrap()
}

fn codes(encounter: &Encounter) -> Vec<&'static str> {
    encounter.differences.iter().map(|difference| difference.code).collect()
}

/// Clocks of one host agree, and a round trip within it is short.
fn assert_measured(encounter: &Encounter) {
    assert!(encounter.round_trip_ns.unwrap() < 1_000_000_000, "{encounter:?}");
    assert!(encounter.clock_offset_ns.unwrap().abs() < 1_000_000_000, "{encounter:?}");
}

#[test]
fn two_that_rehearse_learn_the_same_of_each_other() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _here = Tap::create("tapA", &TapOptions { mtu: 9000, ..TapOptions::like_qemu() }).unwrap();
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let rehearsal = rehearsal(&meeting);

    let here = look(&meeting, &identity());
    let there = rehearsal.next(PATIENCE).unwrap();
    for (encounter, mtu) in [(&here, 1500), (&there, 9000)] {
        let peer = encounter.peer.as_ref().unwrap();
        assert_eq!((peer.role, peer.mtu, peer.vnet_hdr), (Role::Rehearsal, mtu, Some(true)));
        assert_eq!(peer.tapferry, env!("CARGO_PKG_VERSION"));
        assert_eq!(encounter.netdev.as_deref(), Some("hn0"));
        assert_measured(encounter);
    }
    assert_eq!(codes(&here), ["mtu_smaller"]);
    assert_eq!(here.differences, there.differences);
}

#[test]
fn an_armed_destination_answers_and_goes_on_as_if_nobody_had_come() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let before = destination.told.events().len();

    let armed = look(&meeting, &identity());
    assert_eq!((codes(&armed), armed.peer.as_ref().unwrap().role), (vec![], Role::Destination));
    assert_measured(&armed);
    assert_eq!(destination.told.events().len(), before, "{:#?}", destination.told.events());

    let source = source(source_plan(&meeting, "tapA"));
    source.told.wait_kind(EventKind::Ready);
    destination.told.wait_kind(EventKind::Ready);
    let busy = look(&meeting, &identity());
    assert_eq!(codes(&busy), [""; 0], "a source that is connected is in nobody's way");
    for told in [&source.told, &destination.told] {
        assert_eq!((told.count(EventKind::LinkLost), told.count(EventKind::PeerRefused)), (0, 0));
    }
}

#[test]
fn another_vm_and_a_netdev_that_is_not_there_are_faults_on_both_sides() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let rehearsal = rehearsal(&meeting);
    for (identity, code, words) in [
        (Identity { vm_uuid: [8; 16], vm_name: "db1".into(), ..identity() }, "other_vm", "VM 'db1'"),
        (Identity { mac: [2; 6], netdev_id: "hn9".into(), ..identity() }, "unknown_netdev", "'hn9'"),
    ] {
        for encounter in [look(&meeting, &identity), rehearsal.next(PATIENCE).unwrap()] {
            let [difference] = &encounter.differences[..] else { panic!("{encounter:?}") };
            assert_eq!((difference.code, difference.weight), (code, Weight::Fault));
            assert!(difference.message.contains(words), "{difference:?}");
        }
    }
}

#[test]
fn a_source_that_is_armed_is_looked_at_and_goes_on_looking_for_its_destination() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_here, _there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let rehearsal = rehearsal(&meeting);
    let source = source(source_plan(&meeting, "tapA"));
    let encounter = rehearsal.next(PATIENCE).unwrap();
    assert_eq!((codes(&encounter), encounter.peer.as_ref().unwrap().role), (vec![], Role::Source));
    let warning = source.told.wait_code("peer_refuses");
    assert!(warning.message.contains("only rehearses"), "{warning:?}");

    rehearsal.stop();
    let _destination = destination(&meeting, destination_plan("tapB"));
    source.told.wait_kind(EventKind::Ready);
}

/// What a look at somebody comes to who does this to the connection.
fn look_at(somebody: impl FnOnce(Raw) + Send) -> Option<Encounter> {
    let _namespace = Namespace::enter_or_skip()?;
    let _here = guest("tapA");
    let meeting = Meeting::new();
    let listener = UnixListener::bind(meeting.path()).unwrap();
    Some(thread::scope(|scope| {
        scope.spawn(move || somebody(Raw::from(listener.accept().unwrap().0)));
        look(&meeting, &identity())
    }))
}

#[test]
fn whoever_is_no_destination_of_ours_is_named() {
    let Some(encounter) = look_at(|mut peer| {
        peer.stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    }) else {
        return;
    };
    assert_eq!(codes(&encounter), ["peer_foreign"]);
    assert!(encounter.differences[0].message.contains("an SSH banner"), "{encounter:?}");
}

#[test]
fn a_tapferry_of_another_version_is_named() {
    let Some(encounter) = look_at(|mut peer| {
        peer.stream.write_all(b"\0\0\0\x0b\x01TAPFERRY\0\x02").unwrap();
    }) else {
        return;
    };
    assert_eq!(codes(&encounter), ["peer_version"]);
    assert!(encounter.differences[0].message.contains("speaks version 2"), "{encounter:?}");
}

#[test]
fn whoever_refuses_is_named_by_the_reason() {
    use RefusalCode::{Busy, Role as SameSide, State};
    for (code, name) in [(SameSide, "peer_same_side"), (Busy, "peer_busy"), (State, "peer_busy")] {
        let refusal = Message::Refusal(Refusal { code, text: "not you".into() });
        let Some(encounter) = look_at(move |mut peer| peer.say(&refusal)) else { return };
        assert_eq!(codes(&encounter), [name]);
        assert_eq!(encounter.differences[0].message, "the destination refuses: not you");
    }
}

#[test]
fn a_destination_that_no_way_leads_to_is_a_fault() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _here = guest("tapA");
    // There is no route in a namespace of one's own.
    let address = Address::Tcp { host: "192.0.2.1".into(), port: 4000, server: false };
    let to = StreamPlan { address, ..Meeting::new().stream(false) };
    let encounter = visit(&Netdev::here("tapA").unwrap(), &identity(), &to).unwrap();
    let [difference] = &encounter.differences[..] else { panic!("{encounter:?}") };
    assert_eq!((difference.code, difference.weight), ("way_silent", Weight::Fault));
}

#[test]
fn that_nobody_is_there_is_told_and_no_fault_of_the_source() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _here = guest("tapA");
    let encounter = look(&Meeting::new(), &identity());
    let [difference] = &encounter.differences[..] else { panic!("{encounter:?}") };
    assert_eq!((difference.code, difference.weight), ("way_refused", Weight::Cost));
}

#[test]
fn one_that_goes_in_the_midst_of_it_is_a_fault() {
    let Some(encounter) = look_at(drop) else { return };
    assert_eq!(codes(&encounter), ["peer_lost"]);
}

#[test]
fn one_that_rehearses_may_say_nothing_of_frames() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let rehearsal = rehearsal(&meeting);
    let mut peer = Raw::connect(&meeting);
    peer.say(&Message::Hello(hello(Role::Rehearsal, &identity())));
    assert!(matches!(peer.next(), Some(Message::Hello(_))));
    peer.say(&Message::Stopped { at_ns: 1 });
    assert_eq!(peer.next(), None);
    let encounter = rehearsal.next(PATIENCE).unwrap();
    assert_eq!((encounter.round_trip_ns, encounter.peer.unwrap().mtu), (None, 1500));
}
