//! A path that a socket of ours is bound to: born for its owner alone, in place of one that was left behind, and gone
//! with its socket.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{SocketAddrUnix, SocketType, bind, connect};
use tapferry_sys::Errno;

use super::error::{Attempt, StreamError};
use super::unix_socket;

/// For others of us to be done with a directory.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Of a unix socket: whoever may write to it may send frames to a VM.
const MODE: u32 = 0o600;

/// Binds a socket to a path, and makes it what it is to be there. Without the path's identity it stays at the end.
pub(crate) fn bind_path(
    path: &Path,
    kind: SocketType,
    finish: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
) -> Result<(OwnedFd, Option<BoundPath>), StreamError> {
    let address = SocketAddrUnix::new(path).map_err(refused)?;
    let socket = open_private(kind).map_err(refused)?;
    // Between binding and listening, and between a look and a removal, another of us must not look.
    let _alone = lock_directory(path);
    if let Err(errno) = bind(&socket, &address) {
        if errno != Errno::ADDRINUSE {
            return Err(refused(errno));
        }
        remove_stale(path, &address, kind)?;
        bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => StreamError::InUse,
            errno => refused(errno),
        })?;
    }
    let path = BoundPath::of(path);
    finish(&socket).map_err(refused)?;
    Ok((socket, path))
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
fn open_private(kind: SocketType) -> Result<OwnedFd, Errno> {
    let socket = File::from(unix_socket(kind)?);
    socket
        .set_permissions(Permissions::from_mode(MODE))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))?;
    Ok(socket.into())
}

/// Removes a socket that nobody has open any more, left by a process that was killed.
fn remove_stale(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), StreamError> {
    let is_ours_to_replace = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_ours_to_replace {
        return Err(StreamError::NotASocket);
    }
    // A connection that is closed at once may be more than whoever listens there can bear: a QEMU filter is deaf then.
    if is_listened_on(path) {
        return Err(StreamError::InUse);
    }
    let trial = unix_socket(kind).map_err(refused)?;
    match connect(&trial, address) {
        Err(Errno::NOENT | Errno::CONNREFUSED) => {}
        // Connected, full, of another kind, or for its own peer alone: somebody has it open.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::PERM) => return Err(StreamError::InUse),
        Err(errno) => return Err(refused(errno)),
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
pub(crate) struct BoundPath {
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
