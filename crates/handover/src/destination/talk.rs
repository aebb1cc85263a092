//! What the destination hears from the source, and what it says.

use std::time::Duration;

use tapferry_sys::clock;

use super::reception::Visit;
use super::state::State;
use super::worker::Worker;
use crate::compare::compare;
use crate::connection::{Connection, Loss, nanos};
use crate::event::EventKind;
use crate::wire::{self, Ack, Cut, Hello, Message, Refusal, RefusalCode, Role};

/// Reads from the source between two looks at everything else.
const READS_PER_TURN: usize = 64;
/// Between two acknowledgements.
const ACK_EVERY: Duration = Duration::from_millis(20);

impl Worker {
    pub(super) fn welcome(&mut self, visit: Visit) {
        let Visit { mut connection, hello } = visit;
        let is_same = self.session == Some(hello.session);
        // It has said all it had to say, and looks for nobody.
        if is_same && self.discarded.is_some() {
            return;
        }
        if self.connection.is_some() && !is_same {
            return self.turn_away(
                connection,
                RefusalCode::Busy,
                "another source is connected for this netdev",
            );
        }
        let is_over = matches!(self.state, State::Settling { .. }) || self.state.is_final();
        if !is_same && (is_over || self.stopped_at.is_some() && self.session.is_some()) {
            let text = "the handover from another source is under way or over";
            return self.turn_away(connection, RefusalCode::State, text);
        }
        let ours = self.hello(&hello, is_same.then_some(self.next_index));
        connection.push(&Message::Hello(ours.clone()));
        connection.note_greeted();
        if !is_same {
            self.forget_discarded();
            (self.session, self.next_index) = (Some(hello.session), 0);
        }
        self.connection = Some(connection);
        self.passed_over = 0;
        // What it was told on the connection before may have been lost with that.
        self.acked = 0;
        self.tell_resumed();
        if self.announced_source {
            self.tell(EventKind::LinkBack, "the source is there again");
        } else {
            self.announced_source = true;
            self.voice.warn_of(&compare(&hello, &ours, None), self.state.name());
            self.tell(EventKind::Ready, format!("the source of VM '{}' has come", hello.vm_name));
        }
    }

    pub(super) fn turn_away(&self, mut connection: Connection, code: RefusalCode, text: &str) {
        self.tell(EventKind::PeerRefused, format!("a source was refused: {text}"));
        connection.refuse(Refusal { code, text: text.into() });
    }

    pub(super) fn hello(&mut self, theirs: &Hello, next_index: Option<u64>) -> Hello {
        Hello {
            session: theirs.session,
            instance: self.instance,
            next_index,
            ..self.survey.hello(Role::Destination, &self.plan.identity)
        }
    }

    /// Takes in what the source says.
    pub(super) fn hear(&mut self, now: u64) -> Result<(), Loss> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let heard = self.hear_from(&mut connection, now);
        if connection.clock().offset_ns().is_some() {
            self.clock = connection.clock();
        }
        // A source that has discarded waits until this side has closed.
        if self.discarded.is_none() {
            self.connection = Some(connection);
        }
        heard
    }

    pub(super) fn hear_from(&mut self, connection: &mut Connection, now: u64) -> Result<(), Loss> {
        for _ in 0..READS_PER_TURN {
            while self.listens() {
                let Some(message) = connection.next()? else { break };
                match message {
                    Message::Frame(frame) => self.park(&frame),
                    Message::Stopped { at_ns } => self.note_stop(at_ns, now),
                    Message::Cut(cut) => self.follow_cut(cut),
                    Message::End(end) => self.note_end(end),
                    Message::Discard { reason } => {
                        self.discard(reason);
                        return Ok(());
                    }
                    Message::Refusal(refusal) => return Err(Loss::Refused(refusal.text)),
                    // Pings and their answers.
                    _ => {}
                }
            }
            if !self.listens() {
                // It says more than is read: no silence.
                connection.excuse(now);
                return Ok(());
            }
            if !connection.receive()? {
                break;
            }
        }
        Ok(())
    }

    /// Frames that were passed over come again, in order, on a new connection; once there is room, or will be.
    pub(super) fn ask_again(&self) -> Result<(), Loss> {
        let is_time = self.resumed_at.is_some() || self.parked.is_empty();
        if self.passed_over > 0 && is_time { Err(Loss::PassedOver(self.passed_over)) } else { Ok(()) }
    }

    pub(super) fn lose_source(&mut self, loss: &Loss, now: u64) {
        if let (Some(mut connection), Some(refusal)) = (self.connection.take(), loss.refusal()) {
            connection.refuse(refusal);
        }
        self.absent_since = now;
        self.passed_over = 0;
        if !self.state.is_final() && !matches!(self.state, State::Settling { .. }) {
            self.report.links_lost += 1;
            self.tell(EventKind::LinkLost, format!("the link to the source is lost: {loss}"));
        }
    }

    pub(super) fn note_stop(&mut self, at_ns: u64, now: u64) {
        self.stopped_there = Some(at_ns);
        self.stopped_at.get_or_insert(now);
        if self.state == State::Gated {
            self.enter(State::Parked, "the VM has stopped at the source");
        }
    }

    /// Everything that the source has was sent before this; what it could not send will not come.
    pub(super) fn note_end(&mut self, end: wire::End) {
        if self.passed_over > 0 {
            // It will be said again after them.
            return;
        }
        self.has_end = true;
        self.next_index = self.next_index.max(end.next_index);
    }

    /// What is before the final cut the guest has; the rest is injected from then on. Where the VM runs before there is
    /// a final one, the first that comes holds.
    pub(super) fn follow_cut(&mut self, cut: Cut) {
        let known = self.cut;
        if known.is_some_and(|known| known.is_final) {
            return;
        }
        self.cut = Some(cut);
        if cut.is_final {
            self.report.cut_ns = Some(clock::realtime_ns());
        }
        if self.resumed_at.is_some() {
            self.next_index = self.next_index.max(cut.index);
            if let Some(used) = known.filter(|used| used.index > cut.index) {
                let missing = used.index - cut.index;
                let message = format!(
                    "the cut came when the VM ran already: {missing} frames from before the stop are lost"
                );
                self.warn("cut_late", &message);
            }
        } else if cut.is_final {
            self.drop_below(cut.index);
            if self.state == State::Parked {
                self.begin_to_inject();
            }
        }
    }

    pub(super) fn tell_resumed(&mut self) {
        if let (Some(at_ns), Some(connection)) = (self.report.resumed_ns, &mut self.connection) {
            connection.push(&Message::Resumed { at_ns });
        }
    }

    pub(super) fn acknowledge(&mut self, now: u64) {
        let is_due = now.saturating_sub(self.acked_at) >= nanos(ACK_EVERY);
        let next_index = if self.parked.is_empty() { self.next_index } else { self.parked_first };
        if !is_due || next_index == self.acked {
            return;
        }
        let report = &self.report;
        let ack = Ack {
            next_index,
            parked: report.parked_most,
            injected: report.injected,
            deduplicated: report.deduplicated,
            dropped: report.before_cut + report.refused,
        };
        if let Some(connection) = &mut self.connection {
            connection.push(&Message::Ack(ack));
            self.acked_at = now;
            self.acked = next_index;
        }
    }

    pub(super) fn say_discard(&mut self, reason: &str) {
        if let Some(connection) = &mut self.connection {
            connection.push(&Message::Discard { reason });
            connection.flush().ok();
        }
    }
}
