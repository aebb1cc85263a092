//! A connection between the two sides: messages over a socket that never blocks, and whether the other side is alive.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tapferry_sys::{Errno, clock};
use tapferry_tls::{Channel, ChannelError, Received, Sent};

use crate::wire::{Decoder, Message, Refusal, RefusalCode, WireError, encode};

/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A peer that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes on their way out beyond which no more frames are added.
pub(crate) const BACKLOG: usize = 1024 * 1024;
/// Between two looks at the time while a connection is closed.
const CLOSING_TICK: Duration = Duration::from_millis(50);
/// Bytes on their way out beyond which nothing is read: with frames and answers to pings it is never reached.
const LONGEST_BACKLOG: usize = 4 * BACKLOG;

/// Bytes that are sent at once: with TLS they are encrypted as a whole.
const PIECE: usize = 256 * 1024;

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Loss {
    /// The peer closed it.
    #[error("the other side closed the connection")]
    Closed,
    /// The peer says nothing any more.
    #[error("the other side has been silent for {} s", SILENCE.as_secs())]
    Silent,
    /// The kernel or TLS say why.
    #[error("{0}")]
    Failed(ChannelError),
    /// It does not want us, or we do not want it.
    #[error("{0}")]
    Refused(String),
    /// We had no room for so many frames, and ask for them again.
    #[error("{0} frames found no room and are asked for again")]
    PassedOver(u64),
    /// What it sends cannot be understood.
    #[error("{0}")]
    Wire(#[from] WireError),
}

impl Loss {
    /// What the peer is told of it. A stranger would not understand, and a refusal is the last word.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let code = match self {
            Self::Wire(WireError::NotTapferry { .. }) => return None,
            Self::Wire(WireError::Version { .. }) => RefusalCode::Version,
            Self::Wire(_) => RefusalCode::Malformed,
            _ => return None,
        };
        Some(Refusal { code, text: self.to_string() })
    }
}

/// A connection to the other side.
#[derive(Debug)]
pub(crate) struct Connection {
    channel: Channel,
    decoder: Decoder,
    out: Vec<u8>,
    /// Bytes of `out` that the socket has taken.
    taken: usize,
    /// CLOCK_MONOTONIC, nanoseconds.
    heard_at: u64,
    pinged_at: u64,
    greeted: bool,
    clock: PeerClock,
}

/// What pings have shown of the peer's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PeerClock {
    /// The shortest round trip, in nanoseconds, and the peer's clock minus ours as that one showed it.
    best: Option<(u64, i64)>,
}

impl PeerClock {
    fn learn(&mut self, ping_ns: u64, received_ns: u64, now: u64) {
        let round_trip = now.saturating_sub(ping_ns);
        if self.best.is_none_or(|(shortest, _)| round_trip < shortest) {
            let middle = ping_ns + round_trip / 2;
            self.best = Some((round_trip, received_ns.cast_signed().wrapping_sub(middle.cast_signed())));
        }
    }

    /// The shortest round trip, in nanoseconds.
    pub(crate) fn round_trip_ns(&self) -> Option<u64> {
        self.best.map(|(round_trip, _)| round_trip)
    }

    /// Half of that.
    pub(crate) fn delay_ns(&self) -> Option<u64> {
        self.round_trip_ns().map(|round_trip| round_trip / 2)
    }

    /// The peer's clock minus ours, in nanoseconds.
    pub(crate) fn offset_ns(&self) -> Option<i64> {
        self.best.map(|(_, offset)| offset)
    }

    /// A moment of the peer's clock on ours (nanoseconds since 1970).
    pub(crate) fn here(&self, there: u64) -> u64 {
        there.saturating_add_signed(self.offset_ns().unwrap_or(0).saturating_neg())
    }
}

impl Connection {
    /// A connection over a channel that is established.
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            channel,
            decoder: Decoder::new(),
            out: Vec::new(),
            taken: 0,
            heard_at: clock::monotonic_ns(),
            pinged_at: 0,
            greeted: false,
            clock: PeerClock::default(),
        }
    }

    /// Adds a message to what is to be sent. False: it cannot be said, as a frame that is too long.
    pub(crate) fn push(&mut self, message: &Message<'_>) -> bool {
        encode(message, &mut self.out).is_ok()
    }

    /// Says why one goes, which comes before the end of the connection.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.push(&Message::Refusal(refusal));
        self.flush().ok();
    }

    /// Whether our hello has been said.
    pub(crate) fn has_greeted(&self) -> bool {
        self.greeted
    }

    /// Our hello has been said: from now on there may be pings.
    pub(crate) fn note_greeted(&mut self) {
        self.greeted = true;
    }

    /// Whether more frames may be added.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog() < BACKLOG
    }

    /// Bytes that the socket has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.out.len() - self.taken
    }

    /// What pings have shown of the peer's clock.
    pub(crate) fn clock(&self) -> PeerClock {
        self.clock
    }

    /// Whether to wait until the socket takes more: for what is left, or a hello that is still to be said.
    pub(crate) fn has_to_send(&self) -> bool {
        self.backlog() > 0 || self.channel.wants_to_write() || !self.greeted
    }

    /// How long its descriptor may be waited for, at most so long: not at all if something is here already, of which
    /// that does not tell.
    pub(crate) fn patience(&self, longest: Duration) -> Duration {
        if self.channel.has_received() { Duration::ZERO } else { longest }
    }

    /// Sends as much as the socket takes. That the peer is gone is for [`Self::receive`] to tell, after its last words.
    pub(crate) fn flush(&mut self) -> Result<(), Loss> {
        match self.send() {
            Err(ChannelError::System(Errno::PIPE | Errno::CONNRESET)) => self.taken = self.out.len(),
            sent => sent.map_err(Loss::Failed)?,
        }
        if self.taken == self.out.len() {
            self.out.clear();
            self.taken = 0;
        } else if self.taken > BACKLOG {
            self.out.drain(..self.taken);
            self.taken = 0;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), ChannelError> {
        while self.taken < self.out.len() {
            let left = &self.out[self.taken..];
            match self.channel.send(&[IoSlice::new(&left[..left.len().min(PIECE)])])? {
                Sent { taken: 0, .. } => return Ok(()),
                Sent { taken, .. } => self.taken += taken,
            }
        }
        self.channel.flush().map(drop)
    }

    /// Sends everything, however slowly the socket takes it, and waits until the peer, which has heard it then, closes as
    /// well: what a closed socket is sent makes the kernel throw away what is on its way. Until `patience` is over.
    pub(crate) fn close_within(&mut self, patience: Duration) {
        let deadline = clock::monotonic_ns() + nanos(patience);
        let mut is_shut = false;
        while self.flush().is_ok() && clock::monotonic_ns() < deadline {
            if !self.has_to_send() && !is_shut {
                is_shut = true;
                self.channel.shut();
            }
            let is_over = loop {
                match self.receive() {
                    Ok(true) => while let Ok(Some(_)) = self.next() {},
                    Ok(false) => break false,
                    Err(_) => break true,
                }
            };
            if is_over {
                break;
            }
            let flags = if is_shut { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            let tick = Timespec::try_from(CLOSING_TICK).ok();
            poll(&mut [PollFd::new(&self.channel, flags)], tick.as_ref()).ok();
        }
    }

    /// Reads once; false when there is nothing, or when the peer asks more than it takes answers.
    pub(crate) fn receive(&mut self) -> Result<bool, Loss> {
        if self.backlog() > LONGEST_BACKLOG {
            return Ok(false);
        }
        match self.channel.receive(self.decoder.room()) {
            Ok(Received::Closed) | Err(ChannelError::System(Errno::CONNRESET)) => Err(Loss::Closed),
            Ok(Received::Bytes(bytes)) => {
                self.decoder.filled(bytes);
                self.heard_at = clock::monotonic_ns();
                Ok(true)
            }
            Ok(Received::Nothing) => Ok(false),
            Err(error) => Err(Loss::Failed(error)),
        }
    }

    /// The next message that is whole. Pings and their answers have been dealt with here, and need nothing more.
    pub(crate) fn next(&mut self) -> Result<Option<Message<'_>>, Loss> {
        let Self { decoder, out, clock: peer, .. } = self;
        Ok(match decoder.next_message()? {
            Some(Message::Ping { sent_ns }) => {
                // It has neither a frame nor a name, and can always be said.
                encode(&Message::Pong { ping_ns: sent_ns, received_ns: clock::realtime_ns() }, out).ok();
                Some(Message::Ping { sent_ns })
            }
            Some(Message::Pong { ping_ns, received_ns }) => {
                peer.learn(ping_ns, received_ns, clock::realtime_ns());
                Some(Message::Pong { ping_ns, received_ns })
            }
            other => other,
        })
    }

    /// Nothing is read for now, and the peer is not to be blamed for its silence.
    pub(crate) fn excuse(&mut self, now: u64) {
        self.heard_at = now;
    }

    /// Pings when it is time to, and notices that the peer is gone.
    pub(crate) fn keep_alive(&mut self, now: u64) -> Result<(), Loss> {
        if now.saturating_sub(self.heard_at) > nanos(SILENCE) {
            return Err(Loss::Silent);
        }
        if self.greeted && now.saturating_sub(self.pinged_at) >= nanos(PING_EVERY) {
            self.pinged_at = now;
            self.push(&Message::Ping { sent_ns: clock::realtime_ns() });
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_tells_the_clock() {
        let mut clock = PeerClock::default();
        clock.learn(1_000, 6_500, 2_000);
        clock.learn(3_000, 8_050, 3_100);
        clock.learn(4_000, 99_000, 9_000);
        assert_eq!((clock.delay_ns(), clock.offset_ns()), (Some(50), Some(5_000)));
        assert_eq!(clock.here(8_050), 3_050);
    }
}
