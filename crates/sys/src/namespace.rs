//! Network namespaces (network_namespaces(7)): naming one, and going there.
//!
//! A socket belongs to the namespace of the thread that opened it, for good, so only opening needs a visit.
//! setns(2) moves one thread: whoever enters a namespace does it in a thread that nobody else counts on.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Error;

/// The calling thread's namespace. `/proc/self` would show that of the process's first thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// `_IO(0xb7, 0x3)` (linux/nsfs.h): which kind of namespace a descriptor is of.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// A network namespace, kept alive for as long as this or a clone of it is there.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<File>,
    id: NamespaceId,
    /// As it was named, for messages.
    path: Arc<str>,
}

/// Tells namespaces apart on this host. Prints as the kernel shows them: `net:[4026531840]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    inode: u64,
}

impl NamespaceId {
    /// Of the namespace whose file this is; `Errno::INVAL` for another file.
    pub(crate) fn of(file: &File) -> Result<Self, Errno> {
        // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours; only a namespace's file knows
        // it (ioctl_ns(2)).
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            return Err(Errno::INVAL);
        }
        let inode = file.metadata().map_err(|error| errno_of(&error))?.ino();
        Ok(Self { inode })
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Namespace {}

impl Namespace {
    /// Opens a namespace by its file: `/run/netns/NAME`, `/proc/PID/ns/net`, or any other bind mount of one.
    ///
    /// `Errno::INVAL` for a file that is no network namespace, and the errno of open(2).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path_text = path.display().to_string();
        let on = || Error::on("open network namespace", &path_text);
        let file = File::open(path).map_err(|error| errno_of(&error)).map_err(on())?;
        let id = NamespaceId::of(&file).map_err(on())?;
        Ok(Self { file: Arc::new(file), id, path: path_text.into() })
    }

    /// The calling thread's own.
    pub fn own() -> Result<Self, Error> {
        Self::open(Path::new(OWN))
    }

    /// Which one it is.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Moves the calling thread there. Where it already is, this needs no privilege; otherwise
    /// CAP_SYS_ADMIN, here and in the user namespace that owns the other one: `Errno::PERM` without.
    pub fn enter(&self) -> Result<(), Error> {
        if Self::own()? == *self {
            return Ok(());
        }
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Error::on("enter the network namespace", &self.path))
    }
}

/// Runs `task` inside `namespace`, or where the caller is, in a thread of its own: nobody else moves.
pub fn run_in<T: Send>(
    namespace: Option<&Namespace>,
    task: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let visit = move || {
            namespace.map_or(Ok(()), Namespace::enter)?;
            task()
        };
        let visitor = thread::Builder::new()
            .name("ferry-visit".into())
            .spawn_scoped(scope, visit)
            .map_err(|error| Error::new("start a thread", "a network namespace", errno_of(&error)))?;
        visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_itself_and_prints_as_the_kernel_shows_it() {
        let own = Namespace::own().unwrap();
        assert_eq!(own, Namespace::own().unwrap());
        assert_eq!(std::fs::read_link(OWN).unwrap().to_str(), Some(own.id().to_string().as_str()));
    }

    #[test]
    fn entering_where_one_is_needs_no_privilege() {
        assert_eq!(Namespace::own().unwrap().enter(), Ok(()));
    }

    #[test]
    fn only_network_namespaces_are_taken() {
        for path in ["/proc/self/ns/mnt", "/proc/self/status", "/"] {
            assert_eq!(
                Namespace::open(Path::new(path)).map(|_| ()).unwrap_err().errno,
                Errno::INVAL,
                "{path}"
            );
        }
        let missing = Namespace::open(Path::new("/nonexistent/netns")).map(|_| ()).unwrap_err();
        assert_eq!(missing.errno, Errno::NOENT);
    }
}
