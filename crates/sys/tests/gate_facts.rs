//! What a closed gate of either kind refuses, what it lets through, how it opens, and what it leaves.

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use support::{
    BOTH, Capture, MARK, PATIENCE, Process, QUIET, ifindex, inject, injector, plain, tap, wait_until,
};
use tapferry_sys::Errno;
use tapferry_sys::egress_gate::{EgressGate, GateKind, probe, remove_leftover};
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::traffic_control::{Filter, TrafficControl};
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::{Direction, Reader};
use tapferry_testbed::sender::{Pace, Sender, SenderOptions, Sent};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);
/// In a child of a test: the number of the interface whose gate it closes.
const CHILD: &str = "TAPFERRY_TEST_GATE_OF";

/// A namespace where gates of that kind can be closed.
fn enter_or_skip(kind: GateKind) -> Option<Namespace> {
    let namespace = Namespace::enter_or_skip()?;
    match EgressGate::close_by(kind, ifindex("lo"), MARK, Duration::ZERO) {
        Ok(_) => Some(namespace),
        Err(error) => {
            let is_missing = [Errno::PERM, Errno::INVAL, Errno::NOENT].contains(&error.errno);
            assert!(is_missing, "{error}");
            Skip(error.to_string()).announce();
            None
        }
    }
}

/// The same test by each kind of gate, in a namespace of its own.
fn by_each_kind(test: impl Fn(GateKind)) {
    for kind in [GateKind::Tcx, GateKind::ClsBpf] {
        let Some(_namespace) = enter_or_skip(kind) else { continue };
        test(kind);
    }
}

fn close(kind: GateKind, interface: &str) -> EgressGate {
    EgressGate::close_by(kind, ifindex(interface), MARK, LONG).expect("the gate closes")
}

/// Sends numbered frames that may be refused.
fn try_send(interface: &str, mark: Option<u32>, count: u64) -> Sent {
    try_send_with(interface, SenderOptions { mark, ..SenderOptions::default() }, count)
}

fn try_send_with(interface: &str, options: SenderOptions, count: u64) -> Sent {
    let sender = Sender::with(interface, options).expect("a sender");
    let probe = Probe::default();
    sender.pace(Pace::Burst, count, false, &AtomicBool::new(false), |index, send| {
        send(&Default::default(), &probe.build(index, 64))
    })
}

fn filters_of(interface: &str) -> Vec<Filter> {
    TrafficControl::open().and_then(|control| control.filters(ifindex(interface))).expect("the kernel tells")
}

fn programs_at(interface: &str) -> usize {
    filters_of(interface).len()
}

fn has_clsact(interface: &str) -> bool {
    link::tc(&format!("qdisc show dev {interface}")).expect("tc tells").contains("clsact")
}

/// An operator's own program at clsact egress, which takes every frame that gets to it, and lets it pass.
fn put_program(interface: &str, place: &str) {
    let mut command = vec!["filter", "add", "dev", interface, "egress"];
    command.extend(place.split_whitespace());
    command.extend(["bpf", "bytecode", "1,6 0 0 4294967295,", "classid", "1:1"]);
    link::run("tc", &command).unwrap_or_else(|error| panic!("{error}"));
}

/// Another filter of an operator's that does so.
fn put_filter(interface: &str, place: &str) {
    link::tc(&format!("filter add dev {interface} {place} u32 match u32 0 0 flowid 1:1"))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn marked_frames_pass_a_closed_gate_and_others_are_refused_and_counted() {
    by_each_kind(|kind| {
        let guest = Reader::on_tap(tap("tapA"));
        let gate = close(kind, "tapA");
        let unmarked = try_send("tapA", None, 100);
        assert_eq!((unmarked.frames, unmarked.refused), (0, 100));
        assert_eq!(unmarked.last_errno, Some(Errno::NOBUFS.raw_os_error()), "a local sender is told");
        let other = try_send("tapA", Some(MARK + 1), 10);
        assert_eq!((other.frames, gate.refused()), (0, 110));

        assert_eq!(try_send("tapA", Some(MARK), 50).frames, 50);
        let frame = Probe::default().build(50, 64);
        inject(&mut injector("tapA"), &[plain(&frame)]);
        assert_eq!(guest.wait_for(51, PATIENCE).ranges(0), [(0, 50)]);
        std::thread::sleep(QUIET);
        assert_eq!((guest.tally().frames, gate.refused()), (51, 110));
    });
}

#[test]
fn a_mark_may_have_all_its_bits() {
    by_each_kind(|kind| {
        let guest = Reader::on_tap(tap("tapA"));
        let gate = EgressGate::close_by(kind, ifindex("tapA"), u32::MAX, LONG).unwrap();
        assert_eq!(try_send("tapA", Some(u32::MAX), 10).frames, 10);
        assert_eq!(try_send("tapA", Some(u32::MAX >> 1), 10).frames, 0);
        assert_eq!((guest.wait_for(10, PATIENCE).frames, gate.refused()), (10, 10));
    });
}

#[test]
fn what_a_bridge_floods_is_refused_without_a_word_and_what_the_guest_sends_passes() {
    by_each_kind(|kind| {
        let tap = tap("tapA");
        link::veth("host", "port").unwrap();
        link::bridge("br0", &["port", "tapA"]).unwrap();
        let gate = close(kind, "tapA");
        let sent = try_send("host", None, 100);
        assert_eq!((sent.frames, sent.refused), (100, 0));
        wait_until("the refusal", || gate.refused() == 100);
        assert_eq!(tap.read_all(QUIET).unwrap(), []);

        let host = Reader::on_interface("host", Direction::Incoming).unwrap();
        tap.write_plain(&Probe::default().build(7, 64)).unwrap();
        assert_eq!(host.wait_for(1, PATIENCE).ranges(0), [(7, 7)]);
    });
}

#[test]
fn what_bypasses_traffic_control_bypasses_the_gate() {
    by_each_kind(|kind| {
        let guest = Reader::on_tap(tap("tapA"));
        let gate = close(kind, "tapA");
        let bypass = SenderOptions { qdisc_bypass: true, ..SenderOptions::default() };
        assert_eq!(try_send_with("tapA", bypass, 10).frames, 10);
        assert_eq!((guest.wait_for(10, PATIENCE).frames, gate.refused()), (10, 0));
    });
}

#[test]
fn a_capture_does_not_see_what_the_gate_refuses() {
    by_each_kind(|kind| {
        let _guest = Reader::on_tap(tap("tapA"));
        for way in BOTH {
            let mut capture = Capture::with(way, "tapA", tapferry_sys::filter::Direction::Outgoing, MARK + 1);
            let gate = close(kind, "tapA");
            try_send("tapA", None, 10);
            assert_eq!(capture.rest(), [], "{way:?}");
            try_send("tapA", Some(MARK), 10);
            capture.take(10);
            drop(gate);
            try_send("tapA", None, 10);
            capture.take(10);
        }
    });
}

#[test]
fn a_dropped_gate_is_open_and_leaves_nothing() {
    by_each_kind(|kind| {
        let guest = Reader::on_tap(tap("tapA"));
        let gate = close(kind, "tapA");
        assert_eq!(programs_at("tapA"), 1);
        assert_eq!(try_send("tapA", None, 10).frames, 0);
        drop(gate);
        assert_eq!(programs_at("tapA"), 0);
        assert_eq!(try_send("tapA", None, 10).frames, 10);
        assert_eq!(guest.wait_for(10, PATIENCE).frames, 10);
        assert!(!has_clsact("tapA"));
    });
}

#[test]
fn a_gate_opens_at_its_deadline_unless_that_is_moved_on() {
    by_each_kind(|kind| {
        let _guest = Reader::on_tap(tap("tapA"));
        let gate = EgressGate::close_by(kind, ifindex("tapA"), MARK, Duration::from_millis(200)).unwrap();
        let closed = Instant::now();
        gate.keep_closed_for(Duration::from_millis(500)).unwrap();
        wait_until("its opening", || try_send("tapA", None, 1).frames == 1);
        assert!(closed.elapsed() >= Duration::from_millis(500), "{:?}", closed.elapsed());
        let refused = gate.refused();
        assert_eq!(try_send("tapA", None, 10).frames, 10);
        assert_eq!(gate.refused(), refused);

        gate.keep_closed_for(LONG).unwrap();
        assert_eq!(try_send("tapA", None, 10).frames, 0, "it closes again");
        gate.keep_closed_for(Duration::ZERO).unwrap();
        assert_eq!(try_send("tapA", None, 10).frames, 10, "and opens at once");
        gate.keep_closed_for(Duration::MAX).unwrap();
        assert_eq!(try_send("tapA", None, 10).frames, 0);
    });
}

#[test]
fn of_two_gates_at_tcx_the_last_comes_first() {
    let Some(_namespace) = enter_or_skip(GateKind::Tcx) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let first = close(GateKind::Tcx, "tapA");
    let second = EgressGate::close_by(GateKind::Tcx, ifindex("tapA"), MARK + 1, LONG).unwrap();
    try_send("tapA", Some(MARK), 10);
    assert_eq!((first.refused(), second.refused()), (0, 10));
    try_send("tapA", Some(MARK + 1), 10);
    assert_eq!((first.refused(), second.refused()), (10, 10));
}

#[test]
fn a_process_has_one_gate_at_clsact_of_an_interface() {
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let gate = close(GateKind::ClsBpf, "tapA");
    let second = EgressGate::close_by(GateKind::ClsBpf, ifindex("tapA"), MARK, LONG);
    assert_eq!(second.unwrap_err().errno, Errno::EXIST);
    try_send("tapA", None, 10);
    assert_eq!(gate.refused(), 10);
}

/// In a child of a test, closes a gate and waits for its end.
fn is_child() -> bool {
    let Ok(told) = std::env::var(CHILD) else { return false };
    let (kind, number) = told.split_once(' ').expect("a kind and a number");
    let kind = if kind == GateKind::Tcx.name() { GateKind::Tcx } else { GateKind::ClsBpf };
    let ifindex = IfIndex::from_netlink(number.parse().expect("a number")).expect("an interface's");
    let _gate = EgressGate::close_by(kind, ifindex, MARK, LONG).expect("the gate closes");
    std::thread::sleep(LONG);
    true
}

/// Another process that has closed the gate of an interface; `test` begins with [`is_child`].
fn process_with_gate(test: &str, kind: GateKind, interface: &str) -> Process {
    let before = programs_at(interface);
    let child = Process::start(
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test])
            .env(CHILD, format!("{} {}", kind.name(), ifindex(interface).get()))
            .stdout(Stdio::null()),
    );
    wait_until("its closing", || programs_at(interface) > before);
    child
}

#[test]
fn the_gate_of_a_killed_process_is_open() {
    if is_child() {
        return;
    }
    by_each_kind(|kind| {
        let guest = Reader::on_tap(tap("tapA"));
        let child = process_with_gate("the_gate_of_a_killed_process_is_open", kind, "tapA");
        let process = child.pid().cast_unsigned();
        assert_eq!(try_send("tapA", None, 10).frames, 0);
        child.kill();
        // When the process has ended, or a moment later; the deadline is far.
        wait_until("its opening", || try_send("tapA", None, 1).frames == 1);
        assert_eq!(try_send("tapA", None, 9).frames, 9);
        assert_eq!(guest.wait_for(10, PATIENCE).frames, 10);

        let is_left = kind == GateKind::ClsBpf;
        wait_until("its going", || programs_at("tapA") == usize::from(is_left));
        assert_eq!(has_clsact("tapA"), is_left);
        assert_eq!(remove_leftover(ifindex("tapA"), process + 1), Ok(false), "another process");
        assert_eq!(remove_leftover(ifindex("tapA"), process), Ok(is_left));
        assert_eq!((programs_at("tapA"), has_clsact("tapA")), (0, false));
        assert_eq!(remove_leftover(ifindex("tapA"), process), Ok(false));
    });
}

#[test]
fn next_to_what_a_killed_process_has_left_the_next_one_closes_its_own() {
    if is_child() {
        return;
    }
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let test = "next_to_what_a_killed_process_has_left_the_next_one_closes_its_own";
    let child = process_with_gate(test, GateKind::ClsBpf, "tapA");
    let process = child.pid().cast_unsigned();
    child.kill();
    let gate = close(GateKind::ClsBpf, "tapA");
    assert_eq!(try_send("tapA", None, 10).frames, 0);
    // Clsact was made for the one that goes, and holds the other.
    assert_eq!(remove_leftover(ifindex("tapA"), process), Ok(true));
    assert_eq!(try_send("tapA", None, 10).frames, 0);
    assert_eq!((gate.refused(), programs_at("tapA")), (20, 1));
    drop(gate);
    assert_eq!((programs_at("tapA"), try_send("tapA", None, 10).frames), (0, 10));
}

#[test]
fn at_clsact_it_comes_before_the_filters_of_others_and_leaves_them_as_they_were() {
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    link::tc("qdisc add dev tapA clsact").unwrap();
    put_program("tapA", "prio 1 handle 1");
    put_filter("tapA", "egress prio 2");
    let before = filters_of("tapA");
    assert_eq!(before.len(), 2);
    let gate = close(GateKind::ClsBpf, "tapA");
    let with_gate = filters_of("tapA");
    assert_eq!(with_gate[0].program_name.as_deref(), Some("tapferry_gate"));
    assert_eq!(with_gate[1..], before);
    assert_eq!((try_send("tapA", None, 10).frames, gate.refused()), (0, 10));
    assert_eq!(try_send("tapA", Some(MARK), 10).frames, 10);
    drop(gate);
    assert_eq!((filters_of("tapA"), has_clsact("tapA")), (before, true));
    assert_eq!(try_send("tapA", None, 10).frames, 10);
}

#[test]
fn a_clsact_in_which_others_have_put_filters_meanwhile_stays() {
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for direction in ["egress", "ingress"] {
        let gate = close(GateKind::ClsBpf, "tapA");
        put_filter("tapA", &format!("{direction} prio 5"));
        drop(gate);
        assert_eq!((programs_at("tapA"), has_clsact("tapA")), (1, true), "{direction}");
        link::tc("qdisc del dev tapA clsact").unwrap();
    }
}

#[test]
fn what_only_looks_like_ours_stays() {
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    link::tc("qdisc add dev tapA clsact").unwrap();
    // The handle of process 4711, without the name.
    put_program("tapA", "prio 1 handle 0x74001267");
    assert_eq!(remove_leftover(ifindex("tapA"), 4711), Ok(false));
    assert_eq!((programs_at("tapA"), has_clsact("tapA")), (1, true));
}

#[test]
fn where_others_have_the_place_at_clsact_there_is_no_gate_and_nothing_is_left() {
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let refusal = || {
        EgressGate::close_by(GateKind::ClsBpf, ifindex("tapA"), MARK, LONG).map(drop).unwrap_err().to_string()
    };
    let object = format!("for 'ifindex {}'", ifindex("tapA").get());
    link::tc("qdisc add dev tapA ingress").unwrap();
    assert_eq!(
        refusal(),
        format!(
            "failed to make room for a filter at egress beside the queueing discipline 'ingress' {object}: File exists \
             (os error 17)"
        )
    );
    assert_eq!(programs_at("tapA"), 0);
    link::tc("qdisc del dev tapA ingress").unwrap();

    link::tc("qdisc add dev tapA clsact").unwrap();
    put_filter("tapA", "egress prio 1");
    assert_eq!(
        refusal(),
        format!(
            "failed to put a filter before all others at clsact egress (priority 1) {object}: Invalid argument (os \
             error 22)"
        )
    );
    assert_eq!((programs_at("tapA"), has_clsact("tapA")), (1, true));
}

#[test]
fn an_interface_that_is_deleted_takes_its_gate_along() {
    by_each_kind(|kind| {
        let old = tap("tapA");
        let gate = close(kind, "tapA");
        drop(old);
        let guest = Reader::on_tap(tap("tapA"));
        assert_eq!(try_send("tapA", None, 10).frames, 10);
        assert_eq!(guest.wait_for(10, PATIENCE).frames, 10);
        assert_eq!(gate.refused(), 0);
    });
}

#[test]
fn a_missing_interface_has_no_gate() {
    by_each_kind(|kind| {
        let missing = IfIndex::from_netlink(4711).unwrap();
        let error = EgressGate::close_by(kind, missing, MARK, LONG).map(drop).unwrap_err();
        let operation = match kind {
            GateKind::Tcx => "close the gate at tcx egress",
            GateKind::ClsBpf => "create the queueing discipline clsact",
        };
        let reason = "No such device (os error 19)";
        assert_eq!(error.to_string(), format!("failed to {operation} for 'ifindex 4711': {reason}"));
    });
}

#[test]
fn tcx_is_taken_where_the_kernel_has_it() {
    let Some(_namespace) = enter_or_skip(GateKind::ClsBpf) else { return };
    let _tap = tap("tapA");
    let has_tcx = EgressGate::close_by(GateKind::Tcx, ifindex("tapA"), MARK, LONG).is_ok();
    let expected = if has_tcx { GateKind::Tcx } else { GateKind::ClsBpf };
    let gate = EgressGate::close(ifindex("tapA"), MARK, LONG).unwrap();
    assert_eq!((gate.kind(), probe()), (expected, Ok(expected)));
}

#[test]
fn without_privileges_closing_and_probing_say_so() {
    by_each_kind(|kind| {
        let _tap = tap("tapA");
        let ifindex = ifindex("tapA");
        let refused = std::thread::spawn(move || {
            support::drop_capabilities();
            let closed = EgressGate::close_by(kind, ifindex, MARK, LONG);
            [probe().map(drop), closed.map(drop)].map(|result| result.unwrap_err().errno)
        });
        assert_eq!(refused.join().unwrap(), [Errno::PERM; 2]);
    });
}
