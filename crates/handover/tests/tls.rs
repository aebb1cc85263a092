//! A handover over TLS: the same frames, and strangers who are told from the real ones in one line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use support::{
    Meeting, Side, Told, assert_once_in_order, destination_plan, guest, identity, send, source, source_plan,
};
use tapferry_handover::rehearsal::visit;
use tapferry_handover::{Destination, EventKind, Outcome, Rehearsal, SourcePlan, Weight};
use tapferry_redirect::{Address, Netdev, StreamPlan};
use tapferry_testbed::certificates::{self, Terms};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;

/// Credentials of both sides, of a CA of their own.
fn credentials(meeting: &Meeting, name: &str) -> PathBuf {
    let path = meeting.path().with_file_name(name);
    certificates::make(&path, &Terms::default()).unwrap();
    path
}

fn free_port() -> u16 {
    link::set_up("lo").unwrap();
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn way(port: u16, server: bool, tls_creds: Option<&Path>) -> StreamPlan {
    StreamPlan {
        address: Address::Tcp { host: "localhost".into(), port, server },
        vnet_hdr: false,
        vnet_hdr_len: None,
        namespace: None,
        tls_creds: tls_creds.map(Path::to_owned),
    }
}

fn destination(port: u16, tls_creds: &Path) -> Side<Destination> {
    let told = Told::default();
    let from = way(port, true, Some(tls_creds));
    let handle = Destination::start(&from, vec![destination_plan("tapB")], &told.observer()).unwrap();
    Side { handle, told }
}

fn plan_to(meeting: &Meeting, port: u16, tls_creds: Option<&Path>) -> SourcePlan {
    SourcePlan { to: way(port, false, tls_creds), ..source_plan(meeting, "tapA") }
}

#[test]
fn frames_come_once_and_in_order_and_more_than_the_socket_takes_at_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    there.set_paused(true);
    let meeting = Meeting::new();
    let creds = credentials(&meeting, "tls");
    let port = free_port();
    let destination = destination(port, &creds);
    let source = source(plan_to(&meeting, port, Some(&creds)));
    source.migrate(&here, 500);
    send("tapA", 500..20_000);
    destination.wait_until("all of them", |report| report.received == 19_500);

    there.set_paused(false);
    destination.handle.resumed(None);
    source.handle.completed();

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    let flow = there.wait_for(19_500, support::PATIENCE).flow(0);
    assert_eq!(flow.ranges.as_slice(), [(500, 19_999)]);
    assert_eq!((flow.duplicates, flow.out_of_order), (0, 0));
}

#[test]
fn a_migration_that_is_cancelled_is_heard_of_behind_what_is_on_its_way() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let creds = credentials(&meeting, "tls");
    let port = free_port();
    let destination = destination(port, &creds);
    let source = source(plan_to(&meeting, port, Some(&creds)));
    source.migrate(&here, 100);
    send("tapA", 100..300);
    here.set_paused(false);
    source.handle.resumed();
    assert_eq!(source.ended().outcome, Outcome::Cancelled);
    destination.told.wait_state_again("gated", 2);
    assert_once_in_order(&here, 0..300);
    drop(there);
}

#[test]
fn whoever_is_not_of_the_same_ca_is_refused_in_one_line_and_disturbs_nobody() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guests = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let (creds, others) = (credentials(&meeting, "tls"), credentials(&meeting, "others"));
    let port = free_port();
    let destination = destination(port, &creds);

    let stranger = source(plan_to(&meeting, port, Some(&others)));
    let warning = stranger.told.wait_code("TLS_UNKNOWN_CA");
    assert!(warning.message.starts_with(&format!("tcp:localhost:{port}: ")), "{warning:?}");
    let refused = destination.told.wait_kind(EventKind::PeerRefused);
    assert!(refused.message.starts_with("a connection was refused: "), "{refused:?}");
    drop(stranger);

    let plain = source(plan_to(&meeting, port, None));
    destination.told.wait("plain", |event| event.message.contains("speaks no TLS"));
    drop(plain);

    let real = source(plan_to(&meeting, port, Some(&creds)));
    real.told.wait_kind(EventKind::Ready);
    assert!(!real.told.events().iter().any(|event| event.kind == EventKind::Warning));
}

#[test]
fn a_rehearsal_tells_which_side_has_no_credentials() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guests = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let creds = credentials(&meeting, "tls");
    let port = free_port();
    for (here, there, said_here, said_there) in [
        (None, Some(&*creds), "peer_lost", "TLS_PLAIN_PEER"),
        (Some(&*creds), None, "TLS_CLOSED", "peer_foreign"),
    ] {
        let netdevs = vec![(Netdev::here("tapB").unwrap(), identity())];
        let rehearsal = Rehearsal::open(&way(port, true, there), netdevs).unwrap();
        let looked = visit(&Netdev::here("tapA").unwrap(), &identity(), &way(port, false, here)).unwrap();
        let came = rehearsal.next(support::PATIENCE).unwrap();
        let told = [(looked, said_here, Weight::Fault), (came, said_there, Weight::Note)];
        for (encounter, code, weight) in told {
            let [difference] = &encounter.differences[..] else { panic!("{encounter:?}") };
            assert_eq!((difference.code, difference.weight), (code, weight), "{difference:?}");
        }
    }
}

#[test]
fn a_source_without_credentials_is_told_of_by_both_sides() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guests = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let port = free_port();
    let destination = destination(port, &credentials(&meeting, "tls"));
    let source = source(plan_to(&meeting, port, None));
    source.told.wait("the end of a connection", |event| {
        event.kind == EventKind::Waiting && event.message.contains("does it want TLS")
    });
    destination.told.wait_kind(EventKind::PeerRefused);
}
