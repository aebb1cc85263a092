//! What the source says to the destination, and what it hears.

use std::time::Duration;

use tapferry_redirect::Address;
use tapferry_sys::clock;

use super::state::State;
use super::worker::{CANCELLED, Worker};
use crate::compare::compare;
use crate::connection::{Loss, nanos};
use crate::error::HandoverError;
use crate::event::EventKind;
use crate::wire::{self, Hello, Message, Refusal, RefusalCode, Role};

/// How long the network may take at least to learn where the VM is now.
const LEARNING: Duration = Duration::from_secs(1);
/// So long no frame for the VM alone must have come before the end is told.
const QUIET: Duration = Duration::from_millis(500);
/// The network has learned after this, or never will.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
/// Reads from the link between two looks at everything else.
const READS_PER_TURN: usize = 64;

impl Worker {
    pub(super) fn follow_link(&mut self) -> Result<(), HandoverError> {
        if self.link.is_to_greet() {
            let hello = self.hello();
            self.link.greet(&hello);
        }
        self.tell_of_tls();
        match self.hear() {
            Ok(()) => Ok(()),
            Err(loss) => self.lose_link(&loss),
        }
    }

    fn tell_of_tls(&mut self) {
        while let Some(notice) = self.link.take_notice() {
            let text = format!("{}: {notice}", self.plan.to.address);
            match notice.code() {
                Some(code) => self.warn(code, &text),
                None => self.tell(EventKind::CredentialsRenewed, text),
            }
        }
    }

    pub(super) fn flush_link(&mut self, now: u64) -> Result<(), HandoverError> {
        let Some(connection) = self.link.connection() else {
            if !self.announced_waiting && !self.announced_ready {
                self.announced_waiting = true;
                let message = format!("waiting for the destination at {}", self.plan.to.address);
                self.tell(EventKind::Waiting, message);
            }
            return Ok(());
        };
        match connection.keep_alive(now).and_then(|()| connection.flush()) {
            Ok(()) => Ok(()),
            Err(loss) => self.lose_link(&loss),
        }
    }

    /// Takes in what the destination says.
    pub(super) fn hear(&mut self) -> Result<(), Loss> {
        for _ in 0..READS_PER_TURN {
            loop {
                let Some(connection) = self.link.connection() else { return Ok(()) };
                let Some(message) = connection.next()? else { break };
                match message {
                    Message::Hello(hello) => self.welcome(&hello)?,
                    Message::Refusal(refusal) => return Err(Loss::Refused(refusal.text)),
                    Message::Resumed { at_ns } => self.drain_since(at_ns),
                    Message::Ack(ack) => self.note_ack(ack.next_index),
                    Message::Discard { reason } => {
                        let reason = format!("the destination gave up: {reason}");
                        self.give_up(&reason);
                    }
                    // A ping that was sent after the end, or with it, was heard after it.
                    Message::Pong { ping_ns, .. } => {
                        let is_told = matches!(self.state, State::Drain { told: Some(_), .. });
                        self.end_is_heard |= is_told && ping_ns >= self.end_told_ns;
                    }
                    // Pings have been answered; what only a source says means nothing to one.
                    _ => {}
                }
            }
            let Some(connection) = self.link.connection() else { return Ok(()) };
            if !connection.receive()? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn note_ack(&mut self, next_index: u64) {
        let before = self.kept.acked();
        self.kept.acknowledge(next_index);
        if let State::Drain { told, .. } = &mut self.state {
            self.kept.forget_acknowledged();
            // Over a slow link the end is far behind: patience is for the next frames.
            if self.kept.acked() > before && told.is_some() {
                *told = Some(clock::monotonic_ns());
            }
        }
    }

    pub(super) fn welcome(&mut self, hello: &Hello) -> Result<(), Loss> {
        if hello.role != Role::Destination {
            let text = "it is a source as well: exchange --to of one of them";
            if let Some(connection) = self.link.connection() {
                connection.refuse(Refusal { code: RefusalCode::Role, text: text.into() });
            }
            return Err(Loss::Refused(text.into()));
        }
        self.link.come_up();
        // Another one may take the place of one that had given up.
        self.given_up = None;
        match hello.next_index {
            Some(index) => self.kept.resume_at(index),
            // Without a final cut nothing of it was injected.
            None if self.state == State::Asking => self.kept.resume_at(0),
            None => {
                let doubtful = self.kept.give_up_sent();
                if doubtful > 0 {
                    let message = format!(
                        "the destination is another process: {doubtful} frames that the one before had not confirmed are not sent again"
                    );
                    self.warn("peer_restarted", &message);
                }
            }
        }
        self.tell_cut();
        if let State::Drain { told, .. } = &mut self.state {
            // The end comes after whatever is sent again.
            *told = None;
        }
        if self.announced_ready {
            self.tell(EventKind::LinkBack, "the destination is there again");
        } else {
            self.announced_ready = true;
            let ours = self.hello();
            self.voice.warn_of(&compare(&ours, hello, None), self.state.name());
            let message = format!("armed; the destination {} has answered", self.plan.to.address);
            self.tell(EventKind::Ready, message);
        }
        Ok(())
    }

    /// Tells the destination where things stand, as often as there is a new connection.
    pub(super) fn tell_cut(&mut self) {
        let (Some((at_ns, _)), Some(cut)) = (self.stopped, &self.cut) else { return };
        let is_final = self.state != State::Asking;
        let cut = Message::Cut(wire::Cut { index: cut.index, is_final, method: cut.method });
        if let Some(connection) = self.link.up() {
            connection.push(&Message::Stopped { at_ns });
            connection.push(&cut);
            if let State::GiveBack { .. } = self.state {
                connection.push(&Message::Discard { reason: CANCELLED });
            }
        }
    }

    pub(super) fn lose_link(&mut self, loss: &Loss) -> Result<(), HandoverError> {
        if let (Some(connection), Some(refusal)) = (self.link.connection(), loss.refusal()) {
            connection.refuse(refusal);
        }
        let was_up = self.link.lose(loss)?;
        self.absent_since = clock::monotonic_ns();
        // A destination that has given up, or has everything, goes.
        let is_over = match self.state {
            State::GiveBack { .. } => true,
            State::Drain { .. } => self.end_is_heard && self.kept.is_acknowledged(),
            _ => self.given_up.is_some(),
        };
        if was_up && is_over {
            return Ok(());
        }
        if was_up {
            self.report.links_lost += 1;
            self.tell(EventKind::LinkLost, format!("the link to the destination is lost: {loss}"));
        } else if let Loss::Refused(_) | Loss::Wire(_) = loss {
            let message = format!("{} does not want this handover: {loss}", self.plan.to.address);
            self.warn("peer_refuses", &message);
        } else if let Loss::Closed = loss
            && !self.announced_closing
        {
            self.announced_closing = true;
            let is_plain =
                matches!(self.plan.to.address, Address::Tcp { .. }) && self.plan.to.tls_creds.is_none();
            let question = if is_plain { ": does it want TLS (--tls-creds)?" } else { "" };
            let message =
                format!("{} closes the connection before it says who it is{question}", self.plan.to.address);
            self.tell(EventKind::Waiting, message);
        }
        Ok(())
    }

    /// The destination has no use for what comes from here.
    pub(super) fn give_up(&mut self, reason: &str) {
        match self.state {
            // The VM here may run on, and then nothing is lost.
            State::Armed | State::Calibrate => self.warn("destination_gone", reason),
            state if state.is_open() => {
                self.given_up.get_or_insert_with(|| (clock::monotonic_ns(), reason.to_owned()));
            }
            State::Drain { .. } => self.fail(reason),
            _ => {}
        }
    }

    pub(super) fn hello(&mut self) -> Hello {
        Hello {
            session: self.session,
            instance: self.instance,
            ..self.survey.hello(Role::Source, &self.plan.identity)
        }
    }

    /// The VM runs at the destination since `at` (nanoseconds since 1970, that host's clock).
    pub(super) fn drain_since(&mut self, at: u64) {
        self.resumed_there = Some(at);
        if self.state == State::Calibrate {
            // It has stopped here, although nobody has told.
            self.stop_at(None);
        }
        // From here on the provisional cut holds there.
        self.decide();
        if let State::Forward { .. } = self.state {
            self.report.resumed_ns = Some(self.link.clock().here(at));
            let since = clock::monotonic_ns();
            // There is no way back any more.
            self.kept.forget_acknowledged();
            self.enter(State::Drain { since, told: None }, "the VM runs at the destination");
            self.warn_of_backlog();
        }
    }

    pub(super) fn is_quiet(&self, since: u64, now: u64) -> bool {
        let (learning, drained) = (now.saturating_sub(since), now.saturating_sub(self.unicast_at));
        learning > nanos(LONGEST_DRAIN) || (learning > nanos(LEARNING) && drained > nanos(QUIET))
    }

    pub(super) fn tell_end(&mut self, since: u64, now: u64) {
        if !self.link.is_up() {
            return;
        }
        self.close_capture();
        self.send_frames();
        // What has no room on the link yet goes first.
        if !self.kept.is_sent() {
            return;
        }
        self.state = State::Drain { since, told: Some(now) };
        self.push_end();
    }
}
