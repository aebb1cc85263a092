//! Following the ends that are interfaces, and opening what is hooked into them.

use rustix::event::epoll;
use tapferry_sys::filter::Program;
use tapferry_sys::inject::Injector;
use tapferry_sys::link::{LinkChange, Overrun};
use tapferry_sys::packet::Binding;
use tapferry_sys::{Errno, Error, clock};

use super::ends::{Input, NetdevEnd, Output, Side};
use super::{Token, Worker};
use crate::capture::Capture;
use crate::counters::DropReason;
use crate::endpoint::{Endpoint, State, Transition};
use crate::error::{Role, StartError};
use crate::plan::Queue;

impl Worker {
    /// Opens the ends that are interfaces. One that is missing is an error, unless it is waited for.
    pub(super) fn open_interfaces(&mut self) -> Result<(), StartError> {
        let wait = self.plan.wait;
        for side in [Side::Input, Side::Output] {
            let Some(NetdevEnd { endpoint, .. }) = self.ends.netdev(side) else { continue };
            if endpoint.state() == State::Missing && !wait {
                return Err(StartError::NotFound { role: side.netdev(), name: endpoint.name().to_string() });
            }
            require_ethernet(side.netdev(), endpoint)?;
        }
        for (side, token) in [(Side::Output, Token::OutputLinks), (Side::Input, Token::InputLinks)] {
            let Some(NetdevEnd { watch, netdev, .. }) = self.ends.netdev(side) else { continue };
            epoll::add(&self.epoll, &*watch, token.data(), epoll::EventFlags::IN)
                .map_err(Error::on("add to epoll", netdev.name.as_str()))?;
        }
        self.bar_outlet();
        self.open_output()?;
        self.open_capture()
    }

    pub(super) fn follow_links(&mut self, side: Side) -> Result<(), StartError> {
        let mut changes = Vec::new();
        let Some(end) = self.ends.netdev(side) else { return Ok(()) };
        match end.watch.read(|change| changes.push(change)) {
            Ok(()) => changes.iter().try_for_each(|change| self.follow_link(side, change)),
            Err(Overrun) => self.look_again(side),
        }
    }

    fn follow_link(&mut self, side: Side, change: &LinkChange) -> Result<(), StartError> {
        let Some(end) = self.ends.netdev(side) else { return Ok(()) };
        let transition = end.endpoint.observe(change, clock::monotonic_ns());
        self.follow_transition(side, transition)?;
        // It may have been renamed before it was deleted, and its name been given to another.
        if transition == Some(Transition::Vanished) { self.look_again(side) } else { Ok(()) }
    }

    /// Looks an interface up, when changes were missed.
    fn look_again(&mut self, side: Side) -> Result<(), StartError> {
        let Some(NetdevEnd { endpoint, links, .. }) = self.ends.netdev(side) else { return Ok(()) };
        let same = endpoint.ifindex().map(|ifindex| links.by_index(ifindex)).transpose()?.flatten();
        let link = match same {
            Some(link) => Some(link),
            None => links.by_name(endpoint.name())?,
        };
        let transition = endpoint.update(link, clock::monotonic_ns());
        self.follow_transition(side, transition)
    }

    fn follow_transition(&mut self, side: Side, transition: Option<Transition>) -> Result<(), StartError> {
        let Some(transition) = transition else { return Ok(()) };
        self.bar_outlet();
        if matches!(transition, Transition::Returned(_)) {
            if let Some(end) = self.ends.netdev(side) {
                require_ethernet(side.netdev(), &end.endpoint)?;
            }
            match side {
                Side::Input => self.open_capture()?,
                Side::Output => self.open_output()?,
            }
        }
        if let Some(end) = self.ends.netdev(side) {
            let event = super::report::transition_event(side, &end.endpoint, transition);
            self.tell(event);
        }
        self.announce_ready();
        Ok(())
    }

    fn bar_outlet(&mut self) {
        let Output::Netdev(end) = &self.ends.output else { return };
        self.pipeline.outlet.bar(match end.endpoint.state() {
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
        self.pipeline.gate.wants_capture(!self.plan.pre_roll.is_zero())
    }

    /// Opens the output's socket, or binds it anew. Without an interface it waits for one.
    fn open_output(&mut self) -> Result<(), StartError> {
        let Output::Netdev(NetdevEnd { endpoint, netdev, .. }) = &self.ends.output else { return Ok(()) };
        let Some(ifindex) = endpoint.ifindex() else { return Ok(()) };
        let Some(exit) = self.pipeline.outlet.netdev() else { return Ok(()) };
        if let Some(injector) = exit.injector() {
            return missing_is_fine(injector.socket().bind(ifindex, Binding::SendOnly).map_err(|errno| {
                StartError::at(
                    Role::OutNetdev,
                    Error::new("bind AF_PACKET socket", endpoint.name().as_str(), errno),
                )
            }));
        }
        netdev.enter()?;
        match Injector::open(endpoint.name(), self.plan.mark) {
            Ok(injector) => exit.attach(injector),
            Err(error) if self.may_be_missing(&error) => {}
            Err(error) => return Err(StartError::at(Role::OutNetdev, error)),
        }
        Ok(())
    }

    /// Opens the capture if the gate wants one, or binds it anew. Without an interface it waits for one.
    pub(super) fn open_capture(&mut self) -> Result<(), StartError> {
        let wanted = self.wants_capture();
        let Input::Netdev { end: NetdevEnd { endpoint, netdev, .. }, capture } = &mut self.ends.input else {
            return Ok(());
        };
        let Some(ifindex) = endpoint.ifindex().filter(|_| wanted) else { return Ok(()) };
        if capture.is_none() {
            let filter = Program::capture(self.plan.queue.direction(), self.plan.mark);
            match Capture::open(netdev, filter, self.plan.latency) {
                Ok(opened) => {
                    *capture = Some(Box::new(opened));
                    self.listen_to_source()?;
                }
                Err(error) if self.may_be_missing(&error) => return Ok(()),
                Err(error) => return Err(StartError::at(Role::InNetdev, error)),
            }
        }
        let Input::Netdev { end: NetdevEnd { endpoint, .. }, capture: Some(capture) } = &mut self.ends.input
        else {
            return Ok(());
        };
        // Only a real network card filters by address; a TAP hands over all that the guest sends.
        let promiscuous = self.plan.queue != Queue::Tx && !endpoint.is_tap();
        let bound = capture
            .rebind(ifindex)
            .and_then(|()| if promiscuous { capture.join_promiscuous(ifindex) } else { Ok(()) });
        missing_is_fine(bound.map_err(|errno| {
            StartError::at(
                Role::InNetdev,
                Error::new("bind AF_PACKET socket", endpoint.name().as_str(), errno),
            )
        }))
    }
}

/// Refuses an interface whose frames have no Ethernet header.
fn require_ethernet(role: Role, endpoint: &Endpoint) -> Result<(), StartError> {
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
