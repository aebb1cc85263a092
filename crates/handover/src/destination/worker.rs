//! The thread of a destination's netdev: one loop over what the VM does, the source, the TAP and the clock.
//!
//! This file has the loop and the transitions; [`talk`](super::talk) has what is said and heard, [`tap`](super::tap) the
//! gate and the TAP's queue, [`frames`](super::frames) has frames parked, compared and injected.

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
use tapferry_sys::link::Links;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::random::random_u128;
use tapferry_sys::scheduling;
use tapferry_sys::stamping::Stamping;
use tapferry_sys::{Error, clock};

use super::Command;
use super::state::State;
use super::twins::Twins;
use crate::connection::{Connection, PeerClock, nanos};
use crate::error::HandoverError;
use crate::event::{EventKind, Observer};
use crate::plan::DestinationPlan;
use crate::report::{DestinationReport, Entered, Outcome};
use crate::survey::Survey;
use crate::voice::Voice;
use crate::wire::Cut;

/// Between two looks at anything while frames are on their way.
pub(super) const TICK: Duration = Duration::from_millis(2);
/// Between two looks while nothing happens.
const IDLE_TICK: Duration = Duration::from_millis(250);
/// How long after the VM runs the source may be gone before it is given up.
const LONGEST_ABSENCE: Duration = Duration::from_secs(10);
/// How long to wait for a pause in the traffic in which the TAP's queue can be made as long as it was.
const LONGEST_SETTLING: Duration = Duration::from_secs(10);

/// The state of a destination's netdev, owned by its thread.
pub(super) struct Worker {
    pub(super) plan: DestinationPlan,
    pub(super) voice: Voice,
    pub(super) survey: Survey,
    pub(super) commands: Receiver<Command>,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) instance: u128,

    pub(super) ifindex: IfIndex,
    pub(super) mtu: u32,
    pub(super) links: Links,
    /// `txqueuelen` as it was, while it is another.
    pub(super) queue_length: Option<u32>,
    /// How long no frame must have come for its change, in nanoseconds.
    pub(super) pause: u64,
    /// Frames that the TAP's queue holds.
    pub(super) queue_room: u64,
    /// tx_packets and tx_dropped of the TAP when its gate was closed.
    pub(super) tap_before: (u64, u64),
    /// Frames that the VM had sent then.
    pub(super) tap_sent_before: u64,
    /// Whether it had sent more at the last look.
    pub(super) sends: bool,
    /// tx_packets and tx_dropped at the last look, and since when they have stood still (CLOCK_MONOTONIC).
    pub(super) tap_seen: ((u64, u64), u64),
    pub(super) exit: NetdevExit,
    pub(super) gate: Option<EgressGate>,
    pub(super) gate_tended_at: u64,
    /// Asked for long before the capture: on a busy machine the kernel takes a second to begin.
    _stamping: Option<Stamping>,
    pub(super) direct: Option<Capture>,
    pub(super) twins: Twins,

    pub(super) connection: Option<Connection>,
    pub(super) clock: PeerClock,
    /// The session that frames are of, and the next index of it that is wanted.
    pub(super) session: Option<u128>,
    pub(super) next_index: u64,
    pub(super) parked: FrameQueue,
    /// Index of the first that is parked.
    pub(super) parked_first: u64,
    /// Frames of the present connection that found no room, and all that came after them.
    pub(super) passed_over: u64,
    pub(super) acked_at: u64,
    pub(super) acked: u64,
    /// Why the last session came to nothing, as long as there is no other.
    pub(super) discarded: Option<String>,
    /// Whether the source has sent everything.
    pub(super) has_end: bool,

    pub(super) cut: Option<Cut>,
    /// Since when the source's VM is stopped, by the clock there (nanoseconds since 1970).
    pub(super) stopped_there: Option<u64>,
    /// The same by ours (CLOCK_MONOTONIC).
    pub(super) stopped_at: Option<u64>,
    /// Since when the VM runs (CLOCK_MONOTONIC).
    pub(super) resumed_at: Option<u64>,
    pub(super) is_vm_gone: bool,
    /// Since when there is no source (CLOCK_MONOTONIC).
    pub(super) absent_since: u64,

    pub(super) state: State,
    pub(super) report: DestinationReport,
    pub(super) announced_source: bool,
    pub(super) stopping: bool,
}

impl Worker {
    /// Closes the gate, and opens what there is to open.
    pub(super) fn open(
        plan: DestinationPlan,
        observer: Observer,
        inbox: Inbox<Command>,
    ) -> Result<Self, HandoverError> {
        plan.netdev.enter()?;
        let mut links = Links::open()?;
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
            voice: Voice::new(observer, &plan.identity.netdev_id),
            survey: Survey::open(name)?,
            commands: inbox.commands,
            wake: inbox.wake,
            instance: random_u128()
                .map_err(|errno| Error::new("get random bytes", name.to_string(), errno))?,
            ifindex: interface.ifindex,
            mtu: interface.mtu,
            links,
            queue_length: None,
            pause: 0,
            queue_room: interface.tx_queue_length.into(),
            tap_before: (interface.tx_packets, interface.tx_dropped),
            tap_sent_before: interface.rx_packets,
            sends: false,
            tap_seen: ((0, 0), now),
            exit,
            gate: None,
            gate_tended_at: now,
            _stamping: Stamping::start().ok(),
            direct: None,
            twins: Twins::default(),
            connection: None,
            clock: PeerClock::default(),
            session: None,
            next_index: 0,
            parked: FrameQueue::within(plan.max_hold),
            parked_first: 0,
            passed_over: 0,
            acked_at: 0,
            acked: 0,
            discarded: None,
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
        // Where it may not, frames may be overtaken while the host is busy.
        scheduling::go_first().ok();
        while !self.stopping && !self.state.is_final() {
            self.wait();
            self.obey();
            self.turn();
        }
        self.finish();
        self.report
    }

    fn wait(&self) {
        let mut tick = if self.state == State::Gated { IDLE_TICK } else { TICK };
        let mut descriptors = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        // One that is not read must not wake: a source that is gone would, without end.
        if let Some(connection) = self.connection.as_ref().filter(|_| self.listens()) {
            tick = connection.patience(tick);
            let flags = if connection.has_to_send() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
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
        if let Err(loss) = self.hear(now).and_then(|()| self.ask_again()) {
            self.lose_source(&loss, now);
        }
        // After the source's copies: what has come by itself before they were here is then known.
        self.pump_direct();
        if self.state.injects() {
            self.inject_parked();
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
                self.give_up(&format!("the VM did not run within {patience} s after the source was gone"));
            }
            _ => {}
        }
    }

    /// Whether the VM should run by now. As long as the source is there, it knows better how far the migration is.
    fn waits_in_vain(&self, now: u64) -> bool {
        let is_alone = self.resumed_at.is_none() && self.connection.is_none();
        is_alone && now.saturating_sub(self.absent_since) > nanos(self.plan.resume_timeout)
    }

    pub(super) fn begin_to_inject(&mut self) {
        self.enter(State::Injecting, format!("{} frames waited for the cut", self.parked.len()));
        if self.resumed_at.is_none() {
            self.sacrifice();
        }
    }

    /// The VM runs here.
    pub(super) fn resume_at(&mut self, at: Option<u64>) {
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
                if let Some(cut) = self.cut {
                    self.drop_below(cut.index);
                }
                self.enter(State::Injecting, "the VM runs, and the final cut is not known");
                self.inject_parked();
                self.open_gate();
            }
            State::Injecting => {
                self.inject_parked();
                self.open_gate();
            }
            _ => {}
        }
    }

    fn lose_vm(&mut self) {
        self.is_vm_gone = true;
        match self.resumed_at {
            None => {
                let discarded = self.discarded.take();
                let reason =
                    discarded.unwrap_or_else(|| "the VM has ended at the destination before it ran".into());
                self.say_discard(&reason);
                self.end_with(State::Discarded, Outcome::Cancelled, Some(reason));
            }
            Some(_) => self.give_up("the VM has ended at the destination"),
        }
    }

    pub(super) fn give_up(&mut self, reason: &str) {
        self.say_discard(reason);
        self.end_with(State::Failed, Outcome::Failed, Some(reason.to_owned()));
    }

    pub(super) fn end_with(&mut self, state: State, outcome: Outcome, reason: Option<String>) {
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
                let discarded = self.discarded.take();
                let is_cancelled = discarded.is_some();
                self.report.outcome = if is_cancelled { Outcome::Cancelled } else { Outcome::Stopped };
                self.report.reason = discarded.or(Some("it was told to stop before a migration came".into()));
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

    pub(super) fn enter(&mut self, state: State, message: impl Into<String>) {
        self.state = state;
        self.report.states.push(Entered { state: state.name(), at_ns: clock::realtime_ns() });
        self.tell(EventKind::State, message);
    }

    pub(super) fn tell(&self, kind: EventKind, message: impl Into<String>) {
        self.voice.tell(kind, self.state.name(), message);
    }

    pub(super) fn warn(&mut self, code: &'static str, message: &str) {
        self.voice.warn(code, self.state.name(), message);
    }
}
