//! A socket that peers connect to.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use tapferry_sys::Errno;

use super::dial;
use super::error::{Attempt, Lack, StreamError};
use super::tune;
use crate::plan::{Address, StreamPlan};

/// One peer is served at a time; others wait here.
const BACKLOG: i32 = 8;
/// For others of us to be done with a directory.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
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
                plan.enter().map_err(|error| StreamError::refused(Attempt::ListenOnPort)(error.errno))?;
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
    let address = SocketAddrUnix::new(path).map_err(refused)?;
    let socket = open_private().map_err(refused)?;
    // Between binding and listening, and between a look and a removal, another of us must not look.
    let _alone = lock_directory(path);
    if let Err(errno) = bind(&socket, &address) {
        if errno != Errno::ADDRINUSE {
            return Err(refused(errno));
        }
        remove_stale(path)?;
        bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => StreamError::InUse,
            errno => refused(errno),
        })?;
    }
    let path = BoundPath::of(path);
    listen(&socket, BACKLOG).map_err(refused)?;
    Ok(Listener { socket, _path: path })
}

/// Keeps others of us out of a path's directory for as long as it is open. Where it cannot be had soon, it is done
/// without: somebody else may lock that directory for reasons of its own.
fn lock_directory(path: &Path) -> Option<File> {
    let directory = File::open(path.parent()?).ok()?;
    for _ in 0..LOCK_TRIES {
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Some(directory);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    None
}

fn refused(errno: Errno) -> StreamError {
    StreamError::Refused { attempt: Attempt::ListenAtPath, errno }
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
    let is_ours_to_replace = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_ours_to_replace {
        return Err(StreamError::NotASocket);
    }
    // A connection that is closed at once may be more than whoever listens there can bear: a QEMU filter is deaf then.
    if is_listened_on(path) {
        return Err(StreamError::InUse);
    }
    match dial::dial_unix(path) {
        Err(StreamError::Unreachable { .. }) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(StreamError::InUse),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(refused(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
        }
        _ => Ok(()),
    }
}

/// Whether somebody of this network namespace listens at a path, as proc_net_unix(5) lists them.
fn is_listened_on(path: &Path) -> bool {
    /// `__SO_ACCEPTCON` of `linux/net.h`.
    const LISTENING: u32 = 1 << 16;
    let table = fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
    table.lines().skip(1).any(|line| {
        // Num RefCount Protocol Flags Type St Inode Path
        let mut fields = line.splitn(8, ' ').map(str::trim);
        let flags = fields.nth(3).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let bound = line.split_once(" /").map(|(_, rest)| Path::new("/").join(rest));
        flags.is_some_and(|flags| flags & LISTENING != 0) && bound.as_deref() == Some(path)
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
