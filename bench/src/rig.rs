//! Two TAPs as QEMU makes them, in a namespace of their own, and the guests behind them.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::tap::{Tap, TapOptions};
use tapferry_testbed::vnet;

use crate::error::{Context, Result};
use crate::sys;
use crate::traffic::{STAMP_OFFSET, monotonic, nanoseconds};

/// The interface that is captured from.
pub(crate) const INPUT: &str = "tapA";
/// The interface that is injected into.
pub(crate) const OUTPUT: &str = "tapB";

/// Frames that wait for a guest. The guests look every [`DRAIN_PERIOD`], so at 100 kpps 200 wait; the rest is
/// for a busy machine.
const QUEUE_LENGTH: u32 = 20_000;
/// A guest that is not blocked in a read: waking it would be charged to whoever sends to it.
const DRAIN_PERIOD: Duration = Duration::from_millis(2);
const FRAME_MAX: usize = 72 * 1024;

/// One of the two TAPs.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Input,
    Output,
}

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
        for tap in [&self.input, &self.output] {
            while read(tap, &mut buffer)?.is_some() {}
        }
        Ok(())
    }

    /// Both guests: keeps the TAPs empty until `stop`, and counts the frames of `length` bytes that come out
    /// of the output.
    pub(crate) fn drain(&self, length: usize, arrived: &AtomicU64, stop: &AtomicBool) -> Result<()> {
        let mut buffer = vec![0; FRAME_MAX];
        while !stop.load(Ordering::Relaxed) {
            while let Some(frame) = read(&self.output, &mut buffer)? {
                arrived.fetch_add(u64::from(frame.len() == length), Ordering::Relaxed);
            }
            while read(&self.input, &mut buffer)?.is_some() {}
            std::thread::sleep(DRAIN_PERIOD);
        }
        Ok(())
    }

    /// The guest behind one of them, blocked in poll as QEMU is: nanoseconds from the time that each frame
    /// bears to its arrival, until `stop`.
    pub(crate) fn time_arrivals(&self, side: Side, stop: &AtomicBool) -> Result<Vec<u64>> {
        let tap = match side {
            Side::Input => &self.input,
            Side::Output => &self.output,
        };
        let patience = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut buffer = vec![0; FRAME_MAX];
        let mut latencies = Vec::with_capacity(100_000);
        while !stop.load(Ordering::Relaxed) {
            match poll(&mut [PollFd::new(tap, PollFlags::IN)], Some(&patience)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).on("poll", "a TAP"),
            }
            while let Some(frame) = read(tap, &mut buffer)? {
                let now = nanoseconds(monotonic());
                let stamp = frame.get(STAMP_OFFSET..).and_then(|rest| rest.first_chunk());
                latencies.extend(stamp.map(|stamp| now.saturating_sub(u64::from_ne_bytes(*stamp))));
            }
        }
        Ok(latencies)
    }
}

/// The next frame that waits in a TAP, without its virtio-net header.
fn read<'a>(tap: &OwnedFd, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
    match rustix::io::read(tap, &mut *buffer) {
        Ok(length) => Ok(Some(&buffer[vnet::LENGTH_MODERN.min(length)..length])),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno).on("read", "a TAP"),
    }
}
