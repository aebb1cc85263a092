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
use rustix::net::{RecvFlags, SendAncillaryBuffer, recv, sendmsg};
use rustls::pki_types::ServerName;

use crate::credentials::{Credentials, Side};
use crate::failure::{Cause, Failure};
use crate::session::{FLAGS, Session};

/// How long a server that does not confirm may take to throw us out: some round trips, as the handshake showed them.
const ROUND_TRIPS: u32 = 4;
const SHORTEST_DOUBT: Duration = Duration::from_millis(50);
const LONGEST_DOUBT: Duration = Duration::from_millis(500);

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

    /// Goes on with the handshake as far as it can now.
    pub fn handshake(&mut self) -> Result<Progress, Failure> {
        let Transport::Tls(session) = &mut self.0 else { return Ok(Progress::Done) };
        Ok(match session.shake()? {
            true => Progress::Done,
            false if session.wants_to_write() => Progress::WaitsForRoom,
            false => Progress::WaitsForPeer,
        })
    }

    /// Whether frames can be sent and received.
    pub fn is_established(&self) -> bool {
        match &self.0 {
            Transport::Plain(_) => true,
            Transport::Tls(session) => !session.is_handshaking(),
        }
    }

    /// Finishes the handshake, and waits for it: for a thread that has nothing else to do. A client then waits a little
    /// for a server that thinks better of it: with TLS 1.3, and with QEMU always, a server looks at our certificate
    /// only when the handshake is over for us.
    pub fn establish(&mut self, within: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let awaited = match self.handshake()? {
                Progress::Done => break,
                Progress::WaitsForPeer => PollFlags::IN,
                Progress::WaitsForRoom => PollFlags::OUT,
            };
            if !self.wait(awaited, within.saturating_sub(begun.elapsed())) {
                return Err(self.gave_up());
            }
        }
        match &mut self.0 {
            Transport::Tls(session) if session.side() == Side::Client => {
                let doubt = (begun.elapsed() * ROUND_TRIPS).clamp(SHORTEST_DOUBT, LONGEST_DOUBT);
                self.wait_for_confirmation(doubt)
            }
            _ => Ok(()),
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

    fn wait_for_confirmation(&mut self, doubt: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let Transport::Tls(session) = &mut self.0 else { return Ok(()) };
            session.look()?;
            if session.is_confirmed() || !self.wait(PollFlags::IN, doubt.saturating_sub(begun.elapsed())) {
                return Ok(());
            }
        }
    }

    /// Waits for the socket. Says whether there was something.
    fn wait(&self, awaited: PollFlags, time: Duration) -> bool {
        let mut descriptors = [PollFd::new(self, awaited)];
        match poll(&mut descriptors, Timespec::try_from(time).ok().as_ref()) {
            Ok(ready) => ready > 0,
            Err(errno) => errno == Errno::INTR && !time.is_zero(),
        }
    }

    /// Takes what the peer has sent, into a buffer that is not empty.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Received, ChannelError> {
        match &mut self.0 {
            Transport::Tls(session) => Ok(session.receive(into)?),
            Transport::Plain(socket) => loop {
                match recv(&*socket, &mut *into, RecvFlags::DONTWAIT) {
                    Ok((0, _)) => return Ok(Received::Closed),
                    Ok((bytes, _)) => return Ok(Received::Bytes(bytes)),
                    Err(Errno::AGAIN) => return Ok(Received::Nothing),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            },
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
