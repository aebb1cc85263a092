//! Starting and stopping, again and again: no descriptor, thread or memory is left behind.
//!
//! The only test of its process: it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{BOTH, Directory, client, plan, server, start, tap, try_start};
use tapferry_redirect::{End, Plan};
use tapferry_testbed::memory::resident_kib;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::reader::Reader;

/// In all. Closing a packet socket waits for the kernel's grace period, so they run side by side.
const CYCLES: u32 = 10_000;
const SIDE_BY_SIDE: u32 = 16;

/// From a socket that nobody connects to, to one that is not there: a thread looks for it.
fn relay_without_peers(directory: &Directory) -> Plan {
    let (input, output) = (server(&directory.path("in")), client(&directory.path("out")));
    Plan { wait: true, ..Plan::between(End::Stream(input), End::Stream(output)) }
}

/// What a process has that may leak.
#[derive(Debug, PartialEq, Eq)]
struct Possessions {
    descriptors: usize,
    threads: usize,
}

impl Possessions {
    fn now() -> Self {
        let entries = |path| std::fs::read_dir(path).unwrap().count();
        Self { descriptors: entries("/proc/self/fd"), threads: entries("/proc/self/task") }
    }
}

#[test]
fn ten_thousand_starts_and_stops_leak_nothing() {
    let Some(namespace) = Namespace::enter_or_skip() else { return };
    let handle = namespace.handle();
    let (_a, _b) = (Reader::on_tap(tap("tapA")), Reader::on_tap(tap("tapB")));
    let run = |cycles: u32| {
        std::thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE {
                scope.spawn(|| {
                    let _inside = handle.enter().unwrap();
                    let directory = Directory::new();
                    for cycle in 0..cycles / SIDE_BY_SIDE {
                        let latency = BOTH[usize::try_from(cycle % 2).unwrap()];
                        start(plan(latency)).stop();
                        if cycle % 8 == 0 {
                            start(relay_without_peers(&directory)).stop();
                        }
                    }
                });
            }
        });
        // Threads that were joined leave the process a moment later.
        std::thread::sleep(Duration::from_millis(100));
    };
    // What is allocated once must not count.
    run(CYCLES / 4);
    let (before, memory) = (Possessions::now(), resident_kib());
    run(CYCLES * 3 / 4);
    assert_eq!(Possessions::now(), before);
    let growth = resident_kib().saturating_sub(memory);
    // A leak of a single kilobyte a cycle would show.
    assert!(growth < 6 * 1024, "{growth} KiB more than {memory} KiB");

    // A handle that is kept after the stop, as a garbage collector may, keeps nothing else.
    let kept = start(plan(BOTH[0]));
    kept.redirector.stop();
    assert_eq!(Possessions::now(), before);
    drop(kept);

    // The input is opened, the output is not there.
    for _ in 0..100 {
        assert!(try_start(Plan::new("tapA", "nothing").unwrap()).is_err());
    }
    assert_eq!(Possessions::now(), before);
}
