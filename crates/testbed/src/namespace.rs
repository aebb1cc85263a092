//! A private network namespace for the calling thread.
//!
//! Threads and commands started afterwards by that thread inherit it. Nothing of it has a name in the file
//! system: it is gone when its last thread, socket and TAP are gone, also after a panic or a kill.

use std::fs::{self, File};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Context, Result};
use crate::{link, sys};

/// Why there is no namespace here. Prints as one line, `skipped: reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("skipped: {0}")]
pub struct Skip(pub String);

impl Skip {
    /// Writes the line to standard error itself, past libtest's capture: a skip must be seen in every log.
    pub fn announce(&self) {
        let thread = std::thread::current();
        let line = format!("{self} ({})\n", thread.name().unwrap_or("unnamed thread"));
        // Nothing is left to tell when standard error is closed.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// The calling thread is in a network namespace of its own, until this is dropped.
#[derive(Debug)]
pub struct Namespace {
    here: Handle,
    home: File,
    /// A namespace belongs to a thread.
    not_send: PhantomData<*const ()>,
}

/// A network namespace that other threads can enter.
#[derive(Debug, Clone)]
pub struct Handle(Arc<File>);

impl Namespace {
    /// Moves the calling thread into a new network namespace whose `lo` is up.
    ///
    /// IPv6 is off for interfaces created in it, because the kernel's own router solicitations would be
    /// counted as traffic: see [`link::set_ipv6`].
    ///
    /// # Errors
    /// The reason, when it is not permitted here (CAP_SYS_ADMIN; `unshare -Urnm` gives it to a user).
    pub fn enter_new() -> std::result::Result<Self, Skip> {
        let home = current().map_err(|error| Skip(error.to_string()))?;
        sys::unshare_network().map_err(|error| {
            Skip(format!("no private network namespace: {error}; run as root or under `unshare -Urnm`"))
        })?;
        let here = current().map_err(|error| Skip(error.to_string()))?;
        let namespace = Self { here: Handle(Arc::new(here)), home, not_send: PhantomData };
        link::set_up("lo").map_err(|error| Skip(error.to_string()))?;
        for setting in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{setting}/disable_ipv6");
            match fs::write(&path, "1") {
                // A kernel without IPv6 has nothing to turn off.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|error| Skip(format!("cannot write {path}: {error}")))?,
            }
        }
        Ok(namespace)
    }

    /// [`Self::enter_new`] for a test that may be skipped: says so on standard error and returns `None`.
    pub fn enter_or_skip() -> Option<Self> {
        Self::enter_new().inspect_err(Skip::announce).ok()
    }

    /// This namespace, for other threads.
    pub fn handle(&self) -> Handle {
        self.here.clone()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Home may be out of reach, when the thread has lost its privileges: then the namespace lives as long
        // as the thread.
        let _ = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
    }
}

impl Handle {
    /// Moves the calling thread into this namespace, until the result is dropped.
    ///
    /// # Errors
    /// When the thread has not the privilege (CAP_SYS_ADMIN).
    pub fn enter(&self) -> Result<Namespace> {
        let home = current()?;
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .on("setns(CLONE_NEWNET)", "a network namespace")?;
        Ok(Namespace { here: self.clone(), home, not_send: PhantomData })
    }
}

fn current() -> Result<File> {
    let path = "/proc/thread-self/ns/net";
    File::open(path).on("open", path)
}
