//! A destination that cannot see what reaches its TAP by itself. Alone in its process, because it takes away what all of
//! that needs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    Flood, Meeting, PATIENCE, destination_plan, destination_that, guest, send, source, source_plan,
};
use tapferry_handover::{EventKind, Outcome};
use tapferry_testbed::namespace::Namespace;

/// More descriptors than these are open all the time.
const FEW: u64 = 8;

#[test]
fn what_is_flooded_to_both_hosts_comes_twice_where_it_cannot_be_compared() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (here, there) = (guest("tapA"), guest("tapB"));
    let meeting = Meeting::new();
    let before = getrlimit(Resource::Nofile);
    // There is no descriptor for a capture, when one is opened beside the gate.
    let destination =
        destination_that(&meeting, destination_plan("tapB"), move |event| match (event.state, event.code) {
            ("injecting", None) => {
                setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), ..before }).unwrap();
            }
            (_, Some("no_comparison")) => setrlimit(Resource::Nofile, before).unwrap(),
            _ => {}
        });
    if !destination.is_gated_or_skip() {
        return;
    }
    let source = source(source_plan(&meeting, "tapA"));
    source.migrate(&here, 100);
    let warning = destination.told.wait_kind(EventKind::Warning);
    assert_eq!(warning.code, Some("no_comparison"), "{warning:?}");
    destination.told.wait_state("passing");
    assert_eq!(Flood::open().flood(100..150), 0, "the gate is open");
    send("tapA", 150..160);
    destination.wait_until("injecting them", |report| report.injected == 60);
    destination.handle.resumed(None);

    let (left, arrived) = (source.ended(), destination.ended());
    assert_eq!((left.outcome, arrived.outcome), (Outcome::Done, Outcome::Done), "{left:#?} {arrived:#?}");
    assert_eq!((arrived.direct, arrived.deduplicated), (0, 0), "{arrived:#?}");
    let flow = there.wait_for(110, PATIENCE).flow(0);
    assert_eq!((flow.ranges.as_slice(), flow.duplicates), ([(100, 159)].as_slice(), 50));
}
