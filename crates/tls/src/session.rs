//! One connection with TLS: the library's state machine, and the socket that it is fed from.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use crate::channel::{Progress, Received, Sent};
use crate::credentials::{Config, Credentials, Side};
use crate::failure::{Cause, Failure};

/// Bytes asked of the kernel at once: some records of 16 KiB.
const INCOMING: usize = 128 * 1024;
/// The first byte of a record (RFC 8446, section 5.1): from change_cipher_spec to application_data.
const RECORD_TYPES: RangeInclusive<u8> = 20..=23;
/// A peer looks at our certificate when the handshake is over for us: a server does with TLS 1.3, and QEMU always. How long
/// to wait for one that goes without a word then, in round trips and at least and at most.
const ROUND_TRIPS: u32 = 4;
const SHORTEST_DOUBT: Duration = Duration::from_millis(50);
const LONGEST_DOUBT: Duration = Duration::from_millis(500);
/// A peer that is gone must not end the process (SIGPIPE); a passed descriptor is left as it is (O_NONBLOCK).
pub(crate) const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// A connection with TLS, from its first byte on.
pub(crate) struct Session {
    socket: OwnedFd,
    tls: Connection,
    side: Side,
    /// Whether we have a certificate to show.
    shows: bool,
    /// What the kernel gave and the library has not taken yet: `incoming[taken..filled]`.
    incoming: Box<[u8]>,
    taken: usize,
    filled: usize,
    /// Bytes that were decrypted and not taken yet.
    plaintext: usize,
    begun: Instant,
    /// When the handshake was over, for us.
    agreed: Option<Instant>,
    /// Whether the peer has said anything.
    heard: bool,
    /// Whether it has said anything since the handshake: then it has accepted us.
    confirmed: bool,
    failed: bool,
}

impl Session {
    pub(crate) fn new(
        socket: OwnedFd,
        credentials: &Credentials,
        host: Option<ServerName<'static>>,
    ) -> Result<Self, Failure> {
        let loaded = credentials.current();
        let side = credentials.side();
        let failed = |error: rustls::Error| Failure::of(side, &error, loaded.has_identity);
        let mut tls: Connection = match (&loaded.config, host) {
            (Config::Server(config), _) => ServerConnection::new(config.clone()).map_err(failed)?.into(),
            (Config::Client(config), Some(host)) => {
                ClientConnection::new(config.clone(), host).map_err(failed)?.into()
            }
            (Config::Client(_), None) => {
                let cause = Cause::Protocol("a client must know whom it has dialled".into());
                return Err(Failure { side, cause });
            }
        };
        // The bounds are ours: whoever sends gives no more while something is left.
        tls.set_buffer_limit(None);
        Ok(Self {
            socket,
            tls,
            side,
            shows: loaded.has_identity,
            incoming: vec![0; INCOMING].into(),
            taken: 0,
            filled: 0,
            plaintext: 0,
            begun: Instant::now(),
            agreed: None,
            heard: false,
            confirmed: false,
            failed: false,
        })
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Whether something has been received that was not taken.
    pub(crate) fn has_received(&self) -> bool {
        self.taken < self.filled || self.plaintext > 0
    }

    /// Says goodbye, and sends nothing more.
    pub(crate) fn shut(&mut self) {
        self.tls.send_close_notify();
        self.flush().ok();
        shutdown(&self.socket, Shutdown::Write).ok();
    }

    /// Goes on with the handshake as far as it can now. When both have agreed there is a while of doubt left.
    pub(crate) fn shake(&mut self) -> Result<Progress, Failure> {
        loop {
            if !self.flush().map_err(has_left)? {
                return Ok(Progress::WaitsForRoom);
            }
            if !self.tls.is_handshaking() {
                break;
            }
            match self.feed().map_err(has_left)? {
                Fed::Some => {}
                Fed::Nothing => return Ok(Progress::WaitsForPeer),
                Fed::End => return Err(self.fail(Cause::Left)),
            }
        }
        self.agreed.get_or_insert_with(Instant::now);
        self.look()?;
        let is_believed = self.confirmed || self.doubt_left().is_none();
        Ok(if is_believed { Progress::Done } else { Progress::WaitsForPeer })
    }

    /// For how long the peer may still think better of it, if it may: some round trips, as the handshake showed them.
    pub(crate) fn doubt_left(&self) -> Option<Duration> {
        let agreed = self.agreed?;
        let doubt = (agreed.duration_since(self.begun) * ROUND_TRIPS).clamp(SHORTEST_DOUBT, LONGEST_DOUBT);
        let left = doubt.saturating_sub(agreed.elapsed());
        (!left.is_zero()).then_some(left)
    }

    /// Takes in the first that the peer says after the handshake, if it is there, without handing it out.
    fn look(&mut self) -> Result<(), Failure> {
        while !self.confirmed {
            match self.feed() {
                Ok(Fed::Some) => {}
                Ok(Fed::Nothing) => break,
                Ok(Fed::End) | Err(Failure { cause: Cause::System(_), .. }) => {
                    return Err(self.fail(Cause::Dismissed));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    pub(crate) fn receive(&mut self, into: &mut [u8]) -> Result<Received, Failure> {
        loop {
            match self.tls.reader().read(into) {
                Ok(0) => return Ok(Received::Closed),
                Ok(bytes) => {
                    self.plaintext = self.plaintext.saturating_sub(bytes);
                    return Ok(Received::Bytes(bytes));
                }
                // Nothing is left of what was decrypted.
                Err(_) => {}
            }
            match self.feed()? {
                Fed::Some => {}
                Fed::Nothing => return Ok(Received::Nothing),
                // QEMU does not say goodbye (close_notify): an end of the stream is an end. Frames know where they end.
                Fed::End => return Ok(Received::Closed),
            }
        }
    }

    /// Takes all of it, encrypts it, and sends what the kernel takes.
    pub(crate) fn send(&mut self, pieces: &[IoSlice<'_>]) -> Result<Sent, Failure> {
        if self.tls.wants_write() && !self.flush()? {
            return Ok(Sent { taken: 0, is_out: false });
        }
        let taken = self.tls.writer().write_vectored(pieces).map_err(|error| self.broken(&error))?;
        Ok(Sent { taken, is_out: self.flush()? })
    }

    /// Sends what is left. Says whether all is out.
    pub(crate) fn flush(&mut self) -> Result<bool, Failure> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(true)
    }

    /// Gives the library what the kernel has.
    fn feed(&mut self) -> Result<Fed, Failure> {
        if self.taken == self.filled {
            let filled = match take(&self.socket, &mut self.incoming) {
                Ok(Received::Bytes(filled)) => filled,
                Ok(Received::Nothing) => return Ok(Fed::Nothing),
                Ok(Received::Closed) => return Ok(Fed::End),
                Err(errno) => return Err(self.fail(Cause::System(errno))),
            };
            if !self.heard && !RECORD_TYPES.contains(&self.incoming[0]) {
                return Err(self.fail(Cause::PlainPeer));
            }
            (self.taken, self.filled, self.heard) = (0, filled, true);
        }
        let was_handshaking = self.tls.is_handshaking();
        let mut rest = &self.incoming[self.taken..self.filled];
        let taken = self.tls.read_tls(&mut rest).map_err(|error| self.broken(&error))?;
        self.taken += taken;
        match self.tls.process_new_packets() {
            // A goodbye is no welcome.
            Ok(state) => {
                self.plaintext = state.plaintext_bytes_to_read();
                self.confirmed |= !was_handshaking && (!state.peer_has_closed() || self.plaintext > 0);
            }
            Err(error) => {
                let failure = Failure::of(self.side, &error, self.shows);
                // The peer is told why, if it listens.
                self.flush().ok();
                self.failed = true;
                return Err(failure);
            }
        }
        // An answer to a new key, for one. What the kernel does not take now goes with what is sent next.
        self.flush()?;
        Ok(Fed::Some)
    }

    fn broken(&mut self, error: &io::Error) -> Failure {
        let cause = match Errno::from_io_error(error) {
            Some(errno) => Cause::System(errno),
            None => Cause::Protocol(error.to_string()),
        };
        self.fail(cause)
    }

    fn fail(&mut self, cause: Cause) -> Failure {
        self.failed = true;
        Failure { side: self.side, cause }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("socket", &self.socket)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl Drop for Session {
    /// Says goodbye, where nothing is half said and the kernel takes it at once.
    fn drop(&mut self) {
        if !self.failed && !self.tls.is_handshaking() && !self.tls.wants_write() {
            self.tls.send_close_notify();
            self.flush().ok();
        }
    }
}

/// Takes what the kernel has for a socket, without waiting.
pub(crate) fn take(socket: &OwnedFd, into: &mut [u8]) -> Result<Received, Errno> {
    match retry_on_intr(|| recv(socket, &mut *into, RecvFlags::DONTWAIT)) {
        Ok((0, _)) => Ok(Received::Closed),
        Ok((bytes, _)) => Ok(Received::Bytes(bytes)),
        Err(Errno::AGAIN) => Ok(Received::Nothing),
        Err(errno) => Err(errno),
    }
}

/// Before there is anything to lose, a connection that is reset is one that was closed.
fn has_left(failure: Failure) -> Failure {
    match failure.cause {
        Cause::System(_) => Failure { cause: Cause::Left, ..failure },
        _ => failure,
    }
}

/// What feeding came to.
enum Fed {
    Some,
    /// The kernel has nothing now.
    Nothing,
    /// Nor will it have.
    End,
}

/// The socket as the library writes to it.
struct Wire<'a>(&'a OwnedFd);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, FLAGS)?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(sendmsg(self.0, pieces, &mut SendAncillaryBuffer::default(), FLAGS)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
