//! A socket that peers connect to.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{SocketFlags, SocketType, accept_with, listen};
use tapferry_sys::Errno;

use super::bound_path::{BoundPath, bind_path};
use super::dial;
use super::error::{Attempt, Lack, StreamError};
use super::{enter, tune};
use crate::plan::{Address, StreamPlan};

/// One peer is served at a time; others wait here.
const BACKLOG: i32 = 8;

/// A listening socket. A path that it made goes when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    _path: Option<BoundPath>,
}

impl Listener {
    /// Listens where the plan says.
    pub(super) fn open(plan: &StreamPlan) -> Result<Self, StreamError> {
        match &plan.address {
            Address::Unix { path, .. } => listen_unix(path),
            Address::Tcp { host, port, .. } => {
                enter(plan.namespace.as_ref(), Attempt::ListenOnPort)?;
                listen_tcp(host, *port).map(|socket| Self { socket, _path: None })
            }
            Address::Passed { descriptor, .. } => {
                let socket = dial::take_over(descriptor)?;
                // Whoever shares it may take the peer that we were told of: never wait for another one.
                rustix::io::ioctl_fionbio(&socket, true)
                    .map_err(StreamError::refused(Attempt::TakeDescriptor))?;
                Ok(Self { socket, _path: None })
            }
        }
    }

    /// The next peer, if one waits.
    pub(super) fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        match accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(peer) => {
                tune(&peer);
                Ok(Some(peer))
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn listen_tcp(host: &str, port: u16) -> Result<OwnedFd, StreamError> {
    // An empty host: all addresses, of IPv4 as well.
    let host = if host.is_empty() { "::" } else { host };
    let failed = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => StreamError::InUse,
        Some(errno) => StreamError::Refused { attempt: Attempt::ListenOnPort, errno },
        None => StreamError::Unreachable { why: error.to_string(), lack: Lack::Name },
    };
    let listener = TcpListener::bind((host, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener.into())
}

fn listen_unix(path: &Path) -> Result<Listener, StreamError> {
    let listens = |socket: &OwnedFd| listen(socket, BACKLOG);
    let (socket, path) = bind_path(path, SocketType::STREAM, listens)?;
    Ok(Listener { socket, _path: path })
}
