//! The thread of a redirector: one loop over commands, link changes, the clock and frames.
//!
//! Commands are taken before frames, so that a frame is judged by all that is known when it is looked
//! at. Frames are sent from where they were captured, in runs; a run ends at the first frame that is not
//! to be sent. When the output takes no more, reading stops where it is and goes on when it does.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tapferry_sys::clock::{self, StepWatch};
use tapferry_sys::filter::Program;
use tapferry_sys::inject::Injector;
use tapferry_sys::link::{LinkChange, LinkWatch, Overrun};
use tapferry_sys::packet::Binding;
use tapferry_sys::{Captured, Errno, Error};

use crate::capture::Capture;
use crate::counters::{Counters, DropReason, Engine, Statistics, count};
use crate::endpoint::{Endpoint, State, Transition};
use crate::error::{Role, StartError};
use crate::event::{Event, EventKind, Observer};
use crate::fate::{Fate, decide, wire_bytes};
use crate::gate::Gate;
use crate::hold::Hold;
use crate::outlet::{Outlet, Progress, Refusal, Run};
use crate::plan::{Plan, Queue};
use crate::redirector::{Command, Inbox};

/// Runs of frames between two looks at the commands.
const RUNS_PER_TURN: usize = 64;
/// How long a capture that is being closed may take to hand over what it holds: the ring's timer, even
/// where it counts in jiffies of 10 ms, and a good part of a second for an output that is stuck.
const DRAIN_TIME: Duration = Duration::from_millis(250);
/// While frames come in, the kernel is asked this often whether it had to drop some.
const OVERFLOW_CHECK: Duration = Duration::from_secs(1);

/// What woke the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Commands,
    Links,
    Clock,
    Capture,
    Output,
}

impl Token {
    const ALL: [Self; 5] = [Self::Commands, Self::Links, Self::Clock, Self::Capture, Self::Output];

    fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(self as u64)
    }

    fn of(data: epoll::EventData) -> Option<Self> {
        Self::ALL.into_iter().find(|token| *token as u64 == data.u64())
    }
}

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pumped {
    /// Nothing is waiting.
    Idle,
    /// Frames are waiting.
    More,
    /// Frames are waiting for the output.
    Blocked,
}

/// A redirector's state, owned by its thread.
pub(crate) struct Worker {
    plan: Plan,
    gate: Gate,
    input: Endpoint,
    output: Endpoint,
    capture: Option<Capture>,
    hold: Hold,
    outlet: Outlet,
    counters: Counters,

    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    links: LinkWatch,
    clock: StepWatch,

    observer: Observer,
    pumped: Pumped,
    announced_ready: bool,
    announced_count: bool,
    warned: Vec<&'static str>,
    last_error: Option<String>,
    /// When the wall clock was last set: timestamps before that moment are of another clock.
    stepped_at: u64,
    /// When the kernel's drops were last looked at (CLOCK_MONOTONIC, nanoseconds).
    overflow_checked: u64,
    stopping: bool,
}

impl Worker {
    /// Opens everything that is there. What is missing is an error, unless the plan says to wait.
    pub(crate) fn open(plan: Plan, observer: Observer, inbox: Inbox) -> Result<Self, StartError> {
        let on = |operation| Error::on(operation, plan.in_netdev.as_str());
        let mut links = LinkWatch::open()?;
        let now = clock::monotonic_ns();
        let input = Endpoint::new(plan.in_netdev.clone(), links.by_name(&plan.in_netdev)?, now);
        let output = Endpoint::new(plan.out_netdev.clone(), links.by_name(&plan.out_netdev)?, now);
        for (role, endpoint) in [(Role::InNetdev, &input), (Role::OutNetdev, &output)] {
            if endpoint.state() == State::Missing && !plan.wait {
                return Err(StartError::NotFound { role, name: endpoint.name().to_string() });
            }
            ethernet(role, endpoint)?;
        }

        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(on("create an epoll instance"))?;
        let clock = StepWatch::new().map_err(on("watch the clock"))?;
        let watched = [
            (inbox.wake.as_fd(), Token::Commands),
            (links.as_fd(), Token::Links),
            (clock.as_fd(), Token::Clock),
        ];
        for (fd, token) in watched {
            epoll::add(&epoll, fd, token.data(), epoll::EventFlags::IN).map_err(on("add to epoll"))?;
        }

        let mut worker = Self {
            gate: Gate::new(plan.status, plan.running, plan.when_stopped),
            hold: Hold::new(plan.pre_roll_bytes),
            outlet: Outlet::new(plan.count),
            input,
            output,
            capture: None,
            counters: Counters::default(),
            epoll,
            wake: inbox.wake,
            commands: inbox.commands,
            links,
            clock,
            observer,
            pumped: Pumped::Idle,
            announced_ready: false,
            announced_count: false,
            warned: Vec::new(),
            last_error: None,
            stepped_at: 0,
            overflow_checked: now,
            stopping: false,
            plan,
        };
        worker.open_output()?;
        worker.open_input()?;
        worker.announce_start();
        Ok(worker)
    }

    /// Runs until it is told to stop, and returns the final statistics.
    pub(crate) fn run(mut self) -> Statistics {
        while !self.stopping {
            if let Err(error) = self.turn() {
                self.tell(Event::new(EventKind::Failed, error.to_string()).with_code(error.code()));
                self.last_error = Some(error.to_string());
                break;
            }
        }
        self.close_input();
        self.statistics()
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self) -> Result<(), StartError> {
        let mut events = Vec::with_capacity(Token::ALL.len());
        match epoll::wait(&self.epoll, spare_capacity(&mut events), self.timeout().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::new("wait for events", self.plan.in_netdev.as_str(), errno).into());
            }
        }
        for event in events {
            let (data, flags) = (event.data, event.flags);
            match Token::of(data) {
                Some(Token::Commands) => self.obey_commands()?,
                Some(Token::Links) => self.follow_links()?,
                Some(Token::Clock) => self.follow_clock(),
                // A ring reports its interface's outage until the error is taken.
                Some(Token::Capture) if flags.contains(epoll::EventFlags::ERR) => {
                    self.capture.as_ref().map(Capture::take_error);
                }
                Some(Token::Output) => self.unblock(),
                Some(Token::Capture) | None => {}
            }
        }
        self.pump();
        self.adapt_capture()
    }

    /// How long nothing needs to be done unless something happens; `None`: for ever.
    fn timeout(&self) -> Option<Timespec> {
        let now = clock::monotonic_ns();
        let adapt_at = self.capture.as_ref().and_then(|capture| capture.adapt_at(now));
        let adapt = adapt_at.map(|at| Duration::from_nanos(at.saturating_sub(now)));
        let frames = match self.pumped {
            Pumped::More => Some(Duration::ZERO),
            Pumped::Blocked => None,
            Pumped::Idle => self.hold.front().map(|oldest| {
                let age = clock::realtime_ns().saturating_sub(oldest.timestamp_ns);
                // A millisecond at least: the frames behind the oldest are due soon after it.
                self.plan.pre_roll.saturating_sub(Duration::from_nanos(age)).max(Duration::from_millis(1))
            }),
        };
        let wait = adapt.into_iter().chain(frames).min()?;
        Timespec::try_from(wait).ok()
    }

    // Commands.

    fn obey_commands(&mut self) -> Result<(), StartError> {
        let mut rung = [0; 8];
        rustix::io::read(&*self.wake, &mut rung).ok();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::SetStatus(on) => {
                    self.steer(|gate, now| gate.set_status(on, now), None)?;
                }
                Command::SetRunning { running, at } => {
                    self.steer(|gate, at| gate.set_running(running, at), at)?;
                }
                Command::Report(reply) => {
                    let statistics = self.statistics();
                    reply.send(statistics).ok();
                }
                Command::Stop => self.stopping = true,
            }
        }
        Ok(())
    }

    /// Changes the gate as of `claimed`, or as of now where that cannot be a time of this clock.
    fn steer(&mut self, change: impl FnOnce(&mut Gate, u64), claimed: Option<u64>) -> Result<(), StartError> {
        let now = clock::realtime_ns();
        let moment = claimed.filter(|at| (self.stepped_at..=now).contains(at)).unwrap_or(now);
        let was_open = self.gate.is_open();
        change(&mut self.gate, moment);
        let is_open = self.gate.is_open();
        if was_open && !is_open {
            self.counters.forwarded_late += self.outlet.take_forwarded_since(moment);
        }
        if self.wants_capture() {
            self.open_input()?;
        } else {
            self.close_input();
        }
        if was_open != is_open {
            let kind = if is_open { EventKind::GateOpened } else { EventKind::GateClosed };
            self.tell(Event::new(kind, self.describe_gate()));
        }
        Ok(())
    }

    fn describe_gate(&self) -> String {
        let gate = if self.gate.is_open() { "open" } else { "closed" };
        let status = if self.gate.status() { "on" } else { "off" };
        let vm = if self.gate.running() { "running" } else { "stopped" };
        format!("gate {gate} (status {status}, VM {vm})")
    }

    fn follow_clock(&mut self) {
        if self.clock.stepped() {
            self.stepped_at = clock::realtime_ns();
            self.gate.forget_history();
            if let Some(capture) = &mut self.capture {
                capture.forget_history();
            }
            // Their timestamps are of the old clock, and the gate was closed when they came.
            self.drop_held(DropReason::GateClosed);
            self.tell(Event::new(
                EventKind::ClockStepped,
                "the clock was set: events stamped before count from their arrival",
            ));
        }
    }

    // Interfaces.

    fn follow_links(&mut self) -> Result<(), StartError> {
        let mut changes = Vec::new();
        match self.links.read(|change| changes.push(change)) {
            Ok(()) => changes.iter().try_for_each(|change| self.follow_link(change)),
            Err(Overrun) => self.look_again(),
        }
    }

    fn follow_link(&mut self, change: &LinkChange) -> Result<(), StartError> {
        let now = clock::monotonic_ns();
        let input = self.input.observe(change, now);
        let output = self.output.observe(change, now);
        self.follow_transitions(input, output)
    }

    /// Looks both interfaces up, when changes were missed.
    fn look_again(&mut self) -> Result<(), StartError> {
        let now = clock::monotonic_ns();
        let mut transitions = [None, None];
        for (endpoint, transition) in [&mut self.input, &mut self.output].into_iter().zip(&mut transitions) {
            let same = endpoint.ifindex().map(|ifindex| self.links.by_index(ifindex)).transpose()?.flatten();
            let link = match same {
                Some(link) => Some(link),
                None => self.links.by_name(endpoint.name())?,
            };
            *transition = endpoint.update(link, now);
        }
        let [input, output] = transitions;
        self.follow_transitions(input, output)
    }

    fn follow_transitions(
        &mut self,
        input: Option<Transition>,
        output: Option<Transition>,
    ) -> Result<(), StartError> {
        if let Some(transition) = output {
            if matches!(transition, Transition::Returned(_)) {
                ethernet(Role::OutNetdev, &self.output)?;
                self.open_output()?;
            }
            self.tell_transition(Role::OutNetdev, transition);
        }
        if let Some(transition) = input {
            if matches!(transition, Transition::Returned(_)) {
                ethernet(Role::InNetdev, &self.input)?;
                self.open_input()?;
            }
            self.tell_transition(Role::InNetdev, transition);
        }
        self.announce_ready();
        Ok(())
    }

    fn wants_capture(&self) -> bool {
        self.gate.wants_capture(!self.plan.pre_roll.is_zero())
    }

    /// Opens the output's socket, or binds it anew. Without an interface it waits for one.
    fn open_output(&mut self) -> Result<(), StartError> {
        let Some(ifindex) = self.output.ifindex() else { return Ok(()) };
        if let Some(injector) = self.outlet.injector() {
            return missing_is_fine(injector.socket().bind(ifindex, Binding::SendOnly).map_err(|errno| {
                StartError::at(
                    Role::OutNetdev,
                    Error::new("bind AF_PACKET socket", self.output.name().as_str(), errno),
                )
            }));
        }
        match Injector::open(self.output.name(), self.plan.mark) {
            Ok(injector) => self.outlet.attach(injector),
            Err(error) if self.plan.wait && error.errno == Errno::NODEV => {}
            Err(error) => return Err(StartError::at(Role::OutNetdev, error)),
        }
        Ok(())
    }

    /// Opens the capture if the gate wants one, or binds it anew. Without an interface it waits for one.
    fn open_input(&mut self) -> Result<(), StartError> {
        let Some(ifindex) = self.input.ifindex() else { return Ok(()) };
        if !self.wants_capture() {
            return Ok(());
        }
        let name = self.input.name();
        if self.capture.is_none() {
            let filter = Program::capture(self.plan.queue.direction(), self.plan.mark);
            match Capture::open(name, filter, self.plan.latency) {
                Ok(capture) => {
                    epoll::add(&self.epoll, &capture, Token::Capture.data(), epoll::EventFlags::IN)
                        .map_err(Error::on("add to epoll", name.as_str()))?;
                    self.capture = Some(capture);
                }
                // Gone between two looks: its return will be announced.
                Err(error) if self.announced_ready && error.errno == Errno::NODEV => return Ok(()),
                Err(error) => return Err(StartError::at(Role::InNetdev, error)),
            }
        }
        let Some(capture) = &mut self.capture else { return Ok(()) };
        // Only a real network card filters by address; a TAP hands over all that the guest sends.
        let promiscuous = self.plan.queue != Queue::Tx && !self.input.is_tap();
        let bound = capture
            .rebind(ifindex)
            .and_then(|()| if promiscuous { capture.join_promiscuous(ifindex) } else { Ok(()) });
        missing_is_fine(bound.map_err(|errno| {
            StartError::at(Role::InNetdev, Error::new("bind AF_PACKET socket", name.as_str(), errno))
        }))
    }

    /// Lets the capture change its way of capturing, and waits for its new descriptor then.
    fn adapt_capture(&mut self) -> Result<(), StartError> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        match capture.adapt(clock::monotonic_ns()) {
            // The old descriptor was closed, and with that has left the epoll instance.
            Ok(true) => epoll::add(&self.epoll, capture, Token::Capture.data(), epoll::EventFlags::IN)
                .map_err(|errno| Error::new("add to epoll", self.plan.in_netdev.as_str(), errno).into()),
            Ok(false) => Ok(()),
            Err(error) => {
                self.warn("RING_REFUSED", format!("{error}; capturing goes on without a ring"));
                Ok(())
            }
        }
    }

    /// Takes what the capture still holds, and closes it: nothing is hooked into the interface then.
    fn close_input(&mut self) {
        let Some(capture) = &mut self.capture else { return };
        capture.refuse_more();
        let deadline = clock::monotonic_ns() + nanos(DRAIN_TIME);
        loop {
            self.account_overflow();
            if self.pumped == Pumped::Blocked {
                self.unblock();
            }
            self.pump();
            let Some(capture) = &mut self.capture else { break };
            capture.adapt(clock::monotonic_ns()).ok();
            if capture.is_drained() || clock::monotonic_ns() >= deadline {
                break;
            }
            // The ring hands over its last block when its timer runs out.
            std::thread::sleep(Duration::from_micros(500));
        }
        self.abandon_unsent();
        self.capture = None;
        self.pumped = Pumped::Idle;
    }

    /// What the output did not take before the capture is closed is dropped, by name.
    fn abandon_unsent(&mut self) {
        loop {
            self.account_overflow();
            let Some(capture) = &mut self.capture else { break };
            while let Ok(true) = capture.fill() {
                let lengths = capture.frames().map(|frame| wire_bytes(frame.bytes, frame.beside));
                let (frames, bytes) = lengths.fold((0, 0), |(frames, bytes), len| (frames + 1, bytes + len));
                self.counters.capture(frames, bytes);
                self.counters.drop_many(DropReason::Stopped, count(frames));
                capture.advance(frames);
            }
            if !capture.take_over() {
                break;
            }
        }
        // Whether the gate would have opened for them is not going to be known.
        self.drop_held(DropReason::GateClosed);
    }

    fn drop_held(&mut self, reason: DropReason) {
        let held = self.hold.len();
        self.hold.advance(held);
        self.hold.release_memory();
        self.counters.drop_many(reason, count(held));
    }

    // Frames.

    /// Moves frames until there are none, the output is full or others must be heard.
    fn pump(&mut self) {
        let mut pumped = self.pump_held();
        for _ in 0..RUNS_PER_TURN {
            if pumped == Pumped::Blocked {
                break;
            }
            pumped = self.pump_run();
            if pumped == Pumped::Idle {
                break;
            }
        }
        let was_blocked = self.pumped == Pumped::Blocked;
        self.pumped = pumped;
        if pumped == Pumped::Blocked && !was_blocked {
            self.await_output();
        }
        if let Some(refusal) = self.outlet.take_refusal() {
            self.note_refusal(refusal);
        }
        if self.outlet.limit_reached() && !self.announced_count {
            self.announced_count = true;
            self.tell(Event::new(
                EventKind::CountReached,
                format!("{} frames forwarded, as many as asked for", self.counters.forwarded),
            ));
        }
        let now = clock::monotonic_ns();
        if now.saturating_sub(self.overflow_checked) >= nanos(OVERFLOW_CHECK) {
            self.overflow_checked = now;
            self.account_overflow();
        }
    }

    /// Frames of the pre-roll whose time has come: the gate opened for them, or did not and will not.
    fn pump_held(&mut self) -> Pumped {
        let oldest_kept = clock::realtime_ns().saturating_sub(nanos(self.plan.pre_roll));
        let Self { hold, gate, output, outlet, counters, .. } = self;
        while hold.len() > 0 {
            let (run, end) = next_run(hold.frames(), gate, output.mtu());
            let (len, progress) = (run.len(), outlet.send(&run, counters));
            let ended = match end {
                _ if progress != Progress::Done => None,
                Some((frame, Fate::Hold)) if frame.timestamp_ns < oldest_kept => Some(DropReason::GateClosed),
                Some((_, Fate::Drop(reason))) => Some(reason),
                _ => None,
            };
            drop(run);
            if let Progress::Blocked(done) = progress {
                hold.advance(done);
                return Pumped::Blocked;
            }
            if let Some(reason) = ended {
                counters.drop(reason);
            }
            let taken = len + usize::from(ended.is_some());
            hold.advance(taken);
            if taken == 0 {
                break;
            }
        }
        if gate.is_open() {
            hold.release_memory();
        }
        Pumped::Idle
    }

    /// One run of captured frames.
    fn pump_run(&mut self) -> Pumped {
        let Self { capture, gate, output, outlet, counters, hold, .. } = self;
        let Some(capture) = capture else { return Pumped::Idle };
        match capture.fill() {
            Ok(true) => {}
            Ok(false) => return Pumped::Idle,
            Err(Errno::INVAL) => {
                counters.capture(1, 0);
                counters.drop(DropReason::UnsupportedOffload);
                return Pumped::More;
            }
            // An interface that is down or gone says so once here; netlink tells the rest.
            Err(_) => return Pumped::Idle,
        }
        let (run, end) = next_run(capture.frames(), gate, output.mtu());
        let (taken, pumped) = match outlet.send(&run, counters) {
            Progress::Blocked(done) => {
                counters.capture(done, run.bytes(done));
                (done, Pumped::Blocked)
            }
            Progress::Done => {
                counters.capture(run.len(), run.bytes(run.len()));
                if let Some((frame, fate)) = &end {
                    counters.capture(1, wire_bytes(frame.bytes, frame.beside));
                    match fate {
                        Fate::Drop(reason) => counters.drop(*reason),
                        // A run ends at a frame that is not sent; what is not dropped is held.
                        Fate::Hold | Fate::Send(_) => {
                            counters.drop_many(DropReason::PreRollFull, count(hold.push(frame)));
                        }
                    }
                }
                (run.len() + usize::from(end.is_some()), Pumped::More)
            }
        };
        drop(run);
        capture.advance(taken);
        pumped
    }

    /// Waits until the output takes frames again, and does not listen to the capture meanwhile.
    fn await_output(&mut self) {
        if let Some(capture) = &self.capture {
            epoll::modify(&self.epoll, capture, Token::Capture.data(), epoll::EventFlags::empty()).ok();
        }
        if let Some(injector) = self.outlet.injector() {
            epoll::add(&self.epoll, injector, Token::Output.data(), epoll::EventFlags::OUT).ok();
        }
    }

    fn unblock(&mut self) {
        if let Some(injector) = self.outlet.injector() {
            injector.socket().take_error().ok();
            epoll::delete(&self.epoll, injector).ok();
        }
        if let Some(capture) = &self.capture {
            epoll::modify(&self.epoll, capture, Token::Capture.data(), epoll::EventFlags::IN).ok();
        }
        self.pumped = Pumped::Idle;
    }

    // What is counted, and what is told.

    fn account_overflow(&mut self) {
        let overflow = self.capture.as_mut().map_or(0, Capture::take_overflow);
        if overflow > 0 {
            self.counters.overflow(overflow);
            self.warn(
                "RING_FULL",
                "frames come faster than they are taken: the kernel dropped some (ring_full)".into(),
            );
        }
    }

    fn statistics(&mut self) -> Statistics {
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
        if let Ok(Some(link)) = self.links.by_index(ifindex) {
            self.output.count_lost(&link);
        }
    }

    fn note_refusal(&mut self, refusal: Refusal) {
        let Refusal { reason, errno } = refusal;
        let output = self.output.name().to_string();
        let message = format!("a frame could not be sent into '{output}': {errno} ({reason})");
        self.last_error = Some(message.clone());
        // Outages are told as such.
        if !matches!(reason, DropReason::OutputDown | DropReason::OutputMissing) {
            self.warn(reason.name(), message);
        }
    }

    /// Tells of something once, however often it happens.
    fn warn(&mut self, code: &'static str, message: String) {
        if !self.warned.contains(&code) {
            self.warned.push(code);
            self.tell(Event::new(EventKind::Warning, message).with_code(code));
        }
    }

    fn announce_start(&mut self) {
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

    fn announce_ready(&mut self) {
        let present = [&self.input, &self.output].iter().all(|end| end.state() != State::Missing);
        if present && !self.announced_ready {
            self.announced_ready = true;
            self.tell(Event::new(EventKind::Ready, self.describe_gate()));
        }
    }

    fn tell_transition(&mut self, role: Role, transition: Transition) {
        use EventKind as Kind;
        let (input, output, what) = match transition {
            Transition::WentDown => (Kind::InputDown, Kind::OutputDown, "is down"),
            Transition::CameUp => (Kind::InputUp, Kind::OutputUp, "is up"),
            Transition::Vanished => (Kind::InputMissing, Kind::OutputMissing, "is gone; waiting for it"),
            Transition::Returned(_) => (Kind::InputBack, Kind::OutputBack, "is there"),
        };
        let (kind, endpoint) = match role {
            Role::InNetdev => (input, &self.input),
            Role::OutNetdev => (output, &self.output),
        };
        let name = endpoint.name().as_str();
        self.tell(Event::new(kind, format!("{role} '{name}' {what}")).about(name));
    }

    fn tell(&self, event: Event) {
        (self.observer)(event);
    }
}

/// Refuses an interface whose frames have no Ethernet header.
fn ethernet(role: Role, endpoint: &Endpoint) -> Result<(), StartError> {
    if endpoint.is_ethernet() {
        Ok(())
    } else {
        Err(StartError::NotEthernet { role, name: endpoint.name().to_string() })
    }
}

/// Frames that can be sent one after the other, and the first that cannot, with what becomes of it.
fn next_run<'a>(
    frames: impl Iterator<Item = Captured<'a>>,
    gate: &Gate,
    mtu: u32,
) -> (Run<'a>, Option<(Captured<'a>, Fate<'a>)>) {
    let mut run = Run::default();
    for frame in frames {
        match decide(&frame, gate, mtu) {
            Fate::Send(outgoing) => run.push(outgoing, frame.timestamp_ns),
            fate => return (run, Some((frame, fate))),
        }
        if run.is_full() {
            break;
        }
    }
    (run, None)
}

/// An interface that is gone again is not an error: its return will be announced.
fn missing_is_fine(result: Result<(), StartError>) -> Result<(), StartError> {
    match result {
        Err(StartError::NotFound { .. }) => Ok(()),
        result => result,
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
