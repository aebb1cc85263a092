//! The thread of a destination's netdev: one loop over what the VM does, the source, the TAP and the clock.
//!
//! This file has the loop and the transitions; [`frames`](super::frames) has frames parked, compared and injected.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tapferry_redirect::error::{Role as End, StartError};
use tapferry_redirect::parts::{Capture, FrameQueue, NetdevExit};
use tapferry_redirect::thread::Inbox;
use tapferry_sys::egress_gate::EgressGate;
use tapferry_sys::inject::Injector;
use tapferry_sys::link::LinkWatch;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::queue_length;
use tapferry_sys::random::random_u128;
use tapferry_sys::{Error, clock};

use super::Command;
use super::reception::Visit;
use super::state::State;
use super::twins::Twins;
use crate::connection::{Connection, Loss, PeerClock, nanos};
use crate::error::HandoverError;
use crate::event::{Event, EventKind, Observer};
use crate::plan::{DestinationPlan, QUEUE_LENGTH};
use crate::report::{DestinationReport, Entered, Outcome};
use crate::wire::{self, Ack, Cut, Hello, Message, Refusal, RefusalCode, Role};

/// Between two looks at anything while frames are on their way.
const TICK: Duration = Duration::from_millis(2);
/// Between two looks while nothing happens.
const IDLE_TICK: Duration = Duration::from_millis(250);
/// A gate whose process hangs opens after this long.
const GATE_LIFE: Duration = Duration::from_secs(3);
/// Between two prolongations of that.
const GATE_CARE: Duration = Duration::from_millis(500);
/// Reads from the source between two looks at everything else.
const READS_PER_TURN: usize = 64;
/// Between two acknowledgements.
const ACK_EVERY: Duration = Duration::from_millis(20);
/// How long after the VM runs the source may be gone before it is given up.
const LONGEST_ABSENCE: Duration = Duration::from_secs(10);
/// How long to wait for a pause in the traffic in which the TAP's queue can be made as long as it was.
const LONGEST_SETTLING: Duration = Duration::from_secs(10);
/// The same when it is told to stop.
const LAST_SETTLING: Duration = Duration::from_millis(200);
/// A pause: the kernel takes a few milliseconds for the change, and drops what comes in that time.
const PAUSE: Duration = Duration::from_millis(50);

/// The state of a destination's netdev, owned by its thread.
pub(super) struct Worker {
    pub(super) plan: DestinationPlan,
    observer: Observer,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    instance: u128,

    pub(super) ifindex: IfIndex,
    pub(super) mtu: u32,
    pub(super) links: LinkWatch,
    /// `txqueuelen` as it was, while it is another.
    queue_length: Option<u32>,
    /// Frames that the TAP's queue holds.
    pub(super) queue_room: u64,
    /// tx_packets and tx_dropped of the TAP when its gate was closed.
    pub(super) tap_before: (u64, u64),
    /// Frames that the VM had sent then.
    tap_sent_before: u64,
    /// Whether it had sent more at the last look.
    sends: bool,
    /// tx_packets and tx_dropped at the last look, and since when they have stood still (CLOCK_MONOTONIC).
    tap_seen: ((u64, u64), u64),
    pub(super) exit: NetdevExit,
    pub(super) gate: Option<EgressGate>,
    gate_tended_at: u64,
    pub(super) direct: Option<Capture>,
    pub(super) twins: Twins,

    connection: Option<Connection>,
    pub(super) clock: PeerClock,
    /// The session that frames are of, and the next index of it that is wanted.
    pub(super) session: Option<u128>,
    pub(super) next_index: u64,
    pub(super) parked: FrameQueue,
    /// Index of the first that is parked.
    pub(super) parked_first: u64,
    acked_at: u64,
    acked: u64,
    /// Whether the source has sent everything.
    has_end: bool,

    cut: Option<Cut>,
    /// Since when the source's VM is stopped, by the clock there (nanoseconds since 1970).
    pub(super) stopped_there: Option<u64>,
    /// The same by ours (CLOCK_MONOTONIC).
    stopped_at: Option<u64>,
    /// Since when the VM runs (CLOCK_MONOTONIC).
    pub(super) resumed_at: Option<u64>,
    is_vm_gone: bool,
    /// Since when there is no source (CLOCK_MONOTONIC).
    absent_since: u64,

    pub(super) state: State,
    pub(super) report: DestinationReport,
    announced_source: bool,
    warned: Vec<&'static str>,
    stopping: bool,
}

impl Worker {
    /// Closes the gate, and opens what there is to open.
    pub(super) fn open(
        plan: DestinationPlan,
        observer: Observer,
        inbox: Inbox<Command>,
    ) -> Result<Self, HandoverError> {
        plan.netdev.enter()?;
        let mut links = LinkWatch::open()?;
        let name = &plan.netdev.name;
        let interface =
            links.by_name(name)?.ok_or_else(|| HandoverError::no_netdev(End::OutNetdev, name.as_str()))?;
        if !interface.is_ethernet {
            return Err(StartError::NotEthernet { role: End::OutNetdev, name: name.to_string() }.into());
        }
        let mut exit = NetdevExit::default();
        exit.attach(Injector::open(name, plan.mark)?);
        let now = clock::monotonic_ns();
        let mut worker = Self {
            observer,
            commands: inbox.commands,
            wake: inbox.wake,
            instance: random_u128()
                .map_err(|errno| Error::new("get random bytes", name.to_string(), errno))?,
            ifindex: interface.ifindex,
            mtu: interface.mtu,
            links,
            queue_length: None,
            queue_room: interface.tx_queue_length.into(),
            tap_before: (interface.tx_packets, interface.tx_dropped),
            tap_sent_before: interface.rx_packets,
            sends: false,
            tap_seen: ((0, 0), now),
            exit,
            gate: None,
            gate_tended_at: now,
            direct: None,
            twins: Twins::default(),
            connection: None,
            clock: PeerClock::default(),
            session: None,
            next_index: 0,
            parked: FrameQueue::new(plan.max_hold, usize::MAX),
            parked_first: 0,
            acked_at: 0,
            acked: 0,
            has_end: false,
            cut: None,
            stopped_there: None,
            stopped_at: None,
            resumed_at: None,
            is_vm_gone: false,
            absent_since: now,
            state: State::Gated,
            report: DestinationReport::default(),
            announced_source: false,
            warned: Vec::new(),
            stopping: false,
            plan,
        };
        worker.close_gate();
        worker.raise_queue_length(interface.tx_queue_length);
        worker.enter(State::Gated, "waiting for the source");
        Ok(worker)
    }

    /// Runs until the handover has ended or it is told to stop, and returns the final report.
    pub(super) fn run(mut self) -> DestinationReport {
        while !self.stopping && !self.state.is_final() {
            self.wait();
            self.obey();
            self.turn();
        }
        self.finish();
        self.report
    }

    fn wait(&self) {
        let tick = if self.state == State::Gated { IDLE_TICK } else { TICK };
        let mut descriptors = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        // One that is not read must not wake: a source that is gone would, without end.
        if let Some(connection) = self.connection.as_ref().filter(|_| self.has_room()) {
            let has_backlog = connection.backlog() > 0;
            let flags = if has_backlog { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            descriptors.push(PollFd::new(connection, flags));
        }
        let captures = self.direct.iter().flat_map(Capture::descriptors);
        descriptors.extend(captures.map(|capture| PollFd::from_borrowed_fd(capture, PollFlags::IN)));
        poll(&mut descriptors, Timespec::try_from(tick).ok().as_ref()).ok();
        rustix::io::read(self.wake.as_fd(), &mut [0; 8]).ok();
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Welcome(visit) => self.welcome(*visit),
                Command::Resumed(at) => self.resume_at(at),
                Command::Gone => self.lose_vm(),
                Command::Report(reply) => {
                    self.update_report();
                    reply.send(self.report.clone()).ok();
                }
                Command::Stop => self.stopping = true,
            }
        }
    }

    /// Everything that is due.
    fn turn(&mut self) {
        let now = clock::monotonic_ns();
        self.tend_gate(now);
        if let Err(loss) = self.hear(now) {
            self.lose_source(&loss, now);
        }
        // After the source's copies: what has come by itself before they were here is then known.
        self.pump_direct(now);
        if self.state.injects() {
            self.inject_parked(now);
        }
        self.advance(now);
        self.acknowledge(now);
        if let Some(connection) = &mut self.connection
            && let Err(loss) = connection.keep_alive(now).and_then(|()| connection.flush())
        {
            self.lose_source(&loss, now);
        }
    }

    /// Moves on where nothing more has to come, or has not come in time.
    fn advance(&mut self, now: u64) {
        let absent = self.connection.is_none().then(|| now.saturating_sub(self.absent_since));
        match self.state {
            State::Injecting if self.parked.is_empty() => self.open_gate(),
            State::Passing if self.has_end && self.parked.is_empty() && self.resumed_at.is_some() => {
                self.enter(State::Settling { since: now }, "everything from the source is here");
            }
            State::Settling { since } => {
                let has_waited = now.saturating_sub(since) > nanos(LONGEST_SETTLING);
                if self.queue_length.is_none() || self.is_pause(now) || has_waited {
                    // At once: the next pause may be far.
                    self.restore_queue_length();
                    self.end_with(State::Done, Outcome::Done, None);
                }
            }
            State::Passing
                if self.resumed_at.is_some_and(|at| {
                    absent.is_some_and(|absent| absent.min(now.saturating_sub(at)) > nanos(LONGEST_ABSENCE))
                }) =>
            {
                let reason = match self.session {
                    Some(_) => "the source was lost before it had sent everything",
                    None => "the VM runs, and no source has come: nothing was handed over",
                };
                self.end_with(State::Failed, Outcome::Failed, Some(reason.into()));
            }
            State::Parked | State::Injecting | State::Passing if self.waits_in_vain(now) => {
                let patience = self.plan.resume_timeout.as_secs();
                self.give_up(&format!("the VM did not run within {patience} s"));
            }
            _ => {}
        }
    }

    fn waits_in_vain(&self, now: u64) -> bool {
        let patience = nanos(self.plan.resume_timeout);
        self.resumed_at.is_none() && self.stopped_at.is_some_and(|at| now.saturating_sub(at) > patience)
    }

    /// Whether nothing is sent to the guest at the moment, and it has read what was.
    fn is_pause(&mut self, now: u64) -> bool {
        let tap = self.tap_counters();
        if self.tap_seen.0 != tap {
            self.tap_seen = (tap, now);
        }
        now.saturating_sub(self.tap_seen.1) > nanos(PAUSE) && self.tap_backlog() == 0
    }

    /// Waits for a pause, for a short while.
    fn comes_to_pause(&mut self) -> bool {
        let deadline = clock::monotonic_ns() + nanos(LAST_SETTLING);
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

    fn close_gate(&mut self) {
        match EgressGate::close(self.ifindex, self.plan.mark, GATE_LIFE) {
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
        self.report.gated = self.gate.is_some();
    }

    fn tend_gate(&mut self, now: u64) {
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
    fn look_for_signs_of_life(&mut self) {
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

    fn raise_queue_length(&mut self, before: u32) {
        if before >= QUEUE_LENGTH {
            return;
        }
        match queue_length::set(self.ifindex, QUEUE_LENGTH) {
            Ok(()) => {
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

    /// From now on what the network delivers reaches the TAP, and is compared with what the source sends.
    fn open_gate(&mut self) {
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

    fn welcome(&mut self, visit: Visit) {
        let Visit { mut connection, hello } = visit;
        let is_same = self.session == Some(hello.session);
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
        connection.push(&Message::Hello(self.hello(&hello, is_same.then_some(self.next_index))));
        connection.note_greeted();
        if !is_same {
            (self.session, self.next_index) = (Some(hello.session), 0);
        }
        self.connection = Some(connection);
        // What it was told on the connection before may have been lost with that.
        self.acked = 0;
        self.tell_resumed();
        if self.announced_source {
            self.tell(EventKind::LinkBack, "the source is there again");
        } else {
            self.announced_source = true;
            if hello.mtu > self.mtu {
                let message = format!(
                    "the source's TAP has an MTU of {}, this one of {}: longer frames are lost",
                    hello.mtu, self.mtu
                );
                self.warn("mtu_smaller", &message);
            }
            self.tell(EventKind::Ready, format!("the source of VM '{}' has come", hello.vm_name));
        }
    }

    fn turn_away(&self, mut connection: Connection, code: RefusalCode, text: &str) {
        self.tell(EventKind::PeerRefused, format!("a source was refused: {text}"));
        connection.refuse(Refusal { code, text: text.into() });
    }

    fn hello(&self, theirs: &Hello, next_index: Option<u64>) -> Hello {
        let identity = &self.plan.identity;
        Hello {
            role: Role::Destination,
            session: theirs.session,
            instance: self.instance,
            vm_uuid: identity.vm_uuid,
            vm_name: identity.vm_name.clone(),
            netdev_id: identity.netdev_id.clone(),
            mac: identity.mac,
            mtu: self.mtu,
            offloads: 0,
            vnet_hdr_len: 0,
            realtime_ns: clock::realtime_ns(),
            next_index,
        }
    }

    /// Takes in what the source says, as long as there is room for its frames.
    fn hear(&mut self, now: u64) -> Result<(), Loss> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let heard = self.hear_from(&mut connection, now);
        if connection.clock().offset_ns().is_some() {
            self.clock = connection.clock();
        }
        self.connection = Some(connection);
        heard
    }

    fn hear_from(&mut self, connection: &mut Connection, now: u64) -> Result<(), Loss> {
        for _ in 0..READS_PER_TURN {
            while self.has_room() {
                let Some(message) = connection.next()? else { break };
                match message {
                    Message::Frame(frame) => self.park(&frame),
                    Message::Stopped { at_ns } => self.note_stop(at_ns, now),
                    Message::Cut(cut) => self.follow_cut(cut),
                    Message::End(end) => self.note_end(end),
                    Message::Discard { reason } => self.discard(reason),
                    Message::Refusal(refusal) => return Err(Loss::Refused(refusal.text)),
                    // Pings and their answers.
                    _ => {}
                }
            }
            if !self.has_room() {
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

    fn lose_source(&mut self, loss: &Loss, now: u64) {
        if let (Some(mut connection), Some(refusal)) = (self.connection.take(), loss.refusal()) {
            connection.refuse(refusal);
        }
        self.absent_since = now;
        if !self.state.is_final() && !matches!(self.state, State::Settling { .. }) {
            self.report.links_lost += 1;
            self.tell(EventKind::LinkLost, format!("the link to the source is lost: {loss}"));
        }
    }

    fn note_stop(&mut self, at_ns: u64, now: u64) {
        self.stopped_there = Some(at_ns);
        self.stopped_at.get_or_insert(now);
        if self.state == State::Gated {
            self.enter(State::Parked, "the VM has stopped at the source");
        }
    }

    /// Everything that the source has was sent before this; what it could not send will not come.
    fn note_end(&mut self, end: wire::End) {
        self.has_end = true;
        self.next_index = self.next_index.max(end.next_index);
    }

    /// What is before the cut the guest has; the rest is injected from now on.
    fn follow_cut(&mut self, cut: Cut) {
        if self.cut.is_some_and(|known| known.is_final) {
            return;
        }
        self.cut = Some(cut);
        self.drop_below(cut.index);
        if cut.is_final {
            self.report.cut_ns = Some(clock::realtime_ns());
            if self.state == State::Parked {
                self.begin_to_inject();
            }
        }
    }

    fn begin_to_inject(&mut self) {
        self.enter(State::Injecting, format!("{} frames waited for the cut", self.parked.len()));
        if self.resumed_at.is_none() {
            self.sacrifice();
        }
    }

    /// The VM runs here.
    fn resume_at(&mut self, at: Option<u64>) {
        if self.resumed_at.is_some() {
            return;
        }
        self.resumed_at = Some(clock::monotonic_ns());
        let seen = clock::realtime_ns();
        self.report.resumed_ns = Some(at.filter(|at| *at <= seen).unwrap_or(seen));
        self.tell_resumed();
        match self.state {
            // Whatever is known of the cut now is the best there is.
            State::Gated | State::Parked => {
                self.enter(State::Injecting, "the VM runs, and the final cut is not known");
                self.inject_parked(clock::monotonic_ns());
                self.open_gate();
            }
            State::Injecting => {
                self.inject_parked(clock::monotonic_ns());
                self.open_gate();
            }
            _ => {}
        }
    }

    fn tell_resumed(&mut self) {
        if let (Some(at_ns), Some(connection)) = (self.report.resumed_ns, &mut self.connection) {
            connection.push(&Message::Resumed { at_ns });
        }
    }

    fn acknowledge(&mut self, now: u64) {
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

    /// The migration was cancelled, says the source.
    fn discard(&mut self, reason: &str) {
        if self.resumed_at.is_none() {
            self.end_with(State::Discarded, Outcome::Cancelled, Some(reason.to_owned()));
        }
    }

    fn lose_vm(&mut self) {
        self.is_vm_gone = true;
        match self.resumed_at {
            None => {
                const REASON: &str = "the VM has ended at the destination before it ran";
                self.say_discard(REASON);
                self.end_with(State::Discarded, Outcome::Cancelled, Some(REASON.into()));
            }
            Some(_) => self.give_up("the VM has ended at the destination"),
        }
    }

    fn give_up(&mut self, reason: &str) {
        self.say_discard(reason);
        self.end_with(State::Failed, Outcome::Failed, Some(reason.to_owned()));
    }

    fn say_discard(&mut self, reason: &str) {
        if let Some(connection) = &mut self.connection {
            connection.push(&Message::Discard { reason });
            connection.flush().ok();
        }
    }

    fn end_with(&mut self, state: State, outcome: Outcome, reason: Option<String>) {
        let message = reason.clone().unwrap_or_else(|| "the guest has what came for it".into());
        self.report.outcome = outcome;
        self.report.reason = reason;
        self.enter(state, message);
    }

    fn finish(&mut self) {
        match self.state {
            // Only the TAP's queue length was waited for.
            State::Settling { .. } => self.report.outcome = Outcome::Done,
            state if state.is_final() => {}
            State::Gated => {
                self.report.outcome = Outcome::Stopped;
                self.report.reason = Some("it was told to stop before a migration came".into());
            }
            _ => {
                const REASON: &str = "tapferry at the destination was told to stop in the midst of it";
                self.say_discard(REASON);
                self.report.outcome = Outcome::Failed;
                self.report.reason = Some(REASON.into());
            }
        }
        self.acked_at = 0;
        self.acknowledge(clock::monotonic_ns());
        if let Some(connection) = &mut self.connection {
            connection.flush().ok();
        }
        self.update_report();
        self.gate = None;
        self.direct = None;
        self.report.discarded += std::mem::take(&mut self.report.parked);
        self.restore_queue_length();
        self.tell(EventKind::Ended, self.report.outcome.name());
    }

    /// Makes the TAP's queue as long as it was; not while frames come for a VM that runs, or wait for one that may run
    /// yet, because some would be lost.
    fn restore_queue_length(&mut self) {
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

    fn enter(&mut self, state: State, message: impl Into<String>) {
        self.state = state;
        self.report.states.push(Entered { state: state.name(), at_ns: clock::realtime_ns() });
        self.tell(EventKind::State, message);
    }

    fn tell(&self, kind: EventKind, message: impl Into<String>) {
        let event = Event::new(kind, self.state.name(), message);
        (self.observer)(event.about(&self.plan.identity.netdev_id));
    }

    pub(super) fn warn(&mut self, code: &'static str, message: &str) {
        if !self.warned.contains(&code) {
            self.warned.push(code);
            let event = Event::new(EventKind::Warning, self.state.name(), message).with_code(code);
            (self.observer)(event.about(&self.plan.identity.netdev_id));
        }
    }
}
