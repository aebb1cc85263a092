//! Connections from here to a peer: one that is made now, and one that is sought for as long as it takes.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tapferry_sys::{Errno, Error};

use super::error::StreamError;
use super::tune;
use crate::plan::{Address, StreamPlan};

/// For how long a peer's machine may leave a connection unanswered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between the first two tries; then twice as long each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Connects to where the plan says.
pub(super) fn dial(plan: &StreamPlan) -> Result<OwnedFd, StreamError> {
    let socket = match &plan.address {
        Address::Unix { path, .. } => dial_unix(path)?,
        Address::Tcp { host, port, .. } => {
            plan.enter()?;
            dial_tcp(host, *port)?
        }
        Address::Passed { descriptor, number } => {
            let object = format!("fd:{number}");
            descriptor.try_clone().map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::BADF);
                Error::new("duplicate the descriptor", object, errno)
            })?
        }
    };
    tune(&socket);
    Ok(socket)
}

pub(super) fn dial_unix(path: &Path) -> Result<OwnedFd, StreamError> {
    let object = path.display().to_string();
    let address = SocketAddrUnix::new(path).map_err(Error::on("connect to", object.as_str()))?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(Error::on("create a socket for", object.as_str()))?;
    match connect(&socket, &address) {
        Ok(()) => Ok(socket),
        Err(Errno::NOENT) => Err(StreamError::unreachable("there is no such socket")),
        Err(Errno::CONNREFUSED) => Err(StreamError::unreachable("nobody listens there")),
        Err(Errno::AGAIN) => Err(StreamError::unreachable("too many others wait for it")),
        Err(errno) => Err(Error::new("connect to", object, errno).into()),
    }
}

fn dial_tcp(host: &str, port: u16) -> Result<OwnedFd, StreamError> {
    let mut failure = StreamError::unreachable(format!("'{host}' has no address"));
    for address in (host, port).to_socket_addrs().map_err(StreamError::unreachable)? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream.into()),
            Err(error) => failure = StreamError::unreachable(error),
        }
    }
    Err(failure)
}

/// A thread that dials until a peer answers. Dropping it gives up.
#[derive(Debug)]
pub(super) struct Dialer {
    connected: Receiver<OwnedFd>,
    cancel: Option<Sender<()>>,
    /// None where nobody waits for its end: resolving a name cannot be interrupted.
    thread: Option<JoinHandle<()>>,
}

impl Dialer {
    /// Begins to dial, `failures` tries after the last peer that answered, and rings `wake` when one does.
    pub(super) fn begin(
        plan: &StreamPlan,
        failures: u32,
        wake: &Arc<OwnedFd>,
    ) -> Result<Self, std::io::Error> {
        let (found, connected) = mpsc::channel();
        let (cancel, cancelled) = mpsc::channel::<()>();
        let (owned, wake) = (plan.clone(), Arc::clone(wake));
        let thread = thread::Builder::new().name("ferry-dial".into()).spawn(move || {
            for tries in failures.. {
                if cancelled.recv_timeout(pause(tries)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                if let Ok(socket) = dial(&owned) {
                    if found.send(socket).is_ok() {
                        rustix::io::write(wake.as_fd(), &1_u64.to_ne_bytes()).ok();
                    }
                    return;
                }
            }
        })?;
        let at_once = matches!(plan.address, Address::Unix { .. });
        Ok(Self { connected, cancel: Some(cancel), thread: at_once.then_some(thread) })
    }

    /// The connection, once there is one.
    pub(super) fn poll(&self) -> Option<OwnedFd> {
        self.connected.try_recv().ok()
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
fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bearable() {
        let pauses: Vec<_> = [0, 1, 2, 5, 6, 1_000_000].map(|tries| pause(tries).as_millis()).into();
        assert_eq!(pauses, [50, 100, 200, 1600, 2000, 2000]);
    }
}
