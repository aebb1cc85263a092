//! Frames on their way to a unix socket: the TAP that they are taken from, the socket, and in [`reader`] whoever
//! reads there; [`terminator`] is for those that come with TLS.

mod reader;
mod terminator;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::io::Errno;
use tapferry_testbed::link;
use tapferry_testbed::tap::{Tap, TapOptions};

pub(crate) use reader::{Framing, StreamReader};
pub(crate) use terminator::{PORT as TLS_PORT, credentials_of};

use crate::error::{Context, Result};
use crate::sys;

/// The interface that is captured from.
pub(crate) const INPUT: &str = "vmC";

/// The guest's end of the TAP, and a socket that peers connect to.
pub(crate) struct StreamRig {
    tap: OwnedFd,
    listener: UnixListener,
    path: PathBuf,
}

impl StreamRig {
    /// Creates the TAP in this thread's network namespace; its queue is as long as QEMU finds it.
    pub(crate) fn build() -> Result<Self> {
        let options = TapOptions::like_qemu();
        Tap::create_unheld(INPUT, &options).on("creating", INPUT)?;
        link::set_ipv6(INPUT, false).on("disabling IPv6", INPUT)?;
        let tap = sys::attach_to_tap(INPUT, options.offloads).on("attaching", INPUT)?;
        let path = std::env::temp_dir().join(format!("tapferry-bench-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).on("listening", "a unix socket")?;
        listener.set_nonblocking(true).on("listening", "a unix socket")?;
        let rig = Self { tap, listener, path };
        terminator::serve(&rig.path, &rig.credentials()?)?;
        Ok(rig)
    }

    /// Where peers connect to.
    pub(crate) fn path(&self) -> Result<&str> {
        self.path.to_str().ok_or("it is no text").on("using", "the path of a unix socket")
    }

    /// What peers with TLS show and believe.
    fn credentials(&self) -> Result<PathBuf> {
        self.path().map(credentials_of).map(PathBuf::from)
    }

    /// The guest's end, for a peer that stands behind the guest itself.
    pub(crate) fn tap(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    /// Whether the guest behind the TAP takes GSO frames; where it does not, the kernel cuts them up.
    pub(crate) fn accept_gso(&self, accept: bool) -> Result<()> {
        let options = if accept { TapOptions::like_qemu() } else { TapOptions::default() };
        sys::accept_offloads(&self.tap, options.offloads).on("TUNSETOFFLOAD", INPUT)
    }

    /// A peer that has connected, if one has.
    pub(crate) fn accept(&self) -> Option<UnixStream> {
        let (peer, _) = self.listener.accept().ok()?;
        peer.set_nonblocking(true).ok()?;
        Some(peer)
    }

    /// The guest: takes what waits. The beginning of a frame is enough.
    pub(crate) fn empty_tap(&self) -> Result<()> {
        let mut beginning = [0; 64];
        loop {
            match rustix::io::read(&self.tap, &mut beginning) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno).on("read", INPUT),
            }
        }
    }
}

impl Drop for StreamRig {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
        if let Ok(credentials) = self.credentials() {
            fs::remove_dir_all(credentials).ok();
        }
    }
}
