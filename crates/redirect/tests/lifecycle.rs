//! The end of a redirector, asked for once, twice or not at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{PATIENCE, plan, send, start, tap};
use tapferry_redirect::{Latency, Plan};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::reader::Reader;

#[test]
fn a_second_stop_answers_like_the_first() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let running = start(plan(Latency::Low));
    send("tapA", 0..10);
    assert_eq!(b.wait_for(10, PATIENCE).numbered(), 10);
    let first = running.redirector.stop().unwrap();
    let second = running.redirector.stop().unwrap();
    let asked = running.redirector.statistics().unwrap();
    assert_eq!(first.counters, second.counters);
    assert_eq!(first.counters, asked.counters);
    assert_eq!(first.counters.forwarded, 10);
}

#[test]
fn a_redirector_that_is_dropped_stops() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_a, _b) = (tap("tapA"), tap("tapB"));
    drop(start(Plan { wait: true, ..plan(Latency::Balanced) }).redirector);
    let sockets = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap().lines().count() - 1;
    assert_eq!(sockets, 0);
}
