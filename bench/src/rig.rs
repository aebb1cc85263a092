//! Two TAPs as QEMU makes them, in a namespace of their own, and the guests behind them.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::tap::{Tap, TapOptions};
use tapferry_testbed::vnet;

use crate::error::{Context, Result};
use crate::sys;

/// The interface that is captured from. Names that begin with "tap" are out: tcpbridge takes them for TAPs that
/// it is to create.
pub(crate) const INPUT: &str = "vmA";
/// The interface that is injected into.
pub(crate) const OUTPUT: &str = "vmB";

/// Frames that wait for a guest. The guests look every [`DRAIN_PERIOD`], so at 100 kpps 200 wait; the rest is
/// for a busy machine.
const QUEUE_LENGTH: u32 = 20_000;
/// A guest that is not blocked in a read: waking it would be charged to whoever sends to it.
const DRAIN_PERIOD: Duration = Duration::from_millis(2);
/// Room for any frame with its virtio-net header, in bytes.
pub(crate) const FRAME_MAX: usize = 72 * 1024;

/// The two TAPs, and the guests' ends of them.
pub(crate) struct Rig {
    input: OwnedFd,
    output: OwnedFd,
}

/// Moves this thread, and what it starts from now on, into a network namespace of its own until the result is
/// dropped. What is built in it goes with it.
pub(crate) fn enter_namespace() -> Result<Namespace> {
    Namespace::enter_new().on("entering", "a network namespace")
}

impl Rig {
    /// Creates the TAPs in this thread's network namespace.
    pub(crate) fn build() -> Result<Self> {
        let options = TapOptions { queue_length: QUEUE_LENGTH, ..TapOptions::like_qemu() };
        let tap = |name| {
            Tap::create_unheld(name, &options).on("creating", name)?;
            sys::attach_to_tap(name, options.offloads).on("attaching", name)
        };
        Ok(Self { input: tap(INPUT)?, output: tap(OUTPUT)? })
    }

    /// Frames that the output's own queue had no room for, so far.
    pub(crate) fn lost_at_output(&self) -> Result<u64> {
        Ok(link::counters(OUTPUT).on("reading the counters", OUTPUT)?.tx_dropped)
    }

    /// Throws away what waits in both TAPs.
    pub(crate) fn empty(&self) -> Result<()> {
        let mut buffer = vec![0; FRAME_MAX];
        self.read_input(&mut buffer, |_| ())?;
        self.read_output(&mut buffer, |_| ())
    }

    /// Both guests: keeps the TAPs empty until `stop`, and counts the frames of `length` bytes that come out
    /// of the output.
    pub(crate) fn drain(&self, length: usize, arrived: &AtomicU64, stop: &AtomicBool) -> Result<()> {
        let mut buffer = vec![0; FRAME_MAX];
        while !stop.load(Ordering::Relaxed) {
            self.read_output(&mut buffer, |frame| {
                let is_whole = frame.len() == vnet::LENGTH_MODERN + length;
                arrived.fetch_add(u64::from(is_whole), Ordering::Relaxed);
            })?;
            self.read_input(&mut buffer, |_| ())?;
            std::thread::sleep(DRAIN_PERIOD);
        }
        Ok(())
    }

    /// The guest behind the output, while it does not sleep: hands on what waits, each frame behind its
    /// virtio-net header ([`vnet::LENGTH_MODERN`]).
    pub(crate) fn read_output(&self, buffer: &mut [u8], mut arrive: impl FnMut(&[u8])) -> Result<()> {
        read_all(&self.output, buffer, &mut arrive)
    }

    /// The same behind the input.
    pub(crate) fn read_input(&self, buffer: &mut [u8], mut arrive: impl FnMut(&[u8])) -> Result<()> {
        read_all(&self.input, buffer, &mut arrive)
    }
}

fn read_all(tap: &OwnedFd, buffer: &mut [u8], arrive: &mut impl FnMut(&[u8])) -> Result<()> {
    loop {
        match rustix::io::read(tap, &mut *buffer) {
            Ok(length) => arrive(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno).on("read", "a TAP"),
        }
    }
}
