//! The thread of a source: one loop over what the VM does, the link, the capture and the clock.
//!
//! This file has the loop and the transitions; [`talk`](super::talk) has what is said and heard, [`frames`](super::frames)
//! has frames captured and sent.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tapferry_redirect::error::{Role as End, StartError};
use tapferry_redirect::parts::{Capture, FrameQueue, NetdevExit};
use tapferry_redirect::thread::Inbox;
use tapferry_sys::inject::Injector;
use tapferry_sys::link::Links;
use tapferry_sys::namespace::Namespace;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::random::random_u128;
use tapferry_sys::scheduling;
use tapferry_sys::stamping::Stamping;
use tapferry_sys::tap::HeldTap;
use tapferry_sys::{Error, clock};

use super::Command;
use super::kept::Kept;
use super::link::Link;
use super::state::State;
use crate::connection::nanos;
use crate::cut::{Cut, GiveBack};
use crate::error::HandoverError;
use crate::event::{EventKind, Observer};
use crate::evidence::{CAPTURE_LAG, Evidence};
use crate::plan::SourcePlan;
use crate::report::{Entered, Outcome, SourceReport};
use crate::survey::Survey;
use crate::voice::Voice;
use crate::wire::Method;

/// Between two samples while the VM migrates, and between two looks at anything while frames are on their way.
const TICK: Duration = Duration::from_millis(5);
/// Between two looks at the queue of a guest that may run on.
const HASTY_TICK: Duration = Duration::from_millis(1);
/// Between two looks while nothing happens.
const IDLE_TICK: Duration = Duration::from_millis(500);
/// How long the destination may take to confirm the end, or the next frames before it, or to hear that there is none.
const CONFIRMATION: Duration = Duration::from_secs(5);
/// How long the destination may be gone after the VM runs there.
const LONGEST_ABSENCE: Duration = Duration::from_secs(10);
/// How long the VM may take to run on here after the destination has given up.
const RETURN: Duration = Duration::from_secs(10);
/// How long after the end of the VM's process its TAP is held at most: nobody else can have it.
const LONGEST_HOLD: Duration = Duration::from_secs(5);
/// How long after a cancelled migration the VM's queue shows what it was given first.
const GIVE_BACK: Duration = Duration::from_millis(150);

/// Why nothing is handed over.
pub(super) const CANCELLED: &str =
    "the VM runs on at the source: its migration was cancelled or has failed, or it was only paused";

/// Frames that QEMU may have read and not given to its guest when it stopped; more than were ever seen.
const DOUBTFUL: usize = 16;
/// Room for them.
const DOUBTFUL_BYTES: usize = 2 * 1024 * 1024;

/// A source's state, owned by its thread.
pub(super) struct Worker {
    pub(super) plan: SourcePlan,
    pub(super) voice: Voice,
    pub(super) survey: Survey,
    pub(super) commands: Receiver<Command>,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) session: u128,
    pub(super) instance: u128,

    pub(super) ifindex: IfIndex,
    pub(super) mtu: u32,
    /// Frames that the TAP's queue holds.
    pub(super) queue_length: u32,
    pub(super) links: Links,
    pub(super) tap: Vec<HeldTap>,
    pub(super) exit: NetdevExit,
    /// Asked for long before the capture: on a busy machine the kernel takes a second to begin.
    _stamping: Option<Stamping>,
    pub(super) capture: Option<Capture>,
    /// The same when it captures no more.
    pub(super) closed_capture: Option<Capture>,
    pub(super) kept: Kept,
    /// Copies of the first frames behind the cut.
    pub(super) doubtful: FrameQueue,
    /// Which of these its process has thrown away, as soon as that is seen.
    pub(super) thrown_away: Option<GiveBack>,
    /// Frames taken from the capture.
    pub(super) captured: u64,
    pub(super) link: Link,

    pub(super) evidence: Option<Evidence>,
    /// Whether its process has read all that was there for it when the capture began.
    pub(super) has_caught_up: bool,
    /// Frames that it had read when that was looked at first.
    pub(super) read_at_first: Option<u64>,
    pub(super) sampled_at: u64,
    pub(super) cut: Option<Cut>,
    /// What the TAP had dropped when the VM stopped, and what it has when the VM runs on.
    pub(super) tap_dropped: (u64, u64),
    /// When the VM stopped, as it says (CLOCK_REALTIME), and when this was known here.
    pub(super) stopped: Option<(u64, u64)>,
    /// When the last frame for the VM alone was captured (CLOCK_MONOTONIC).
    pub(super) unicast_at: u64,
    /// When it became known that the VM runs on here (CLOCK_REALTIME).
    pub(super) runs_on_since: u64,
    /// Since when the VM's process is gone (CLOCK_MONOTONIC).
    pub(super) gone_at: Option<u64>,
    /// Since when the VM's state is at the destination (CLOCK_MONOTONIC).
    pub(super) completed_at: Option<u64>,
    /// Since when there is no destination (CLOCK_MONOTONIC).
    pub(super) absent_since: u64,
    /// When the end was told (CLOCK_REALTIME), and whether the destination has heard it.
    pub(super) end_told_ns: u64,
    pub(super) end_is_heard: bool,
    /// Since when the destination has given up (CLOCK_MONOTONIC), and why.
    pub(super) given_up: Option<(u64, String)>,
    /// Since when the VM runs at the destination, by the clock there (nanoseconds since 1970).
    pub(super) resumed_there: Option<u64>,

    pub(super) state: State,
    pub(super) report: SourceReport,
    pub(super) announced_ready: bool,
    pub(super) announced_waiting: bool,
    pub(super) announced_closing: bool,
    pub(super) stopping: bool,
}

impl Worker {
    /// Opens what there is to open.
    pub(super) fn open(
        mut plan: SourcePlan,
        observer: Observer,
        inbox: Inbox<Command>,
    ) -> Result<Self, HandoverError> {
        // The TAP may be in another network namespace than the way to the destination.
        if plan.netdev.namespace.is_some() && plan.to.namespace.is_none() {
            plan.to.namespace = Some(Namespace::own()?);
        }
        let link = Link::open(&plan.to, &inbox.wake)?;
        plan.netdev.enter()?;
        let mut links = Links::open()?;
        let name = &plan.netdev.name;
        let interface =
            links.by_name(name)?.ok_or_else(|| HandoverError::no_netdev(End::InNetdev, name.as_str()))?;
        if !interface.is_ethernet {
            return Err(StartError::NotEthernet { role: End::InNetdev, name: name.to_string() }.into());
        }
        let mut exit = NetdevExit::default();
        exit.attach(Injector::open(name, plan.mark)?);
        let random =
            || random_u128().map_err(|errno| Error::new("get random bytes", name.to_string(), errno));
        let mut worker = Self {
            voice: Voice::new(observer, &plan.identity.netdev_id),
            survey: Survey::open(name)?,
            commands: inbox.commands,
            wake: inbox.wake,
            session: random()?,
            instance: random()?,
            ifindex: interface.ifindex,
            mtu: interface.mtu,
            queue_length: interface.tx_queue_length,
            links,
            tap: Vec::new(),
            exit,
            _stamping: Stamping::start().ok(),
            capture: None,
            closed_capture: None,
            kept: Kept::within(plan.max_hold),
            doubtful: FrameQueue::new(DOUBTFUL_BYTES, DOUBTFUL),
            thrown_away: None,
            captured: 0,
            link,
            evidence: None,
            has_caught_up: false,
            read_at_first: None,
            sampled_at: 0,
            cut: None,
            tap_dropped: (0, 0),
            stopped: None,
            unicast_at: 0,
            runs_on_since: 0,
            gone_at: None,
            completed_at: None,
            absent_since: clock::monotonic_ns(),
            end_told_ns: 0,
            end_is_heard: false,
            given_up: None,
            resumed_there: None,
            state: State::Armed,
            report: SourceReport::default(),
            announced_ready: false,
            announced_waiting: false,
            announced_closing: false,
            stopping: false,
            plan,
        };
        worker.enter(State::Armed, "armed: waiting for a migration");
        Ok(worker)
    }

    /// Runs until the handover has ended or it is told to stop, and returns the final report.
    pub(super) fn run(mut self) -> SourceReport {
        // Where it may not, frames may be overtaken while the host is busy.
        scheduling::go_first().ok();
        while !self.stopping && !self.state.is_final() {
            self.wait();
            self.obey();
            if let Err(error) = self.turn() {
                self.fail(&error.to_string());
            }
        }
        self.finish();
        self.report
    }

    fn wait(&self) {
        let mut tick = match self.state {
            State::Armed => IDLE_TICK,
            // If the guest runs on here, its queue holds what it was given first for a few milliseconds only.
            State::Forward { .. } | State::GiveBack { .. } => HASTY_TICK,
            _ => TICK,
        };
        let mut descriptors = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        if let Some(connection) = self.link.awaited() {
            tick = connection.patience(tick);
            let flags = if connection.has_to_send() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            descriptors.push(PollFd::from_borrowed_fd(connection.as_fd(), flags));
        }
        let captures = self.capture.iter().flat_map(Capture::descriptors);
        descriptors.extend(captures.map(|capture| PollFd::from_borrowed_fd(capture, PollFlags::IN)));
        let tick = Timespec::try_from(tick).ok();
        // Interrupted or not, the turn that follows looks at everything.
        poll(&mut descriptors, tick.as_ref()).ok();
        rustix::io::read(self.wake.as_fd(), &mut [0; 8]).ok();
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Calibrate(pid) => self.calibrate(pid),
                Command::ReceiveQueue(queue, reply) => {
                    let can_be_read =
                        self.evidence.as_mut().is_some_and(|evidence| evidence.set_queue(queue));
                    reply.send(can_be_read).ok();
                }
                Command::UsedIndex { used, is_last } => self.note_used_index(used, is_last),
                Command::Stopped(at) => self.stop_at(at),
                Command::Resumed => self.cancel(),
                Command::Completed => self.completed_at = Some(clock::monotonic_ns()),
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
    fn turn(&mut self) -> Result<(), HandoverError> {
        let now = clock::monotonic_ns();
        self.follow_link()?;
        self.pump();
        if self.state == State::Calibrate && now.saturating_sub(self.sampled_at) >= nanos(TICK) {
            self.sampled_at = now;
            self.sample();
        }
        if matches!(self.state, State::Forward { .. }) {
            self.watch_guest();
        }
        self.advance(now);
        if self.state.forwards() {
            self.send_frames();
        }
        self.flush_link(now)?;
        if self.gone_at.is_some_and(|since| now.saturating_sub(since) > nanos(LONGEST_HOLD)) {
            self.tap.clear();
        }
        Ok(())
    }

    /// Moves on where time, and nothing else, has to pass.
    fn advance(&mut self, now: u64) {
        if let Some(reason) = self.has_failed_there(now) {
            return self.fail(&reason);
        }
        match self.state {
            State::Stopping { until } if now >= until || self.capture_is_past_stop() => {
                match (&self.evidence, self.stopped) {
                    (Some(evidence), Some((at, _)))
                        if evidence.lacks_last_word() && self.resumed_there.is_none() =>
                    {
                        self.await_word(at);
                    }
                    _ => self.make_cut(now),
                }
            }
            State::Asking if self.is_word_late(now) => self.decide(),
            State::Forward { since } if self.waits_in_vain(since, now) => {
                let patience = self.plan.resume_timeout.as_secs();
                let what = match self.link.is_up() {
                    true => "the VM did not run at the destination",
                    false => "the destination did not say that the VM runs there",
                };
                let reason =
                    self.given_up.take().map_or(format!("{what} within {patience} s"), |(_, reason)| reason);
                self.fail(&reason);
            }
            State::Drain { since, told: None } if self.is_quiet(since, now) => self.tell_end(since, now),
            State::Drain { told: Some(told), .. } => {
                let is_late = now.saturating_sub(told) > nanos(CONFIRMATION);
                if self.kept.is_acknowledged() && (self.end_is_heard || is_late) {
                    self.end(State::Done, Outcome::Done, None);
                } else if is_late && self.link.is_up() {
                    self.fail("the destination did not confirm that it has everything");
                }
            }
            State::GiveBack { until } => self.give_back(now >= until),
            _ => {}
        }
    }

    /// Why there is nothing to wait for at the destination any more.
    fn has_failed_there(&self, now: u64) -> Option<String> {
        match (self.state, &self.given_up) {
            // The VM here may run on; without its process it will not.
            (state, Some((since, reason))) if state.is_open() => {
                let is_over = self.gone_at.is_some() || now.saturating_sub(*since) > nanos(RETURN);
                is_over.then(|| reason.clone())
            }
            (State::Drain { since, .. }, _) if !self.link.is_up() => self.deserted_since(since, now),
            (State::Forward { .. }, None) if !self.link.is_up() => {
                self.completed_at.and_then(|since| self.deserted_since(since, now))
            }
            _ => None,
        }
    }

    /// Whether the VM should run at the destination by now. As long as its state is on its way, it need not: it may be
    /// paused, or its last part be long.
    fn waits_in_vain(&self, since: u64, now: u64) -> bool {
        let gone = self.completed_at.or(self.gone_at);
        gone.is_some_and(|at| now.saturating_sub(at.max(since)) > nanos(self.plan.resume_timeout))
    }

    /// Why not to wait any longer for a destination that is gone, though the VM is there since `since`.
    fn deserted_since(&self, since: u64, now: u64) -> Option<String> {
        let absent = now.saturating_sub(self.absent_since.max(since));
        let reason = "the destination was lost before it had everything";
        (absent > nanos(LONGEST_ABSENCE)).then(|| reason.into())
    }

    /// A migration has begun.
    fn calibrate(&mut self, pid: Option<i32>) {
        if self.state != State::Armed {
            return;
        }
        self.find_tap_again();
        self.hold_tap(pid);
        self.evidence = Some(Evidence::new(pid));
        if self.open_capture() {
            self.enter(State::Calibrate, "a migration has begun: frames are captured and counted");
        }
    }

    /// A TAP may have been made anew since this was armed.
    fn find_tap_again(&mut self) {
        let name = &self.plan.netdev.name;
        let Ok(Some(interface)) = self.links.by_name(name) else { return };
        self.mtu = interface.mtu;
        self.queue_length = interface.tx_queue_length;
        if interface.ifindex != self.ifindex
            && let Ok(injector) = Injector::open(name, self.plan.mark)
        {
            self.ifindex = interface.ifindex;
            self.exit.attach(injector);
        }
    }

    fn hold_tap(&mut self, pid: Option<i32>) {
        let name = &self.plan.netdev.name;
        let namespace = self.plan.netdev.namespace.as_ref().map(Namespace::id);
        match pid.map(|pid| HeldTap::of_process(pid, name, namespace)) {
            Some(Ok(held)) => self.tap = held,
            Some(Err(error)) => {
                let message =
                    format!("the TAP cannot be held: {error}; frames after the end of QEMU are lost");
                self.warn("tap_not_held", &message);
            }
            None => self.warn("tap_not_held", "QEMU's process is not known: frames after its end are lost"),
        }
        self.report.tap_held = !self.tap.is_empty();
    }

    /// The VM has stopped. Without a migration it may go on, and nothing is to be handed over.
    pub(super) fn stop_at(&mut self, at: Option<u64>) {
        if self.state != State::Calibrate {
            return;
        }
        let (now, seen) = (clock::monotonic_ns(), clock::realtime_ns());
        let at = at.filter(|at| *at <= seen).unwrap_or(seen);
        self.stopped = Some((at, seen));
        self.report.stopped_ns = Some(at);
        self.sample_stopped();
        self.tap_dropped.0 = self.dropped_by_tap();
        self.enter(State::Stopping { until: now + nanos(CAPTURE_LAG) }, "the VM has stopped");
    }

    /// Every frame from the cut on is for the destination.
    pub(super) fn make_cut(&mut self, now: u64) {
        let (Some((at, _)), Some(evidence)) = (self.stopped, &self.evidence) else { return };
        let (mut cut, reason) = evidence.find_cut(self.kept.frames(), self.kept.next(), at);
        // The guest was so far behind that some frames that it lacks had to make room for others.
        self.report.hold_full += self.kept.first().saturating_sub(cut.index);
        cut.index = cut.index.max(self.kept.first());
        if self.state != State::Asking {
            self.kept.cut(cut.index);
            self.count_from_cut();
        }
        self.remember_doubtful(cut.index);
        self.warn_of_cut(cut.method, reason.as_deref());
        self.report.cut_method = Some(cut.method.name());
        self.report.cut_reason = reason;
        self.report.cut_after_ns = Some(clock::realtime_ns().saturating_sub(at));
        let message = format!("the cut is at frame {} by {}", cut.index, cut.method.name());
        self.cut = Some(cut);
        self.enter(State::Forward { since: now }, message);
        self.tell_cut();
        // With a downtime of a few milliseconds the news of its end may come before that of its beginning.
        if let Some(at) = self.resumed_there {
            self.drain_since(at);
        }
    }

    /// Says what a cut that is not exact may cost, as measured.
    fn warn_of_cut(&mut self, method: Method, why: Option<&str>) {
        let cost = match method {
            Method::UsedRing | Method::UsedIndex => return,
            Method::QueueStatus => {
                "mostly the guest lacks nothing, and at most 2 frames from just before the stop"
            }
            Method::TxPackets => "the guest may lack up to 2 frames from just before the stop",
            Method::Timestamp => "the guest may lack up to 4 frames from just before the stop",
        };
        let why = why.unwrap_or("the guest's receive queue is not known");
        self.warn("cut_inexact", &format!("the cut is not exact, because {why}: {cost}"));
    }

    /// Frames from before the capture may have been unread to the last, and nobody else has them.
    pub(super) fn warn_of_backlog(&mut self) {
        if self.has_caught_up || self.tap.is_empty() {
            return;
        }
        let message = format!(
            "the guest was behind all the time since the migration began: of what had waited in its TAP before, \
             up to {} frames, it may lack some",
            self.backlog_at_most()
        );
        self.warn("guest_behind", &message);
    }

    /// Frames that its TAP holds for it at most: each queue is one of the descriptors.
    pub(super) fn backlog_at_most(&self) -> u64 {
        u64::from(self.queue_length) * u64::try_from(self.tap.len()).unwrap_or(u64::MAX)
    }

    /// The VM runs on here.
    fn cancel(&mut self) {
        let now = clock::monotonic_ns();
        match self.state {
            State::Calibrate => self.end(State::Cancelled, Outcome::Cancelled, Some(CANCELLED.into())),
            state if state.is_open() => {
                if !matches!(state, State::Forward { .. }) {
                    self.make_cut(now);
                }
                self.runs_on_since = clock::realtime_ns();
                self.tap_dropped.1 = self.dropped_by_tap();
                self.enter(State::GiveBack { until: now + nanos(GIVE_BACK) }, CANCELLED);
                self.tell_cut();
            }
            _ => {}
        }
    }

    fn lose_vm(&mut self) {
        self.gone_at = Some(clock::monotonic_ns());
        match self.state {
            State::Armed | State::Calibrate => self.fail("the VM has ended without a migration"),
            // It answers no more.
            _ => self.decide(),
        }
    }

    pub(super) fn fail(&mut self, reason: &str) {
        self.end(State::Failed, Outcome::Failed, Some(reason.into()));
    }

    pub(super) fn end(&mut self, state: State, outcome: Outcome, reason: Option<String>) {
        let message = reason.clone().unwrap_or_else(|| "every frame is at the destination".into());
        self.report.outcome = outcome;
        self.report.reason = reason;
        self.enter(state, message);
    }

    fn finish(&mut self) {
        if self.report.outcome == Outcome::Pending {
            let is_under_way = !matches!(self.state, State::Armed | State::Calibrate);
            let (outcome, reason) = if is_under_way {
                (Outcome::Failed, "tapferry at the source was told to stop in the midst of it")
            } else {
                (Outcome::Stopped, "it was told to stop before the VM had stopped")
            };
            self.report.outcome = outcome;
            self.report.reason = Some(reason.into());
        }
        let is_cancelled = self.state == State::Cancelled;
        match self.link.connection() {
            // It is said behind frames, which a slow link takes its time for.
            Some(connection) if is_cancelled => connection.close_within(CONFIRMATION),
            // What was said last is worth a moment.
            Some(connection) => {
                connection.flush().ok();
            }
            None => {}
        }
        (self.capture, self.closed_capture) = (None, None);
        self.update_report();
        self.account_for_the_rest();
        self.tap.clear();
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
