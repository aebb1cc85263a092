//! The TAP of the VM that arrives: the gate before it, the length of its queue, and signs that the VM runs.

use std::time::Duration;

use tapferry_sys::clock;
use tapferry_sys::egress_gate::EgressGate;
use tapferry_sys::queue_length;

use super::state::State;
use super::worker::{TICK, Worker};
use crate::connection::nanos;
use crate::plan::QUEUE_LENGTH;

/// A gate whose process hangs opens after this long.
const GATE_LIFE: Duration = Duration::from_secs(3);
/// Between two prolongations of that.
const GATE_CARE: Duration = Duration::from_millis(500);
/// How much longer than a pause it is waited for when it is told to stop.
const LAST_SETTLING: Duration = Duration::from_millis(200);
/// A pause: the kernel takes a few milliseconds for the change, and drops what comes in that time. On a busy host it
/// takes longer, and so does a pause.
const PAUSE: Duration = Duration::from_millis(50);
/// No pause has to be longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many times as long as the change a pause is at least: what has paused for so long rarely begins in the midst of it.
const PAUSES: u64 = 10;

impl Worker {
    pub(super) fn close_gate(&mut self) {
        let (ifindex, mark) = (self.ifindex, self.plan.mark);
        let closed = match self.plan.gate {
            Some(kind) => EgressGate::close_by(kind, ifindex, mark, GATE_LIFE),
            None => EgressGate::close(ifindex, mark, GATE_LIFE),
        };
        match closed {
            Ok(gate) => self.gate = Some(gate),
            Err(error) => {
                let message = format!(
                    "there is no gate: {error}; broadcasts that come before the VM runs may reach it twice, as \
                     they do without a handover"
                );
                self.warn("no_gate", &message);
                // Then at least what comes from now on is known.
                self.open_direct();
            }
        }
        self.report.gate = self.gate.as_ref().map(EgressGate::kind);
    }

    /// After it was opened for a VM that did not run.
    pub(super) fn close_gate_again(&mut self) {
        match self.gate.as_ref().map(|gate| gate.keep_closed_for(GATE_LIFE)) {
            Some(Ok(())) => self.direct = None,
            Some(Err(_)) | None => self.close_gate(),
        }
    }

    pub(super) fn tend_gate(&mut self, now: u64) {
        if now.saturating_sub(self.gate_tended_at) < nanos(GATE_CARE) {
            return;
        }
        self.gate_tended_at = now;
        self.look_for_signs_of_life();
        if self.report.opened_ns.is_some() {
            return;
        }
        if let Some(Err(error)) = self.gate.as_ref().map(|gate| gate.keep_closed_for(GATE_LIFE)) {
            self.warn("gate_lost", &format!("{error}: the gate opens by itself"));
        }
    }

    /// A VM that sends frames runs, whether its monitor tells or not: no gate is to stand before it.
    pub(super) fn look_for_signs_of_life(&mut self) {
        if self.resumed_at.is_some() {
            return;
        }
        let Ok(Some(link)) = self.links.by_index(self.ifindex) else { return };
        let has_sent = link.rx_packets > self.tap_sent_before;
        // The first that it sends, it sends at once, and the news of its start is on its way.
        if has_sent && self.sends {
            self.warn("vm_runs_untold", "the VM sends frames, so it runs, although its monitor has not told");
            self.resume_at(None);
        }
        self.sends = has_sent;
    }

    /// From now on what the network delivers reaches the TAP, and is compared with what the source sends.
    pub(super) fn open_gate(&mut self) {
        // First: what comes through the opening gate must not be missed.
        self.open_direct();
        if let Some(gate) = &self.gate {
            // It opens at once; that it goes takes the kernel some milliseconds, and can wait until nothing else does.
            if let Err(error) = gate.keep_closed_for(Duration::ZERO) {
                let message =
                    format!("{error}: what the network delivers is kept from the VM for another moment");
                self.gate = None;
                self.warn("gate_stuck", &message);
            }
        }
        self.report.opened_ns = Some(clock::realtime_ns());
        let message = if self.gate.is_some() { "the gate is open" } else { "there is no gate to open" };
        self.enter(State::Passing, message);
    }

    pub(super) fn raise_queue_length(&mut self, before: u32) {
        if before >= QUEUE_LENGTH {
            return;
        }
        let begun = clock::monotonic_ns();
        match queue_length::set(self.ifindex, QUEUE_LENGTH) {
            Ok(()) => {
                let took = clock::monotonic_ns() - begun;
                self.pause = (PAUSES * took).clamp(nanos(PAUSE), nanos(LONGEST_PAUSE));
                self.queue_length = Some(before);
                self.queue_room = QUEUE_LENGTH.into();
            }
            Err(error) => {
                let message = format!(
                    "the queue of {} stays at {before} frames ({}): what exceeds that before the VM runs comes to it \
                     late, and is lost where it did not come through the source",
                    self.plan.netdev, error.errno
                );
                self.warn("queue_not_raised", &message);
            }
        }
    }

    /// Whether nothing is sent to the guest at the moment, and it has read what was.
    pub(super) fn is_pause(&mut self, now: u64) -> bool {
        let tap = self.tap_counters();
        if self.tap_seen.0 != tap {
            self.tap_seen = (tap, now);
        }
        now.saturating_sub(self.tap_seen.1) > self.pause && self.tap_backlog() == 0
    }

    /// Waits for a pause, for a short while.
    pub(super) fn comes_to_pause(&mut self) -> bool {
        let deadline = clock::monotonic_ns() + self.pause + nanos(LAST_SETTLING);
        loop {
            let now = clock::monotonic_ns();
            if self.is_pause(now) {
                return true;
            }
            if now > deadline {
                return false;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Makes the TAP's queue as long as it was; not while frames come for a VM that runs, or wait for one that may run
    /// yet, because some would be lost.
    pub(super) fn restore_queue_length(&mut self) {
        let Some(before) = self.queue_length.take() else { return };
        let is_in_use = if self.is_vm_gone || self.state == State::Discarded {
            false
        } else if self.resumed_at.is_some() {
            !self.comes_to_pause()
        } else {
            self.tap_backlog() > before.into()
        };
        let result = if is_in_use { Ok(()) } else { queue_length::set(self.ifindex, before) };
        let message = match result {
            Ok(()) if is_in_use => format!(
                "frames come, or wait for the VM: txqueuelen of {} stays {QUEUE_LENGTH} for now, where it was {before}",
                self.plan.netdev
            ),
            Ok(()) => return,
            Err(error) => format!("{error}: it was {before}"),
        };
        self.warn("queue_left_long", &message);
    }
}
