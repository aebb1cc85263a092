//! The thread of a redirector: one loop over commands, the two ends, the clock and frames.
//!
//! Commands are taken before frames, so that a frame is judged by all that is known when it is looked
//! at.
//!
//! This file has the loop and the commands; [`ends`] is what the two ends are, [`interfaces`] follows those that are
//! interfaces, [`streams`] those that are streams, [`tls`] tells of their certificates, [`datagrams`] has those that are
//! datagrams, [`frames`] has frames moved and waits, [`report`] counts and tells.

mod datagrams;
mod ends;
mod frames;
mod interfaces;
mod report;
mod streams;
mod tls;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tapferry_sys::clock::{self, StepWatch};
use tapferry_sys::{Errno, Error};

use crate::capture::Capture;
use crate::counters::Statistics;
use crate::error::StartError;
use crate::event::{Event, EventKind, Observer};
use crate::outlet::{Exit, NetdevExit, Outlet};
use crate::pipeline::{Pipeline, Pumped};
use crate::plan::{End, Plan};
use crate::redirector::Command;
use crate::stream::reader::Reader;
use crate::stream::writer::Writer;
use crate::thread::Inbox;
use datagrams::DatagramEnd;
use ends::{Ends, Input, NetdevEnd, Output, Side};

/// What woke the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Commands,
    OutputLinks,
    InputLinks,
    Clock,
    /// The capture, or the peer that is read.
    Input,
    /// The interface's socket, or the peer that is written to.
    Output,
    InputListener,
    OutputListener,
}

impl Token {
    const ALL: [Self; 8] = [
        Self::Commands,
        Self::OutputLinks,
        Self::InputLinks,
        Self::Clock,
        Self::Input,
        Self::Output,
        Self::InputListener,
        Self::OutputListener,
    ];

    fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(self as u64)
    }

    fn of(data: epoll::EventData) -> Option<Self> {
        Self::ALL.into_iter().find(|token| *token as u64 == data.u64())
    }
}

/// A redirector's state, owned by its thread.
pub(crate) struct Worker {
    plan: Plan,
    ends: Ends,
    pipeline: Pipeline,

    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    clock: StepWatch,

    observer: Observer,
    pumped: Pumped,
    /// Since when the loop waits for the output to take more (CLOCK_MONOTONIC, nanoseconds).
    awaits_output: Option<u64>,
    announced_start: bool,
    announced_ready: bool,
    announced_count: bool,
    warned: Vec<&'static str>,
    framing_errors: u64,
    tls_failures: u64,
    last_error: Option<String>,
    /// When the wall clock was last set: timestamps before that moment are of another clock.
    stepped_at: u64,
    /// When the kernel's drops were last looked at (CLOCK_MONOTONIC, nanoseconds).
    overflow_checked: u64,
    stopping: bool,
}

impl Worker {
    /// Opens everything that is there. What is missing is an error, unless the plan says to wait.
    pub(crate) fn open(
        mut plan: Plan,
        observer: Observer,
        inbox: Inbox<Command>,
    ) -> Result<Self, StartError> {
        plan.pin_namespaces()?;
        let object = plan.input.to_string();
        let on = |operation| Error::on(operation, object.as_str());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(on("create an epoll instance"))?;
        let clock = StepWatch::new().map_err(on("watch the clock"))?;
        for (fd, token) in [(inbox.wake.as_fd(), Token::Commands), (clock.as_fd(), Token::Clock)] {
            epoll::add(&epoll, fd, token.data(), epoll::EventFlags::IN).map_err(on("add to epoll"))?;
        }

        // The output comes first, so that it is open when the input brings frames.
        let (output, exit, output_peer) = match &plan.output {
            End::Netdev(netdev) => {
                (Output::Netdev(NetdevEnd::look_up(netdev)?), Exit::Netdev(NetdevExit::default()), None)
            }
            End::Stream(stream) => {
                let (end, peer) = streams::open(stream, Side::Output, plan.wait, &inbox.wake)?;
                (Output::Stream(end), Exit::Stream(Writer::new(stream, plan.complete_offloads)), peer)
            }
            End::Datagram(datagram) => {
                let writer = datagrams::open_writer(datagram)?;
                (Output::Datagram(DatagramEnd), Exit::Datagram(writer), None)
            }
        };
        let (input, input_peer) = match &plan.input {
            End::Netdev(netdev) => (Input::Netdev { end: NetdevEnd::look_up(netdev)?, capture: None }, None),
            End::Stream(stream) => {
                let (end, peer) = streams::open(stream, Side::Input, plan.wait, &inbox.wake)?;
                (Input::Stream { end, reader: Reader::new(stream) }, peer)
            }
            End::Datagram(datagram) => {
                let reader = datagrams::open_reader(datagram)?;
                (Input::Datagram { end: DatagramEnd, reader }, None)
            }
        };
        let mut worker = Self {
            pipeline: Pipeline::new(&plan, Outlet::new(exit, plan.count)),
            ends: Ends { input, output },
            epoll,
            events: Vec::new(),
            wake: inbox.wake,
            commands: inbox.commands,
            clock,
            observer,
            // A peer may have sent frames already, which no descriptor tells of where TLS has read them.
            pumped: Pumped::More,
            awaits_output: None,
            announced_start: false,
            announced_ready: false,
            announced_count: false,
            warned: Vec::new(),
            framing_errors: 0,
            tls_failures: 0,
            last_error: None,
            stepped_at: 0,
            overflow_checked: clock::monotonic_ns(),
            stopping: false,
            plan,
        };
        worker.open_interfaces()?;
        worker.open_streams(input_peer, output_peer)?;
        worker.listen_to_datagrams()?;
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
        self.finish();
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
                return Err(Error::new("wait for events", self.plan.input.to_string(), errno).into());
            }
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            match Token::of(data) {
                Some(Token::Commands) => {
                    self.obey_commands()?;
                    // A peer that was dialled rings here, too.
                    self.welcome_peers()?;
                }
                Some(Token::OutputLinks) => self.follow_links(Side::Output)?,
                Some(Token::InputLinks) => self.follow_links(Side::Input)?,
                Some(Token::Clock) => self.follow_clock(),
                // A ring reports its interface's outage until the error is taken.
                Some(Token::Input) if flags.contains(epoll::EventFlags::ERR) => {
                    self.ends.input.capture().map(Capture::take_error);
                }
                Some(Token::Output) => self.hear_output(flags)?,
                Some(Token::InputListener | Token::OutputListener) => self.welcome_peers()?,
                Some(Token::Input) | None => {}
            }
        }
        self.events = events;
        self.pump();
        self.listen_again()?;
        self.believe_peer();
        self.mourn_peers()?;
        self.tell_of_tls();
        self.warn_of_stall();
        self.adapt_capture()
    }

    /// How long nothing needs to be done unless something happens; `None`: for ever.
    fn timeout(&self) -> Option<Timespec> {
        if self.pumped == Pumped::More {
            return Some(Timespec::default());
        }
        let now = clock::monotonic_ns();
        let adapt_at = self.ends.input.capture().and_then(|capture| capture.adapt_at(now));
        // While the output takes nothing, nothing else can be done for what waits.
        let due_at = match self.awaits_output {
            None => self.pipeline.due_at(now),
            Some(since) => self.stall_told_at(since),
        };
        let listen_at = [self.ends.input.listen_at(), self.ends.output.listen_at()].into_iter().flatten();
        let next = adapt_at.into_iter().chain(due_at).chain(listen_at).min()?;
        Timespec::try_from(Duration::from_nanos(next.saturating_sub(now))).ok()
    }

    fn obey_commands(&mut self) -> Result<(), StartError> {
        let mut rung = [0; 8];
        rustix::io::read(&*self.wake, &mut rung).ok();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::SetStatus(on) => {
                    self.steer(|pipeline, now| pipeline.gate.set_status(on, now), None)?;
                }
                Command::SetRunning { running, at } => {
                    self.steer(|pipeline, at| pipeline.set_running(running, at), at)?;
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
    fn steer(
        &mut self,
        change: impl FnOnce(&mut Pipeline, u64),
        claimed: Option<u64>,
    ) -> Result<(), StartError> {
        let now = clock::realtime_ns();
        let moment = claimed.filter(|at| (self.stepped_at..=now).contains(at)).unwrap_or(now);
        let was_open = self.pipeline.gate.is_open();
        change(&mut self.pipeline, moment);
        let is_open = self.pipeline.gate.is_open();
        if was_open && !is_open {
            self.pipeline.close_since(moment);
        }
        if self.wants_capture() {
            self.open_capture()?;
        } else {
            self.close_capture();
        }
        if was_open != is_open {
            let kind = if is_open { EventKind::GateOpened } else { EventKind::GateClosed };
            self.tell(Event::new(kind, self.describe_gate()));
        }
        Ok(())
    }

    fn describe_gate(&self) -> String {
        let gate = &self.pipeline.gate;
        let open = if gate.is_open() { "open" } else { "closed" };
        let status = if gate.status() { "on" } else { "off" };
        let vm = if gate.running() { "running" } else { "stopped" };
        format!("gate {open} (status {status}, VM {vm})")
    }

    fn follow_clock(&mut self) {
        if self.clock.stepped() {
            self.stepped_at = clock::realtime_ns();
            self.pipeline.gate.forget_history();
            if let Some(capture) = self.ends.input.capture_mut() {
                capture.forget_history();
            }
            // Their timestamps are of the old clock, and the gate was closed when they came.
            self.pipeline.drop_pre_roll();
            self.tell(Event::new(
                EventKind::ClockStepped,
                "the clock was set: events stamped before count from their arrival",
            ));
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
