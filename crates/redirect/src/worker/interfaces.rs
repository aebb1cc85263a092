//! Following both interfaces, and opening and closing what is hooked into them.

use std::time::Duration;

use rustix::event::epoll;
use tapferry_sys::filter::Program;
use tapferry_sys::inject::Injector;
use tapferry_sys::link::{LinkChange, LinkWatch, Overrun};
use tapferry_sys::packet::Binding;
use tapferry_sys::{Errno, Error, clock};

use super::{Pumped, Token, Worker, nanos};
use crate::capture::Capture;
use crate::counters::{DropReason, count};
use crate::endpoint::{Endpoint, State, Transition};
use crate::error::{Role, StartError};
use crate::fate::wire_bytes;
use crate::plan::Queue;

/// How long a capture that is being closed may take to hand over what it holds: the ring's timer, even
/// where it counts in jiffies of 10 ms, and a good part of a second for an output that is stuck.
const DRAIN_TIME: Duration = Duration::from_millis(250);

impl Worker {
    /// The output comes first, so that it is open when the input brings frames.
    pub(super) fn follow_links(&mut self) -> Result<(), StartError> {
        self.follow_links_of(Role::OutNetdev)?;
        self.follow_links_of(Role::InNetdev)
    }

    fn follow_links_of(&mut self, role: Role) -> Result<(), StartError> {
        let mut changes = Vec::new();
        match self.end(role).1.read(|change| changes.push(change)) {
            Ok(()) => changes.iter().try_for_each(|change| self.follow_link(role, change)),
            Err(Overrun) => self.look_again(role),
        }
    }

    /// One end: the interface, and the watch over the namespace that it is in.
    fn end(&mut self, role: Role) -> (&mut Endpoint, &mut LinkWatch) {
        match role {
            Role::InNetdev => (&mut self.input, &mut self.input_links),
            Role::OutNetdev => (&mut self.output, &mut self.output_links),
        }
    }

    fn follow_link(&mut self, role: Role, change: &LinkChange) -> Result<(), StartError> {
        let transition = self.end(role).0.observe(change, clock::monotonic_ns());
        self.follow_transition(role, transition)?;
        // It may have been renamed before it was deleted, and its name been given to another.
        if transition == Some(Transition::Vanished) { self.look_again(role) } else { Ok(()) }
    }

    /// Looks an interface up, when changes were missed.
    fn look_again(&mut self, role: Role) -> Result<(), StartError> {
        let (endpoint, links) = self.end(role);
        let same = endpoint.ifindex().map(|ifindex| links.by_index(ifindex)).transpose()?.flatten();
        let link = match same {
            Some(link) => Some(link),
            None => links.by_name(endpoint.name())?,
        };
        let transition = endpoint.update(link, clock::monotonic_ns());
        self.follow_transition(role, transition)
    }

    fn follow_transition(&mut self, role: Role, transition: Option<Transition>) -> Result<(), StartError> {
        let Some(transition) = transition else { return Ok(()) };
        self.bar_outlet();
        if matches!(transition, Transition::Returned(_)) {
            require_ethernet(role, self.end(role).0)?;
            match role {
                Role::InNetdev => self.open_input()?,
                Role::OutNetdev => self.open_output()?,
            }
        }
        self.tell_transition(role, transition);
        self.announce_ready();
        Ok(())
    }

    pub(super) fn bar_outlet(&mut self) {
        self.outlet.bar(match self.output.state() {
            State::Up => None,
            State::Down => Some(DropReason::OutputDown),
            State::Missing => Some(DropReason::OutputMissing),
        });
    }

    /// Whether an interface is gone between two looks, and its return will be announced.
    fn may_be_missing(&self, error: &Error) -> bool {
        error.errno == Errno::NODEV && (self.plan.wait || self.announced_ready)
    }

    pub(super) fn wants_capture(&self) -> bool {
        self.gate.wants_capture(!self.plan.pre_roll.is_zero())
    }

    /// Opens the output's socket, or binds it anew. Without an interface it waits for one.
    pub(super) fn open_output(&mut self) -> Result<(), StartError> {
        let Some(ifindex) = self.output.ifindex() else { return Ok(()) };
        if let Some(injector) = self.outlet.injector() {
            return missing_is_fine(injector.socket().bind(ifindex, Binding::SendOnly).map_err(|errno| {
                StartError::at(
                    Role::OutNetdev,
                    Error::new("bind AF_PACKET socket", self.output.name().as_str(), errno),
                )
            }));
        }
        self.plan.out_netdev.enter()?;
        match Injector::open(self.output.name(), self.plan.mark) {
            Ok(injector) => self.outlet.attach(injector),
            Err(error) if self.may_be_missing(&error) => {}
            Err(error) => return Err(StartError::at(Role::OutNetdev, error)),
        }
        Ok(())
    }

    /// Opens the capture if the gate wants one, or binds it anew. Without an interface it waits for one.
    pub(super) fn open_input(&mut self) -> Result<(), StartError> {
        let Some(ifindex) = self.input.ifindex() else { return Ok(()) };
        if !self.wants_capture() {
            return Ok(());
        }
        let name = self.input.name();
        if self.capture.is_none() {
            let filter = Program::capture(self.plan.queue.direction(), self.plan.mark);
            match Capture::open(&self.plan.in_netdev, filter, self.plan.latency) {
                Ok(capture) => {
                    self.capture = Some(capture);
                    self.listen_to_source()?;
                }
                Err(error) if self.may_be_missing(&error) => return Ok(()),
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
    pub(super) fn adapt_capture(&mut self) -> Result<(), StartError> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        match capture.adapt(clock::monotonic_ns()) {
            Ok(true) => self.listen_to_source(),
            Ok(false) => Ok(()),
            Err(error) => {
                self.warn("ring_refused", || format!("{error}; capturing goes on without a ring"));
                Ok(())
            }
        }
    }

    /// Waits for the capture's first descriptor, too. One leaves the epoll instance when it is closed.
    fn listen_to_source(&self) -> Result<(), StartError> {
        let blocked = self.pumped == Pumped::Blocked;
        let flags = if blocked { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
        let source = self.capture.as_ref().and_then(|capture| capture.descriptors().next());
        source
            .map_or(Ok(()), |source| epoll::add(&self.epoll, source, Token::Capture.data(), flags))
            .map_err(|errno| Error::new("add to epoll", self.plan.in_netdev.name.as_str(), errno).into())
    }

    /// Takes what the capture still holds, and closes it: nothing is hooked into the interface then.
    pub(super) fn close_input(&mut self) {
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
        self.account_overflow();
        if let Some(capture) = &mut self.capture {
            while let Ok(true) = capture.fill() {
                let lengths = capture.frames().map(|frame| wire_bytes(frame.bytes, frame.beside));
                let (frames, bytes) = lengths.fold((0, 0), |(frames, bytes), len| (frames + 1, bytes + len));
                self.counters.capture(frames, bytes);
                self.counters.drop_many(DropReason::Stopped, count(frames));
                capture.advance(frames);
            }
        }
        // Whether the gate would have opened for them is not going to be known.
        self.drop_held(DropReason::GateClosed);
    }

    pub(super) fn drop_held(&mut self, reason: DropReason) {
        let held = self.hold.len();
        self.hold.advance(held);
        self.hold.release_memory();
        self.counters.drop_many(reason, count(held));
    }
}

/// Refuses an interface whose frames have no Ethernet header.
pub(super) fn require_ethernet(role: Role, endpoint: &Endpoint) -> Result<(), StartError> {
    if endpoint.is_ethernet() {
        Ok(())
    } else {
        Err(StartError::NotEthernet { role, name: endpoint.name().to_string() })
    }
}

/// An interface that is gone again is not an error: its return will be announced.
fn missing_is_fine(result: Result<(), StartError>) -> Result<(), StartError> {
    match result {
        Err(StartError::NotFound { .. }) => Ok(()),
        result => result,
    }
}
