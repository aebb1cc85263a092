//! Following the ends that are streams: peers that come and go.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::net::sockopt;
use tapferry_sys::{Errno, Error, clock};
use tapferry_tls::{Channel, ChannelError};

use super::ends::{Doubt, Input, Side, StreamEnd};
use super::{Token, Worker, nanos};
use crate::counters::DropReason;
use crate::error::{Attempt, Role, StartError, StreamError};
use crate::event::{Event, EventKind};
use crate::lately::Lately;
use crate::outage::OutageLog;
use crate::outlet::Exit;
use crate::plan::StreamPlan;
use crate::stream::discard::Discarded;
use crate::stream::is_tcp;
use crate::stream::peers::{LONGEST_REST, Next, Peers};
use crate::stream::reader::ConnectionEnd;

/// Opens a stream end; it may have a peer at once.
pub(super) fn open(
    plan: &StreamPlan,
    side: Side,
    wait: bool,
    wake: &Arc<OwnedFd>,
) -> Result<(StreamEnd, Option<Channel>), StartError> {
    let (peers, peer) = Peers::open(plan, wait, wake)
        .map_err(|error| StartError::stream(side.stream(), &plan.address, error))?;
    let end = StreamEnd {
        plan: plan.clone(),
        peers: Box::new(peers),
        address: plan.address.to_string(),
        outages: OutageLog::default(),
        connected_at: None,
        listen_at: None,
        doubt: None,
        told: Lately::new(FAILURES_TOLD),
    };
    Ok((end, peer))
}

impl Worker {
    /// Begins with the peers that are there, and listens for others.
    pub(super) fn open_streams(
        &mut self,
        input_peer: Option<Channel>,
        output_peer: Option<Channel>,
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
            match end.peers.take() {
                Ok(Some(peer)) => self.welcome(side, peer)?,
                Ok(None) => {}
                Err(errno) => self.rest_from_accepting(side, errno),
            }
        }
        Ok(())
    }

    fn welcome(&mut self, side: Side, peer: Channel) -> Result<(), StartError> {
        let now = clock::monotonic_ns();
        let Some(end) = self.ends.stream(side) else { return Ok(()) };
        let doubtful = end.doubt.is_some();
        end.connected_at = Some(now);
        end.outages.end(now);
        if let Some(listener) = end.peers.listener() {
            // Others wait in its queue. It may not have been waited for.
            epoll::delete(&self.epoll, listener).ok();
        }
        let token = match side {
            Side::Input => Token::Input,
            Side::Output => Token::Output,
        };
        epoll::add(&self.epoll, &peer, token.data(), epoll::EventFlags::IN)
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
                self.awaits_output = None;
                self.listen_to_output_peer();
            }
        }
        if self.announced_ready && !doubtful {
            let kind = match side {
                Side::Input => EventKind::InputBack,
                Side::Output => EventKind::OutputBack,
            };
            self.tell_of_peer(side, kind, "a peer is connected", None);
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

    /// A peer waits and cannot be had: there is no descriptor left for it, for one.
    fn rest_from_accepting(&mut self, side: Side, errno: Errno) {
        let Some(end) = self.ends.stream(side) else { return };
        end.listen_at = Some(clock::monotonic_ns() + nanos(LONGEST_REST));
        if let Some(listener) = end.peers.listener() {
            epoll::delete(&self.epoll, listener).ok();
        }
        let (role, address) = (side.stream(), self.address(side));
        self.warn("accept_failed", || format!("{role} '{address}': a peer cannot be accepted: {errno}"));
    }

    /// Listens for peers again, where a rest is over.
    pub(super) fn listen_again(&mut self) -> Result<(), StartError> {
        for side in [Side::Output, Side::Input] {
            let now = clock::monotonic_ns();
            let Some(end) = self.ends.stream(side) else { continue };
            if end.listen_at.take_if(|at| *at <= now).is_some() {
                self.listen_for_peers(side)?;
            }
        }
        Ok(())
    }

    /// What the output's descriptor says.
    pub(super) fn hear_output(&mut self, flags: epoll::EventFlags) -> Result<(), StartError> {
        let gone = epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP;
        let Some(writer) = self.pipeline.outlet.writer() else {
            self.unblock();
            return Ok(());
        };
        match writer.discard() {
            // A peer that leaves may have said why.
            Err(error) => return self.lose_output_peer(Some(&error)),
            Ok(Discarded { end: true, .. }) if writer.is_secure() => return self.lose_output_peer(None),
            // It waits for an answer in TLS, for ever.
            Ok(Discarded { first: Some(_), .. }) if writer.has_heard_tls() => {
                return self.lose_output_peer(None);
            }
            Ok(discarded) if !flags.intersects(gone) => {
                if flags.contains(epoll::EventFlags::OUT) {
                    self.unblock();
                }
                if discarded.end {
                    self.listen_to_output_peer();
                }
                if discarded.first.is_some() {
                    self.warn_of_discarded();
                }
                return Ok(());
            }
            Ok(_) => {}
        }
        let Exit::Stream(writer) = self.pipeline.outlet.exit() else { return Ok(()) };
        let error = writer.peer().and_then(|peer| sockopt::socket_error(peer).ok()?.err());
        self.lose_output_peer(error.map(ChannelError::System).as_ref())
    }

    /// What the output's peer sends goes nowhere.
    fn warn_of_discarded(&mut self) {
        let address = self.address(Side::Output);
        self.warn("peer_sends", || {
            format!(
                "outdev '{address}': the peer sends frames, too: they are read and discarded; for both directions of \
                 one connection hand it to two tapferrys, as fd:N"
            )
        });
    }

    /// Tells of a peer that brings frames after others brought nonsense.
    pub(super) fn believe_peer(&mut self) {
        let Input::Stream { end, reader } = &mut self.ends.input else { return };
        if reader.has_brought_frames() && end.doubt.take().is_some() {
            self.tell_of_peer(Side::Input, EventKind::InputBack, "a peer is connected", None);
        }
    }

    /// Takes leave of peers whose connection is over.
    pub(super) fn mourn_peers(&mut self) -> Result<(), StartError> {
        if let Some(error) = self.pipeline.outlet.take_broken() {
            self.lose_output_peer(Some(&error))?;
        }
        let Input::Stream { reader, .. } = &mut self.ends.input else { return Ok(()) };
        let Some(peer) = reader.ended() else { return Ok(()) };
        // A descriptor that others share is not taken out by closing ours.
        epoll::delete(&self.epoll, peer).ok();
        let brought = reader.has_brought_frames();
        let Some(end) = reader.take_end() else { return Ok(()) };
        self.lose_input_peer(end, brought)
    }

    fn lose_output_peer(&mut self, error: Option<&ChannelError>) -> Result<(), StartError> {
        let Self { pipeline, epoll, .. } = self;
        let mut speaks_tls = false;
        if let Exit::Stream(writer) = pipeline.outlet.exit()
            && let Some(peer) = writer.peer()
        {
            epoll::delete(epoll, peer).ok();
            speaks_tls = writer.has_heard_tls();
        }
        pipeline.outlet.bar(Some(DropReason::NoPeer));
        pipeline.outlet.detach_peer(&mut pipeline.counters);
        self.awaits_output = None;
        let (reason, code) = match error {
            None | Some(ChannelError::System(_)) if speaks_tls => (SPEAKS_TLS.to_owned(), Some("TLS_PEER")),
            None => (HAS_LEFT.to_owned(), None),
            Some(error) => self.note_failure(error),
        };
        if self.announced_ready {
            self.tell_of_peer(Side::Output, EventKind::OutputMissing, &reason, code);
        }
        if self.seek_peer(Side::Output, false)? {
            Ok(())
        } else {
            Err(StartError::stream(Role::Outdev, &self.address(Side::Output), StreamError::Closed))
        }
    }

    fn lose_input_peer(&mut self, end: ConnectionEnd, brought: bool) -> Result<(), StartError> {
        let ((reason, code), failure) = match end {
            ConnectionEnd::Closed { cut: false } => ((HAS_LEFT.to_owned(), None), None),
            ConnectionEnd::Closed { cut: true } => {
                (("the peer has left in the middle of a frame, which is discarded".to_owned(), None), None)
            }
            ConnectionEnd::Failed(error) => {
                let told = self.note_failure(&error);
                let failure = match error {
                    ChannelError::System(errno) => StreamError::refused(Attempt::Read)(errno),
                    ChannelError::Tls(failure) => StreamError::Tls(failure),
                };
                (told, Some(failure))
            }
            ConnectionEnd::Malformed(error) => {
                self.framing_errors += 1;
                let reason = format!("connection closed: {error}; {}", error.hint());
                self.last_error = Some(reason.clone());
                ((reason, Some("framing_error")), Some(StreamError::Malformed(error)))
            }
        };
        let has_another = self.seek_peer(Side::Input, brought)?;
        let reason = match failure {
            Some(failure) if !has_another => {
                return Err(StartError::stream(Role::Indev, &self.address(Side::Input), failure));
            }
            Some(StreamError::Malformed(_)) => match self.doubt_peers() {
                Some(untold @ 1..) => format!("{reason} (so did {untold} before it)"),
                Some(0) => reason,
                None => return Ok(()),
            },
            _ => reason,
        };
        let kind = if has_another { EventKind::InputMissing } else { EventKind::InputClosed };
        if self.announced_ready || !has_another {
            self.tell_of_peer(Side::Input, kind, &reason, code);
        }
        Ok(())
    }

    /// Why a connection broke, in words, and with its code where that was TLS: that is counted.
    fn note_failure(&mut self, error: &ChannelError) -> (String, Option<&'static str>) {
        match error {
            ChannelError::System(errno) => (errno.to_string(), None),
            ChannelError::Tls(failure) => {
                self.tls_failures += 1;
                (format!("{failure}; {}", failure.hint()), Some(failure.code()))
            }
        }
    }

    /// A connection brought nonsense. Says how many before it were not told, if this one is to be told: a peer that
    /// tries again and again must not fill the log.
    fn doubt_peers(&mut self) -> Option<u64> {
        let now = clock::monotonic_ns();
        let end = self.ends.stream(Side::Input)?;
        let first = Doubt { told_at: 0, untold: 0 };
        let doubt = end.doubt.get_or_insert(first);
        if doubt.told_at > 0 && now.saturating_sub(doubt.told_at) < nanos(TELL_AGAIN) {
            doubt.untold += 1;
            return None;
        }
        let untold = std::mem::take(&mut doubt.untold);
        doubt.told_at = now;
        Some(untold)
    }

    /// An output that has taken nothing for long is told once: it may never again.
    pub(super) fn warn_of_stall(&mut self) {
        let is_stream = self.ends.stream(Side::Output).is_some();
        let Some(since) = self.awaits_output.filter(|_| is_stream) else { return };
        if clock::monotonic_ns().saturating_sub(since) < nanos(STALLED) {
            return;
        }
        let (address, held) = (self.address(Side::Output), self.pipeline.held().0);
        self.warn("peer_stalled", || {
            format!(
                "outdev '{address}': the peer has read nothing for {} s, and {held} frames wait; {NEVER_READS}",
                STALLED.as_secs()
            )
        });
    }

    /// When that is to be told although nothing happens (CLOCK_MONOTONIC, nanoseconds).
    pub(super) fn stall_told_at(&self, since: u64) -> Option<u64> {
        let is_to_be_told = self.pipeline.outlet.is_stream() && !self.warned.contains(&"peer_stalled");
        is_to_be_told.then(|| since + nanos(STALLED))
    }

    /// At the end: frames that count as forwarded, and lie in the socket.
    pub(super) fn warn_of_unread(&mut self) {
        let Exit::Stream(writer) = self.pipeline.outlet.exit() else { return };
        let deadline = clock::monotonic_ns() + nanos(READING_TIME);
        while !writer.is_read() {
            if clock::monotonic_ns() >= deadline {
                let address = self.address(Side::Output);
                self.warn("unread", || {
                    format!("outdev '{address}': the peer has not read all that was sent; {NEVER_READS}")
                });
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The peer is gone: looks for another. Says whether there can be one.
    fn seek_peer(&mut self, side: Side, was_of_use: bool) -> Result<bool, StartError> {
        let now = clock::monotonic_ns();
        let wake = Arc::clone(&self.wake);
        let Some(end) = self.ends.stream(side) else { return Ok(false) };
        let lived = end.connected_at.take().map_or(Duration::ZERO, |at| Duration::from_nanos(now - at));
        end.outages.begin(now);
        let next = end
            .peers
            .seek(was_of_use || lived >= GOOD_WHILE, &wake)
            .map_err(|error| StartError::stream(side.stream(), &end.plan.address, error))?;
        match next {
            Next::Listen { rest: Duration::ZERO } => self.listen_for_peers(side)?,
            Next::Listen { rest } => end.listen_at = Some(now + nanos(rest)),
            Next::Dial | Next::Never => {}
        }
        Ok(next != Next::Never)
    }

    /// Waits for what the output's peer has to say: that it is gone, where it is full, that it is not, and what is to
    /// be discarded.
    pub(super) fn listen_to_output_peer(&self) {
        let Exit::Stream(writer) = self.pipeline.outlet.exit() else { return };
        if let Some(peer) = writer.peer() {
            let flags = output_flags(peer, self.awaits_output.is_some(), writer.may_send());
            epoll::modify(&self.epoll, peer, Token::Output.data(), flags).ok();
        }
    }

    pub(super) fn tell_of_peer(&self, side: Side, kind: EventKind, what: &str, code: Option<&'static str>) {
        let (role, address) = (side.stream(), self.address(side));
        let event = Event::new(kind, format!("{role} '{address}': {what}")).about_stream(&address);
        self.tell(Event { code, ..event });
    }

    pub(super) fn address(&self, side: Side) -> String {
        match side {
            Side::Input => self.plan.input.to_string(),
            Side::Output => self.plan.output.to_string(),
        }
    }
}

/// What to wait for from a peer that is written to. A machine that closes its end of TCP says no more than that it will not send, so that counts as leaving; on a unix
/// socket a peer that only shuts its own direction down still reads.
fn output_flags(peer: impl AsFd, blocked: bool, may_send: bool) -> epoll::EventFlags {
    let leaving = if is_tcp(peer) { epoll::EventFlags::RDHUP } else { epoll::EventFlags::empty() };
    let room = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
    let sent = if may_send { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
    leaving | room | sent
}

/// A connection that lasted as long was a good one: the next is looked for without delay.
const GOOD_WHILE: Duration = Duration::from_secs(1);
/// Connections that bring nonsense are told this often at most.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Ways for a handshake to fail that are told of in a while at most.
const FAILURES_TOLD: usize = 8;
/// A peer that takes nothing for so long is told of.
const STALLED: Duration = Duration::from_secs(2);
/// At the end, for a peer that is still reading.
const READING_TIME: Duration = Duration::from_millis(100);
/// Why a peer may take nothing.
const NEVER_READS: &str = "a QEMU up to 10.0 is deaf after a reconnect: give its `--qmp`";

const HAS_LEFT: &str = "the peer has left";
const SPEAKS_TLS: &str =
    "connection closed: the peer speaks TLS, and is answered without; give `--tls-creds`";
