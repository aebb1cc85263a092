//! Connections from here to a peer: one that is made now, and one that is sought for as long as it takes.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{SocketAddrUnix, SocketType, connect};
use tapferry_sys::Errno;
use tapferry_tls::{Channel, Credentials, Failure};

use super::error::{Attempt, Lack, StreamError};
use super::{enter, tune, unix_socket};
use crate::plan::{Address, StreamPlan};
use crate::thread::Outbox;

/// For how long a peer's machine may leave a connection unanswered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between the first two tries; then twice as long each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// For a server's part of the handshake, once it has answered.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to where the plan says, with these credentials where there is TLS.
pub(super) fn dial(plan: &StreamPlan, credentials: Option<&Credentials>) -> Result<Channel, StreamError> {
    let socket = match &plan.address {
        Address::Unix { path, .. } => dial_unix(path)?,
        Address::Tcp { host, port, .. } => {
            enter(plan.namespace.as_ref(), Attempt::ConnectToHost)?;
            dial_tcp(host, *port)?
        }
        Address::Passed { descriptor, .. } => take_over(descriptor)?,
    };
    tune(&socket);
    let Some(credentials) = credentials else { return Ok(Channel::plain(socket)) };
    let Address::Tcp { host, .. } = &plan.address else { return Err(StreamError::NoHost) };
    Channel::client(socket, credentials, host)
        .and_then(|mut channel| channel.establish(HANDSHAKE_TIMEOUT).map(|()| channel))
        .map_err(StreamError::Tls)
}

/// A duplicate of a descriptor that the process was started with.
pub(super) fn take_over(descriptor: &OwnedFd) -> Result<OwnedFd, StreamError> {
    descriptor.try_clone().map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::BADF);
        StreamError::Refused { attempt: Attempt::TakeDescriptor, errno }
    })
}

fn dial_unix(path: &Path) -> Result<OwnedFd, StreamError> {
    let refused = || StreamError::refused(Attempt::ConnectToPath);
    let no_peer = |why: &str| StreamError::Unreachable { why: why.into(), lack: Lack::Listener };
    let address = SocketAddrUnix::new(path).map_err(refused())?;
    let socket = unix_socket(SocketType::STREAM).map_err(refused())?;
    connect(&socket, &address).map(|()| socket).map_err(|errno| match errno {
        Errno::NOENT => no_peer("there is no such socket"),
        Errno::CONNREFUSED if !is_socket(path) => StreamError::NotASocket,
        Errno::CONNREFUSED => no_peer("nobody listens there"),
        Errno::AGAIN => no_peer("too many others wait for it"),
        Errno::PROTOTYPE => StreamError::NotAStream,
        errno => refused()(errno),
    })
}

fn dial_tcp(host: &str, port: u16) -> Result<OwnedFd, StreamError> {
    let unknown = |why: &dyn Display| StreamError::Unreachable { why: why.to_string(), lack: Lack::Name };
    let mut failure = unknown(&format!("'{host}' has no address"));
    for address in (host, port).to_socket_addrs().map_err(|error| unknown(&error))? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream.into()),
            Err(error) => {
                let refused = error.kind() == ErrorKind::ConnectionRefused;
                let lack = if refused { Lack::Listener } else { Lack::Route };
                failure = StreamError::Unreachable { why: format!("{address}: {error}"), lack };
            }
        }
    }
    Err(failure)
}

/// Whether there is a socket at a path, also behind a symbolic link.
pub(crate) fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// A thread that dials until a peer answers. Dropping it gives up.
#[derive(Debug)]
pub(super) struct Dialer {
    found: Receiver<Result<Channel, Failure>>,
    cancel: Option<Sender<()>>,
    /// None where nobody waits for its end: resolving a name cannot be interrupted.
    thread: Option<JoinHandle<()>>,
}

impl Dialer {
    /// Begins to dial, `failures` tries after the last peer that answered, and rings `wake` when one does, also if it
    /// does not get on with our TLS: then there are more tries.
    pub(super) fn begin(
        plan: &StreamPlan,
        credentials: Option<Arc<Credentials>>,
        failures: u32,
        wake: &Arc<OwnedFd>,
    ) -> Result<Self, StreamError> {
        let (outbox, found) = Outbox::new(wake);
        let (cancel, cancelled) = mpsc::channel::<()>();
        let owned = plan.clone();
        let dialing = move || {
            for tries in failures.. {
                if cancelled.recv_timeout(pause(tries)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let answer = match dial(&owned, credentials.as_deref()) {
                    Ok(channel) => Ok(channel),
                    Err(StreamError::Tls(failure)) => Err(failure),
                    Err(_) => continue,
                };
                let is_over = answer.is_ok();
                if outbox.offer(answer).is_err() || is_over {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("ferry-dial".into())
            .spawn(dialing)
            .map_err(|error| StreamError::no_thread(&error))?;
        let at_once = matches!(plan.address, Address::Unix { .. });
        Ok(Self { found, cancel: Some(cancel), thread: at_once.then_some(thread) })
    }

    /// The connection, once there is one, or the failure of one.
    pub(super) fn poll(&self) -> Option<Result<Channel, Failure>> {
        self.found.try_recv().ok()
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.cancel = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// How long to wait before the next try, after so many.
pub(super) fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bearable() {
        let pauses: Vec<_> = [0, 1, 2, 5, 6, 1_000_000].map(|tries| pause(tries).as_millis()).into();
        assert_eq!(pauses, [50, 100, 200, 500, 500, 500]);
    }
}
