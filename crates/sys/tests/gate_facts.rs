//! What a closed gate refuses, what it lets through, and how it opens.

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use support::{
    BOTH, Capture, MARK, PATIENCE, Process, QUIET, ifindex, inject, injector, plain, tap, wait_until,
};
use tapferry_sys::Errno;
use tapferry_sys::egress_gate::{EgressGate, probe};
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::traffic_control::TrafficControl;
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::{Direction, Reader};
use tapferry_testbed::sender::{Pace, Sender, SenderOptions, Sent};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);
/// In a child of a test: the number of the interface whose gate it closes.
const CHILD: &str = "TAPFERRY_TEST_GATE_OF";

/// A namespace where gates can be closed.
fn enter_or_skip() -> Option<Namespace> {
    let namespace = Namespace::enter_or_skip()?;
    match probe() {
        Ok(()) => Some(namespace),
        Err(error) => {
            Skip(error.to_string()).announce();
            None
        }
    }
}

fn close(interface: &str) -> EgressGate {
    EgressGate::close(ifindex(interface), MARK, LONG).expect("the gate closes")
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

fn programs_at(interface: &str) -> usize {
    let filters = TrafficControl::open().and_then(|control| control.filters(ifindex(interface)));
    filters.expect("the kernel tells").len()
}

#[test]
fn marked_frames_pass_a_closed_gate_and_others_are_refused_and_counted() {
    let Some(_namespace) = enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let gate = close("tapA");
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
}

#[test]
fn a_mark_may_have_all_its_bits() {
    let Some(_namespace) = enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let gate = EgressGate::close(ifindex("tapA"), u32::MAX, LONG).unwrap();
    assert_eq!(try_send("tapA", Some(u32::MAX), 10).frames, 10);
    assert_eq!(try_send("tapA", Some(u32::MAX >> 1), 10).frames, 0);
    assert_eq!((guest.wait_for(10, PATIENCE).frames, gate.refused()), (10, 10));
}

#[test]
fn what_a_bridge_floods_is_refused_without_a_word_and_what_the_guest_sends_passes() {
    let Some(_namespace) = enter_or_skip() else { return };
    let tap = tap("tapA");
    link::veth("host", "port").unwrap();
    link::bridge("br0", &["port", "tapA"]).unwrap();
    let gate = close("tapA");
    let sent = try_send("host", None, 100);
    assert_eq!((sent.frames, sent.refused), (100, 0));
    wait_until("the refusal", || gate.refused() == 100);
    assert_eq!(tap.read_all(QUIET).unwrap(), []);

    let host = Reader::on_interface("host", Direction::Incoming).unwrap();
    tap.write_plain(&Probe::default().build(7, 64)).unwrap();
    assert_eq!(host.wait_for(1, PATIENCE).ranges(0), [(7, 7)]);
}

#[test]
fn what_bypasses_traffic_control_bypasses_the_gate() {
    let Some(_namespace) = enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let gate = close("tapA");
    let bypass = SenderOptions { qdisc_bypass: true, ..SenderOptions::default() };
    assert_eq!(try_send_with("tapA", bypass, 10).frames, 10);
    assert_eq!((guest.wait_for(10, PATIENCE).frames, gate.refused()), (10, 0));
}

#[test]
fn a_capture_does_not_see_what_the_gate_refuses() {
    let Some(_namespace) = enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::with(way, "tapA", tapferry_sys::filter::Direction::Outgoing, MARK + 1);
        let gate = close("tapA");
        try_send("tapA", None, 10);
        assert_eq!(capture.rest(), [], "{way:?}");
        try_send("tapA", Some(MARK), 10);
        capture.take(10);
        drop(gate);
        try_send("tapA", None, 10);
        capture.take(10);
    }
}

#[test]
fn a_dropped_gate_is_open_and_leaves_nothing() {
    let Some(_namespace) = enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let gate = close("tapA");
    assert_eq!(programs_at("tapA"), 1);
    assert_eq!(try_send("tapA", None, 10).frames, 0);
    drop(gate);
    assert_eq!(programs_at("tapA"), 0);
    assert_eq!(try_send("tapA", None, 10).frames, 10);
    assert_eq!(guest.wait_for(10, PATIENCE).frames, 10);
    assert!(!link::tc("qdisc show dev tapA").unwrap().contains("clsact"));
}

#[test]
fn a_gate_opens_at_its_deadline_unless_that_is_moved_on() {
    let Some(_namespace) = enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let gate = EgressGate::close(ifindex("tapA"), MARK, Duration::from_millis(200)).unwrap();
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
}

#[test]
fn of_two_gates_the_last_comes_first() {
    let Some(_namespace) = enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let first = close("tapA");
    let second = EgressGate::close(ifindex("tapA"), MARK + 1, LONG).unwrap();
    try_send("tapA", Some(MARK), 10);
    assert_eq!((first.refused(), second.refused()), (0, 10));
    try_send("tapA", Some(MARK + 1), 10);
    assert_eq!((first.refused(), second.refused()), (10, 10));
}

#[test]
fn the_gate_of_a_killed_process_is_open() {
    if let Ok(number) = std::env::var(CHILD) {
        let ifindex = IfIndex::from_netlink(number.parse().expect("a number")).expect("an interface's");
        let _gate = EgressGate::close(ifindex, MARK, LONG).expect("the gate closes");
        std::thread::sleep(LONG);
        return;
    }
    let Some(_namespace) = enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let child = Process::start(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_gate_of_a_killed_process_is_open"])
            .env(CHILD, ifindex("tapA").get().to_string())
            .stdout(Stdio::null()),
    );
    wait_until("its closing", || programs_at("tapA") == 1);
    assert_eq!(try_send("tapA", None, 10).frames, 0);
    child.kill();
    // The kernel takes it away when the process has ended, or a moment later.
    wait_until("its opening", || programs_at("tapA") == 0);
    assert_eq!(try_send("tapA", None, 10).frames, 10);
    assert_eq!(guest.wait_for(10, PATIENCE).frames, 10);
}

#[test]
fn an_interface_that_is_deleted_takes_its_gate_along() {
    let Some(_namespace) = enter_or_skip() else { return };
    let old = tap("tapA");
    let gate = close("tapA");
    drop(old);
    let guest = Reader::on_tap(tap("tapA"));
    assert_eq!(try_send("tapA", None, 10).frames, 10);
    assert_eq!(guest.wait_for(10, PATIENCE).frames, 10);
    assert_eq!(gate.refused(), 0);
}

#[test]
fn a_missing_interface_has_no_gate() {
    let Some(_namespace) = enter_or_skip() else { return };
    let missing = IfIndex::from_netlink(4711).unwrap();
    let error = EgressGate::close(missing, MARK, LONG).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to close the gate at tcx egress for 'ifindex 4711': No such device (os error 19)"
    );
}

#[test]
fn without_privileges_closing_and_probing_say_so() {
    let Some(_namespace) = enter_or_skip() else { return };
    let _tap = tap("tapA");
    let ifindex = ifindex("tapA");
    let refused = std::thread::spawn(move || {
        support::drop_capabilities();
        [probe(), EgressGate::close(ifindex, MARK, LONG).map(drop)].map(|result| result.unwrap_err().errno)
    });
    assert_eq!(refused.join().unwrap(), [Errno::PERM; 2]);
}
