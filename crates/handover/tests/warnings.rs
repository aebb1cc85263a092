//! What a destination cannot have is told by its code, and the VM has its frames all the same. Alone in its process, because
//! it freezes the eBPF maps that the process has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::thread::CapabilitySet;
use support::{Meeting, assert_once_in_order, destination, destination_plan, guest, link, send, without};
use tapferry_handover::DestinationPlan;
use tapferry_sys::egress_gate::GateKind;
use tapferry_testbed::ebpf::freeze_maps;
use tapferry_testbed::namespace::Namespace;

fn is_told_and_open_at_last(gate: GateKind) {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let there = guest("tapB");
    let plan = DestinationPlan { gate: Some(gate), ..destination_plan("tapB") };
    let destination = destination(&Meeting::new(), plan);
    if !destination.is_gated_or_skip() {
        return;
    }
    freeze_maps().unwrap();
    destination.told.wait_code("gate_lost");
    destination.handle.resumed(None);
    destination.told.wait_code("gate_stuck");
    destination.told.wait_state("passing");
    send("tapB", 0..100);
    assert_once_in_order(&there, 0..100);
    let [lost, stuck] = ["gate_lost", "gate_stuck"].map(|code| destination.told.count_code(code));
    assert_eq!((lost, stuck, destination.report().gate), (1, 1, Some(gate)));
}

#[test]
fn a_gate_that_can_be_neither_kept_closed_nor_opened_is_told_and_taken_away() {
    [GateKind::Tcx, GateKind::ClsBpf].into_iter().for_each(is_told_and_open_at_last);
}

#[test]
fn a_queue_that_cannot_be_made_longer_is_told_and_stays_as_it_was() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _there = guest("tapB");
    let meeting = Meeting::new();
    let destination = without(CapabilitySet::NET_ADMIN, || destination(&meeting, destination_plan("tapB")));
    let message = destination.told.wait_code("queue_not_raised").message;
    assert!(message.starts_with("the queue of tapB stays at 1000 frames"), "{message}");
    assert_eq!(link("tapB").tx_queue_length, 1000);
    destination.handle.stop();
    assert_eq!(destination.told.count_code("queue_not_raised"), 1);
    assert_eq!(link("tapB").tx_queue_length, 1000);
}
