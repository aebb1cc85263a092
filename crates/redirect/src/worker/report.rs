//! What a redirector counts and tells.

use tapferry_sys::clock;

use super::Worker;
use crate::capture::Capture;
use crate::counters::{DropReason, Engine, Statistics, count};
use crate::endpoint::{State, Transition};
use crate::error::Role;
use crate::event::{Event, EventKind};
use crate::outlet::Refusal;

impl Worker {
    pub(super) fn account_overflow(&mut self) {
        let overflow = self.capture.as_mut().map_or(0, Capture::take_overflow);
        self.counters.overflow(overflow);
        self.warn_of_drops();
    }

    /// Tells of each reason to drop a frame once, however often it happens.
    pub(super) fn warn_of_drops(&mut self) {
        let dropped = self.counters.dropped;
        for (reason, frames) in dropped.iter() {
            if let Some(warning) = reason.warning().filter(|_| frames > 0) {
                self.warn(reason.name(), || format!("{warning} ({reason})"));
            }
        }
    }

    pub(super) fn statistics(&mut self) -> Statistics {
        self.account_overflow();
        self.look_at_output();
        let now = clock::monotonic_ns();
        let mut counters = self.counters;
        counters.held = count(self.hold.len());
        counters.held_bytes = count(self.hold.bytes());
        Statistics {
            counters,
            gate_open: self.gate.is_open(),
            status: self.gate.status(),
            running: self.gate.running(),
            engine: self.capture.as_ref().map_or(Engine::Closed, Capture::engine),
            lost_at_output: self.output.lost(),
            input_outages: self.input.outages(now),
            output_outages: self.output.outages(now),
            last_error: self.last_error.clone(),
        }
    }

    /// Reads the output's own counters; its changes of state are told by netlink.
    fn look_at_output(&mut self) {
        let Some(ifindex) = self.output.ifindex() else { return };
        if let Ok(Some(link)) = self.output_links.by_index(ifindex) {
            self.output.count_lost(&link);
        }
    }

    /// Keeps the kernel's words; outages are told as such.
    pub(super) fn note_refusal(&mut self, refusal: Refusal) {
        let Refusal { reason, errno } = refusal;
        if !matches!(reason, DropReason::OutputDown | DropReason::OutputMissing) {
            let output = self.output.name();
            self.last_error = Some(format!("a frame could not be sent into '{output}': {errno} ({reason})"));
        }
    }

    /// Tells of something once, however often it happens.
    pub(super) fn warn(&mut self, code: &'static str, message: impl FnOnce() -> String) {
        if !self.warned.contains(&code) {
            self.warned.push(code);
            self.tell(Event::new(EventKind::Warning, message()).with_code(code));
        }
    }

    pub(super) fn announce_start(&mut self) {
        for (role, endpoint) in [(Role::InNetdev, &self.input), (Role::OutNetdev, &self.output)] {
            let name = endpoint.name().as_str();
            if endpoint.state() == State::Missing {
                let message = format!("waiting for {role} '{name}'");
                self.tell(Event::new(EventKind::Waiting, message).about(name));
            }
        }
        let (input, output) = (self.input.state(), self.output.state());
        for (role, state) in [(Role::InNetdev, input), (Role::OutNetdev, output)] {
            if state == State::Down {
                self.tell_transition(role, Transition::WentDown);
            }
        }
        self.announce_ready();
    }

    pub(super) fn announce_ready(&mut self) {
        let present = [&self.input, &self.output].iter().all(|end| end.state() != State::Missing);
        if present && !self.announced_ready {
            self.announced_ready = true;
            self.tell(Event::new(EventKind::Ready, self.describe_gate()));
        }
    }

    pub(super) fn tell_transition(&mut self, role: Role, transition: Transition) {
        use EventKind as Kind;
        let (input, output) = match transition {
            Transition::WentDown => (Kind::InputDown, Kind::OutputDown),
            Transition::CameUp => (Kind::InputUp, Kind::OutputUp),
            Transition::Vanished => (Kind::InputMissing, Kind::OutputMissing),
            Transition::Returned(_) => (Kind::InputBack, Kind::OutputBack),
        };
        let (kind, endpoint) = match role {
            Role::InNetdev => (input, &self.input),
            Role::OutNetdev => (output, &self.output),
        };
        let what = match transition {
            Transition::WentDown | Transition::Vanished => endpoint.trouble(),
            Transition::CameUp => "is up",
            Transition::Returned(_) => "is there",
        };
        let name = endpoint.name().as_str();
        self.tell(Event::new(kind, format!("{role} '{name}' {what}")).about(name));
    }

    pub(super) fn tell(&self, event: Event) {
        (self.observer)(event);
    }
}
