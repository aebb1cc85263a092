//! What a redirector counts and tells.

use tapferry_sys::clock;

use super::Worker;
use super::ends::{Input, NetdevEnd, Output, Side};
use crate::capture::Capture;
use crate::counters::{DropReason, Engine, Statistics};
use crate::endpoint::{Endpoint, Transition};
use crate::event::{Event, EventKind};
use crate::outlet::Refusal;

impl Worker {
    pub(super) fn account_overflow(&mut self) {
        let overflow = match &mut self.ends.input {
            Input::Netdev { capture, .. } => capture.as_deref_mut().map_or(0, Capture::take_overflow),
            Input::Stream { .. } => 0,
            Input::Datagram { reader, .. } => reader.take_overflow(),
        };
        self.pipeline.counters.overflow(overflow);
        self.warn_of_drops();
    }

    /// Tells of each reason to drop a frame once, however often it happens.
    pub(super) fn warn_of_drops(&mut self) {
        let dropped = self.pipeline.counters.dropped;
        for (reason, frames) in dropped.iter() {
            if let Some(warning) = reason.warning().filter(|_| frames > 0) {
                let about = match reason {
                    DropReason::NoPeer | DropReason::OutputFull => format!("{}: ", self.plan.output),
                    _ => String::new(),
                };
                self.warn(reason.name(), || format!("{about}{warning} ({reason})"));
            }
        }
    }

    pub(super) fn statistics(&mut self) -> Statistics {
        self.account_overflow();
        self.look_at_output();
        let now = clock::monotonic_ns();
        let mut counters = self.pipeline.counters;
        (counters.held, counters.held_bytes) = self.pipeline.held();
        let gate = &self.pipeline.gate;
        Statistics {
            counters,
            gate_open: gate.is_open(),
            status: gate.status(),
            running: gate.running(),
            engine: match &self.ends.input {
                Input::Netdev { capture, .. } => capture.as_deref().map_or(Engine::Closed, Capture::engine),
                Input::Stream { .. } | Input::Datagram { .. } => Engine::Stream,
            },
            lost_at_output: match &self.ends.output {
                Output::Netdev(end) => end.endpoint.lost(),
                Output::Stream(_) | Output::Datagram(_) => 0,
            },
            input_outages: self.ends.input.facts().outages(now),
            output_outages: self.ends.output.facts().outages(now),
            framing_errors: self.framing_errors,
            tls_failures: self.tls_failures,
            last_error: self.last_error.clone(),
        }
    }

    /// Reads the output's own counters; its changes of state are told by netlink.
    fn look_at_output(&mut self) {
        let Output::Netdev(NetdevEnd { endpoint, links, .. }) = &mut self.ends.output else { return };
        let Some(ifindex) = endpoint.ifindex() else { return };
        if let Ok(Some(link)) = links.by_index(ifindex) {
            endpoint.count_lost(&link);
        }
    }

    /// Keeps the kernel's words; outages are told as such.
    pub(super) fn note_refusal(&mut self, refusal: Refusal) {
        let Refusal { reason, errno } = refusal;
        if !matches!(reason, DropReason::OutputDown | DropReason::OutputMissing) {
            let output = &self.plan.output;
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
        let input = self.ends.input.facts().at_the_start(Side::Input);
        let output = self.ends.output.facts().at_the_start(Side::Output);
        for event in input.into_iter().chain(output) {
            self.tell(event);
        }
        self.announced_start = true;
        self.announce_ready();
    }

    pub(super) fn announce_ready(&mut self) {
        let present = self.ends.input.facts().is_present() && self.ends.output.facts().is_present();
        if present && self.announced_start && !self.announced_ready {
            self.announced_ready = true;
            self.tell(Event::new(EventKind::Ready, self.describe_gate()));
        }
    }

    pub(super) fn tell(&self, event: Event) {
        (self.observer)(event);
    }
}

/// What is told of an interface that changes.
pub(super) fn transition_event(side: Side, endpoint: &Endpoint, transition: Transition) -> Event {
    use EventKind as Kind;
    let (input, output) = match transition {
        Transition::WentDown => (Kind::InputDown, Kind::OutputDown),
        Transition::CameUp => (Kind::InputUp, Kind::OutputUp),
        Transition::Vanished => (Kind::InputMissing, Kind::OutputMissing),
        Transition::Returned(_) => (Kind::InputBack, Kind::OutputBack),
    };
    let what = match transition {
        Transition::WentDown | Transition::Vanished => endpoint.trouble(),
        Transition::CameUp => "is up",
        Transition::Returned(_) => "is there",
    };
    let kind = match side {
        Side::Input => input,
        Side::Output => output,
    };
    let (role, name) = (side.netdev(), endpoint.name().as_str());
    Event::new(kind, format!("{role} '{name}' {what}")).about(name)
}
