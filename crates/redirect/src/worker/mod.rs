//! The thread of a redirector: one loop over commands, link changes, the clock and frames.
//!
//! Commands are taken before frames, so that a frame is judged by all that is known when it is looked
//! at. Frames are sent from where they were captured, in runs; a run ends at the first frame that is not
//! to be sent. When the output takes no more, reading stops where it is and goes on when it does.
//!
//! This file has the loop and the commands; [`interfaces`] follows the interfaces, [`frames`] moves frames,
//! [`report`] counts and tells.

mod frames;
mod interfaces;
mod report;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tapferry_sys::clock::{self, StepWatch};
use tapferry_sys::link::LinkWatch;
use tapferry_sys::{Errno, Error};

use crate::capture::Capture;
use crate::counters::{Counters, DropReason, Statistics};
use crate::endpoint::{Endpoint, State};
use crate::error::{Role, StartError};
use crate::event::{Event, EventKind, Observer};
use crate::gate::Gate;
use crate::hold::Hold;
use crate::outlet::Outlet;
use crate::plan::{Netdev, Plan};
use crate::redirector::{Command, Inbox};
use interfaces::require_ethernet;

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
    events: Vec<epoll::Event>,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    input_links: LinkWatch,
    output_links: LinkWatch,
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
    pub(crate) fn open(mut plan: Plan, observer: Observer, inbox: Inbox) -> Result<Self, StartError> {
        plan.pin_namespaces()?;
        let on = |operation| Error::on(operation, plan.in_netdev.name.as_str());
        let (input, input_links) = look_up(&plan.in_netdev)?;
        let (output, output_links) = look_up(&plan.out_netdev)?;
        for (role, endpoint) in [(Role::InNetdev, &input), (Role::OutNetdev, &output)] {
            if endpoint.state() == State::Missing && !plan.wait {
                return Err(StartError::NotFound { role, name: endpoint.name().to_string() });
            }
            require_ethernet(role, endpoint)?;
        }

        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(on("create an epoll instance"))?;
        let clock = StepWatch::new().map_err(on("watch the clock"))?;
        let watched = [
            (inbox.wake.as_fd(), Token::Commands),
            (output_links.as_fd(), Token::Links),
            (input_links.as_fd(), Token::Links),
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
            events: Vec::new(),
            wake: inbox.wake,
            commands: inbox.commands,
            input_links,
            output_links,
            clock,
            observer,
            pumped: Pumped::Idle,
            announced_ready: false,
            announced_count: false,
            warned: Vec::new(),
            last_error: None,
            stepped_at: 0,
            overflow_checked: clock::monotonic_ns(),
            stopping: false,
            plan,
        };
        worker.bar_outlet();
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
        // Taken out while it is read, so that its memory serves every turn.
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        events.reserve(Token::ALL.len());
        match epoll::wait(&self.epoll, spare_capacity(&mut events), self.timeout().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::new("wait for events", self.plan.in_netdev.name.as_str(), errno).into());
            }
        }
        for event in &events {
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
        self.events = events;
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
}

/// The interface as it is now, and the watch that tells of its changes.
fn look_up(netdev: &Netdev) -> Result<(Endpoint, LinkWatch), StartError> {
    netdev.enter().map_err(StartError::Namespace)?;
    let mut links = LinkWatch::open()?;
    let link = links.by_name(&netdev.name)?;
    Ok((Endpoint::new(netdev.name.clone(), link, clock::monotonic_ns()), links))
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
