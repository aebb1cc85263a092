//! Bytes to and from a peer over a socket, plain or in TLS, without ever waiting.
//!
//! ```text
//!   plain                   Established
//!   TLS      Handshake -->  Established
//! ```
//!
//! Whoever drives it waits on its descriptor: for [`Progress`] while hands are shaken, then for data, and for room while
//! something is left to send.

use std::fmt;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, Shutdown, sendmsg, shutdown};
use rustls::pki_types::ServerName;

use crate::credentials::{Credentials, Side};
use crate::failure::{Cause, Failure};
use crate::session::{FLAGS, Session, take};

/// A connection to a peer. Dropping it closes it, with a goodbye (close_notify) where there is TLS.
#[derive(Debug)]
pub struct Channel(Transport);

#[derive(Debug)]
enum Transport {
    Plain(OwnedFd),
    Tls(Box<Session>),
}

/// How far the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Frames can be sent.
    Done,
    /// The peer has to say something.
    WaitsForPeer,
    /// The socket has to take more.
    WaitsForRoom,
}

/// What receiving came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The peer has sent nothing more yet.
    Nothing,
    /// The peer has left.
    Closed,
}

/// What sending came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that were taken; the others were not touched. With TLS it is all or nothing.
    pub taken: usize,
    /// Whether the kernel has all that was taken. If not, the rest lies here: [`Channel::flush`] sends it, and nothing
    /// else is taken before.
    pub is_out: bool,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelError {
    /// The kernel says why.
    System(Errno),
    /// TLS does.
    Tls(Failure),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(errno) => errno.fmt(f),
            Self::Tls(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl From<Failure> for ChannelError {
    fn from(failure: Failure) -> Self {
        match failure.cause {
            // What a plain connection would say as well.
            Cause::System(errno) => Self::System(errno),
            _ => Self::Tls(failure),
        }
    }
}

impl Channel {
    /// A connection without TLS, established.
    pub fn plain(socket: OwnedFd) -> Self {
        Self(Transport::Plain(socket))
    }

    /// The server's side of a connection that has just been accepted.
    pub fn server(socket: OwnedFd, credentials: &Credentials) -> Result<Self, Failure> {
        Ok(Self(Transport::Tls(Box::new(Session::new(socket, credentials, None)?))))
    }

    /// The client's side of a connection that has just been made to `host`, a name or an address: the server's
    /// certificate must be for it.
    pub fn client(socket: OwnedFd, credentials: &Credentials, host: &str) -> Result<Self, Failure> {
        // The zone of a link-local address is nobody's name.
        let named = host.split('%').next().unwrap_or(host);
        let name = ServerName::try_from(named.to_owned()).map_err(|_| Failure {
            side: Side::Client,
            cause: Cause::WrongName { host: host.to_owned(), names: Vec::new() },
        })?;
        Ok(Self(Transport::Tls(Box::new(Session::new(socket, credentials, Some(name))?))))
    }

    /// Whether there is TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self.0, Transport::Tls(_))
    }

    /// Goes on with the handshake as far as it can now. It is done when the peer has said something more, or has had the time
    /// to think better of it ([`Channel::doubt_left`]).
    pub fn handshake(&mut self) -> Result<Progress, Failure> {
        match &mut self.0 {
            Transport::Plain(_) => Ok(Progress::Done),
            Transport::Tls(session) => session.shake(),
        }
    }

    /// Both have agreed, and it is to be seen whether the peer stays: look again after so long, if it says nothing.
    pub fn doubt_left(&self) -> Option<Duration> {
        match &self.0 {
            Transport::Plain(_) => None,
            Transport::Tls(session) => session.doubt_left(),
        }
    }

    /// Finishes the handshake, and waits for it: for a thread that has nothing else to do.
    pub fn establish(&mut self, within: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let awaited = match self.handshake()? {
                Progress::Done => return Ok(()),
                Progress::WaitsForPeer => PollFlags::IN,
                Progress::WaitsForRoom => PollFlags::OUT,
            };
            let left = within.saturating_sub(begun.elapsed());
            let doubt_left = self.doubt_left();
            if left.is_zero() {
                return Err(self.gave_up());
            }
            let mut descriptors = [PollFd::new(self, awaited)];
            // A signal is no answer.
            poll(&mut descriptors, Timespec::try_from(doubt_left.unwrap_or(left).min(left)).ok().as_ref())
                .ok();
        }
    }

    /// The failure of a handshake that takes too long.
    pub fn gave_up(&self) -> Failure {
        let side = match &self.0 {
            Transport::Plain(_) => Side::Server,
            Transport::Tls(session) => session.side(),
        };
        Failure { side, cause: Cause::Silent }
    }

    /// Takes what the peer has sent, into a buffer that is not empty.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Received, ChannelError> {
        match &mut self.0 {
            Transport::Tls(session) => Ok(session.receive(into)?),
            Transport::Plain(socket) => Ok(take(socket, into)?),
        }
    }

    /// Sends these pieces, one after the other.
    pub fn send(&mut self, pieces: &[IoSlice<'_>]) -> Result<Sent, ChannelError> {
        match &mut self.0 {
            Transport::Tls(session) => Ok(session.send(pieces)?),
            Transport::Plain(socket) => loop {
                match sendmsg(&*socket, pieces, &mut SendAncillaryBuffer::default(), FLAGS) {
                    Ok(taken) => return Ok(Sent { taken, is_out: true }),
                    Err(Errno::AGAIN) => return Ok(Sent { taken: 0, is_out: true }),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            },
        }
    }

    /// Sends what was taken and is not out. Says whether all is out.
    pub fn flush(&mut self) -> Result<bool, ChannelError> {
        match &mut self.0 {
            Transport::Plain(_) => Ok(true),
            Transport::Tls(session) => Ok(session.flush()?),
        }
    }

    /// Whether something lies here that the peer has sent, of which the descriptor does not tell.
    pub fn has_received(&self) -> bool {
        match &self.0 {
            Transport::Plain(_) => false,
            Transport::Tls(session) => session.has_received(),
        }
    }

    /// Says that nothing more will be sent: the peer hears the end behind all that is out. What it still sends can be
    /// received.
    pub fn shut(&mut self) {
        match &mut self.0 {
            Transport::Plain(socket) => {
                shutdown(socket, Shutdown::Write).ok();
            }
            Transport::Tls(session) => session.shut(),
        }
    }

    /// Whether something lies here that the kernel has not taken: to be flushed when the socket takes more.
    pub fn wants_to_write(&self) -> bool {
        match &self.0 {
            Transport::Plain(_) => false,
            Transport::Tls(session) => session.wants_to_write(),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Transport::Plain(socket) => socket.as_fd(),
            Transport::Tls(session) => session.as_fd(),
        }
    }
}
