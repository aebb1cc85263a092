//! A socket that peers connect to.

use std::fs;
use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use tapferry_sys::{Errno, Error};

use super::dial;
use super::error::StreamError;
use super::tune;
use crate::plan::{Address, StreamPlan};

/// One peer is served at a time; others wait here.
const BACKLOG: i32 = 8;
/// Of a unix socket: whoever may write to it may send frames to a VM.
const MODE: u32 = 0o600;

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
                plan.enter()?;
                listen_tcp(host, *port).map(|socket| Self { socket, _path: None })
            }
            Address::Passed { .. } => {
                let socket = dial::dial(plan)?;
                // Whoever shares it may take the peer that we were told of: never wait for another one.
                rustix::io::ioctl_fionbio(&socket, true)
                    .map_err(Error::on("prepare to listen on", &plan.address.to_string()))?;
                Ok(Self { socket, _path: None })
            }
        }
    }

    /// The next peer, if one waits.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        let peer = accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).ok()?;
        tune(&peer);
        Some(peer)
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
    let object = format!("{host} port {port}");
    let failed = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => StreamError::InUse,
        Some(errno) => Error::new("listen on", object.as_str(), errno).into(),
        None => StreamError::unreachable(error),
    };
    let listener = TcpListener::bind((host, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener.into())
}

fn listen_unix(path: &Path) -> Result<Listener, StreamError> {
    let object = path.display().to_string();
    let address = SocketAddrUnix::new(path).map_err(Error::on("listen on", object.as_str()))?;
    let socket = open_private().map_err(Error::on("create a socket for", object.as_str()))?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path)?;
            bind(&socket, &address).map_err(Error::on("listen on", object.as_str()))?;
        }
        bound => bound.map_err(Error::on("listen on", object.as_str()))?,
    }
    let path = BoundPath::of(path);
    listen(&socket, BACKLOG).map_err(Error::on("listen on", object.as_str()))?;
    Ok(Listener { socket, _path: path })
}

/// A socket whose path will be born with the right mode: no moment in which others may connect (unix_bind() in the
/// kernel takes the mode of the socket itself).
fn open_private() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = File::from(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?);
    socket
        .set_permissions(Permissions::from_mode(MODE))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))?;
    Ok(socket.into())
}

/// Removes a socket that nobody listens on any more, left by a process that was killed.
fn remove_stale(path: &Path) -> Result<(), StreamError> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Err(StreamError::NotASocket);
    }
    match dial::dial_unix(path) {
        Err(StreamError::Unreachable(_)) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(StreamError::InUse),
    }
    fs::remove_file(path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::new("remove the stale socket", path.display().to_string(), errno).into()
    })
}

/// A path that a socket of ours was bound to.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundPath {
    fn of(path: &Path) -> Option<Self> {
        Some(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        // Somebody else may have replaced it.
        if identity(&self.path) == Some(self.identity) {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
