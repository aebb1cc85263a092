//! Following the ends that are streams: peers that come and go.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::net::sockopt;
use tapferry_sys::{Error, clock};

use super::ends::{Input, Side, StreamEnd};
use super::{Token, Worker};
use crate::counters::DropReason;
use crate::error::{Role, StartError, StreamError};
use crate::event::{Event, EventKind};
use crate::outage::OutageLog;
use crate::outlet::Exit;
use crate::plan::StreamPlan;
use crate::stream::is_tcp;
use crate::stream::peers::Peers;
use crate::stream::reader::ConnectionEnd;

/// Opens a stream end; it may have a peer at once.
pub(super) fn open(
    plan: &StreamPlan,
    side: Side,
    wait: bool,
    wake: &Arc<OwnedFd>,
) -> Result<(StreamEnd, Option<OwnedFd>), StartError> {
    let (peers, peer) = Peers::open(plan, wait, wake)
        .map_err(|error| StartError::stream(side.stream(), &plan.address, error))?;
    let end = StreamEnd {
        plan: plan.clone(),
        is_open: peers.listener().is_some(),
        peers,
        address: plan.address.to_string(),
        outages: OutageLog::default(),
        connected_at: None,
    };
    Ok((end, peer))
}

impl Worker {
    /// Begins with the peers that are there, and listens for others.
    pub(super) fn open_streams(
        &mut self,
        input_peer: Option<OwnedFd>,
        output_peer: Option<OwnedFd>,
    ) -> Result<(), StartError> {
        if self.ends.stream(Side::Output).is_some() {
            self.pipeline.outlet.bar(Some(DropReason::NoPeer));
        }
        for (side, peer) in [(Side::Output, output_peer), (Side::Input, input_peer)] {
            match peer {
                Some(peer) => self.welcome(side, peer)?,
                None => self.listen_for_peers(side)?,
            }
        }
        Ok(())
    }

    /// Takes in peers that have come to an end that has none.
    pub(super) fn welcome_peers(&mut self) -> Result<(), StartError> {
        for side in [Side::Output, Side::Input] {
            let Some(end) = self.ends.stream(side) else { continue };
            if end.connected_at.is_some() {
                continue;
            }
            if let Some(peer) = end.peers.next() {
                self.welcome(side, peer)?;
            }
        }
        Ok(())
    }

    fn welcome(&mut self, side: Side, peer: OwnedFd) -> Result<(), StartError> {
        let now = clock::monotonic_ns();
        let Some(end) = self.ends.stream(side) else { return Ok(()) };
        end.connected_at = Some(now);
        end.is_open = true;
        end.outages.end(now);
        let listener = end.peers.listener();
        if let Some(listener) = listener {
            // Others wait in its queue. It may not have been waited for.
            epoll::delete(&self.epoll, listener).ok();
        }
        let (token, flags) = match side {
            Side::Input => (Token::Input, epoll::EventFlags::IN),
            Side::Output => (Token::Output, output_flags(&peer, false)),
        };
        epoll::add(&self.epoll, &peer, token.data(), flags)
            .map_err(|errno| Error::new("add to epoll", self.address(side), errno))?;
        match side {
            Side::Input => {
                if let Input::Stream { reader, .. } = &mut self.ends.input {
                    reader.attach(peer);
                }
            }
            Side::Output => {
                if let Some(writer) = self.pipeline.outlet.writer() {
                    writer.attach(peer);
                }
                self.pipeline.outlet.bar(None);
                self.awaits_output = false;
            }
        }
        if self.announced_ready {
            let kind = match side {
                Side::Input => EventKind::InputBack,
                Side::Output => EventKind::OutputBack,
            };
            self.tell_of_peer(side, kind, "a peer is connected");
        }
        self.announce_ready();
        Ok(())
    }

    /// Waits for peers to connect, if this end has a listener.
    fn listen_for_peers(&mut self, side: Side) -> Result<(), StartError> {
        let token = match side {
            Side::Input => Token::InputListener,
            Side::Output => Token::OutputListener,
        };
        let Some(end) = self.ends.stream(side) else { return Ok(()) };
        let Some(listener) = end.peers.listener() else { return Ok(()) };
        epoll::add(&self.epoll, listener, token.data(), epoll::EventFlags::IN)
            .map_err(|errno| Error::new("add to epoll", self.address(side), errno).into())
    }

    /// What the output's descriptor says.
    pub(super) fn hear_output(&mut self, flags: epoll::EventFlags) -> Result<(), StartError> {
        let gone = epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP;
        let Exit::Stream(writer) = self.pipeline.outlet.exit() else {
            self.unblock();
            return Ok(());
        };
        if !flags.intersects(gone) {
            self.unblock();
            return Ok(());
        }
        let reason = match writer.peer().map(sockopt::socket_error) {
            Some(Ok(Err(errno))) => errno.to_string(),
            _ => HAS_LEFT.to_owned(),
        };
        self.lose_output_peer(&reason)
    }

    /// Takes leave of peers whose connection is over.
    pub(super) fn mourn_peers(&mut self) -> Result<(), StartError> {
        if let Some(errno) = self.pipeline.outlet.take_broken() {
            self.lose_output_peer(&errno.to_string())?;
        }
        let Input::Stream { reader, .. } = &mut self.ends.input else { return Ok(()) };
        let Some(end) = reader.take_end() else { return Ok(()) };
        self.lose_input_peer(end)
    }

    fn lose_output_peer(&mut self, reason: &str) -> Result<(), StartError> {
        let Self { pipeline, .. } = self;
        pipeline.outlet.bar(Some(DropReason::NoPeer));
        pipeline.outlet.detach_peer(&mut pipeline.counters);
        self.awaits_output = false;
        self.tell_of_peer(Side::Output, EventKind::OutputMissing, reason);
        if self.seek_peer(Side::Output)? {
            Ok(())
        } else {
            Err(StartError::stream(Role::Outdev, &self.address(Side::Output), StreamError::Closed))
        }
    }

    fn lose_input_peer(&mut self, end: ConnectionEnd) -> Result<(), StartError> {
        let (reason, code) = match end {
            ConnectionEnd::Closed { cut: false } => (HAS_LEFT.to_owned(), None),
            ConnectionEnd::Closed { cut: true } => {
                ("the peer has left in the middle of a frame, which is discarded".to_owned(), None)
            }
            ConnectionEnd::Failed(errno) => (errno.to_string(), None),
            ConnectionEnd::Malformed(error) => {
                self.framing_errors += 1;
                let reason = format!("connection closed: {error}; {}", error.hint());
                self.last_error = Some(reason.clone());
                (reason, Some("framing_error"))
            }
        };
        let has_another = self.seek_peer(Side::Input)?;
        let address = self.address(Side::Input);
        if let (false, ConnectionEnd::Malformed(error)) = (has_another, end) {
            return Err(StartError::stream(Role::Indev, &address, StreamError::Malformed(error)));
        }
        let kind = if has_another { EventKind::InputMissing } else { EventKind::InputClosed };
        let event = Event::new(kind, format!("indev '{address}': {reason}")).about_stream(&address);
        self.tell(match code {
            Some(code) => event.with_code(code),
            None => event,
        });
        Ok(())
    }

    /// The peer is gone: looks for another. Says whether there can be one.
    fn seek_peer(&mut self, side: Side) -> Result<bool, StartError> {
        let now = clock::monotonic_ns();
        let wake = Arc::clone(&self.wake);
        let Some(end) = self.ends.stream(side) else { return Ok(false) };
        let lived = end.connected_at.take().map_or(Duration::ZERO, |at| Duration::from_nanos(now - at));
        end.outages.begin(now);
        let has_another = end
            .peers
            .seek(lived, &wake)
            .map_err(|error| StartError::stream(side.stream(), &end.plan.address, error))?;
        self.listen_for_peers(side)?;
        Ok(has_another)
    }

    /// Waits for what the output's peer has to say: that it is gone, and, where it is full, that it is not.
    pub(super) fn listen_to_output_peer(&self) {
        let Exit::Stream(writer) = self.pipeline.outlet.exit() else { return };
        if let Some(peer) = writer.peer() {
            let flags = output_flags(peer, self.awaits_output);
            epoll::modify(&self.epoll, peer, Token::Output.data(), flags).ok();
        }
    }

    fn tell_of_peer(&self, side: Side, kind: EventKind, what: &str) {
        let (role, address) = (side.stream(), self.address(side));
        self.tell(Event::new(kind, format!("{role} '{address}': {what}")).about_stream(&address));
    }

    fn address(&self, side: Side) -> String {
        match side {
            Side::Input => self.plan.input.to_string(),
            Side::Output => self.plan.output.to_string(),
        }
    }
}

/// What to wait for from a peer that is written to. It is not read: somebody else may read from the same socket. A
/// machine that closes its end of TCP says no more than that it will not send, so that counts as leaving; on a unix
/// socket a peer that only shuts its own direction down still reads.
fn output_flags(peer: impl AsFd, blocked: bool) -> epoll::EventFlags {
    let leaving = if is_tcp(peer) { epoll::EventFlags::RDHUP } else { epoll::EventFlags::empty() };
    let room = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
    leaving | room
}

const HAS_LEFT: &str = "the peer has left";
