//! The two ways to capture behind one face, and the count that tells when a capture is drained.

use std::os::fd::{AsFd, BorrowedFd};

use tapferry_sys::filter::Program;
use tapferry_sys::netdev::{IfIndex, InterfaceName};
use tapferry_sys::packet::{Binding, PacketSocket};
use tapferry_sys::receive::{self, Receiver};
use tapferry_sys::ring::{self, Geometry, Ring};
use tapferry_sys::{Captured, Errno, Error};

use crate::counters::{Engine, count};
use crate::plan::Latency;

/// An open capture on an interface.
pub(crate) struct Capture {
    source: Source,
    /// Frames the kernel says it put into the ring or queue.
    delivered: u64,
    /// Frames advanced over.
    taken: u64,
}

enum Source {
    Ring(Ring),
    Socket(Box<Receiver>),
}

impl Capture {
    /// Opens a capture of what passes `filter`, in the way that suits `latency`.
    pub(crate) fn open(name: &InterfaceName, filter: &Program, latency: Latency) -> Result<Self, Error> {
        let source = match latency {
            Latency::Balanced => Source::Ring(Ring::open(name, filter, Geometry::DEFAULT)?),
            Latency::Low => Source::Socket(Box::new(Receiver::open(name, filter)?)),
        };
        Ok(Self { source, delivered: 0, taken: 0 })
    }

    pub(crate) fn engine(&self) -> Engine {
        match self.source {
            Source::Ring(_) => Engine::Ring,
            Source::Socket(_) => Engine::Socket,
        }
    }

    /// Follows the interface to its new ifindex.
    pub(crate) fn rebind(&self, ifindex: IfIndex) -> Result<(), Errno> {
        self.socket().bind(ifindex, Binding::Capture)
    }

    pub(crate) fn socket(&self) -> &PacketSocket {
        match &self.source {
            Source::Ring(ring) => ring.socket(),
            Source::Socket(receiver) => receiver.socket(),
        }
    }

    /// Whether a frame is there. `Errno::INVAL`: one was, but cannot be read; it counts as taken.
    pub(crate) fn fill(&mut self) -> Result<bool, Errno> {
        match &mut self.source {
            Source::Ring(ring) => Ok(ring.fill()),
            Source::Socket(receiver) => {
                let filled = receiver.fill();
                if filled == Err(Errno::INVAL) {
                    self.taken += 1;
                }
                filled
            }
        }
    }

    /// Frames at hand that were not advanced over.
    pub(crate) fn frames(&self) -> Frames<'_> {
        match &self.source {
            Source::Ring(ring) => Frames::Ring(ring.frames()),
            Source::Socket(receiver) => Frames::Socket(receiver.frames()),
        }
    }

    /// Steps over `frames` frames at hand.
    pub(crate) fn advance(&mut self, frames: usize) {
        self.taken += count(frames);
        match &mut self.source {
            Source::Ring(ring) => ring.advance(frames),
            Source::Socket(receiver) => receiver.advance(frames),
        }
    }

    /// Asks the kernel what it counted since the last time, and returns the frames it had no room for.
    pub(crate) fn take_overflow(&mut self) -> u64 {
        let counts = self.socket().take_counts().unwrap_or_default();
        self.delivered += u64::from(counts.packets - counts.drops.min(counts.packets));
        u64::from(counts.drops)
    }

    /// From now on nothing new is captured; what is there already can still be read.
    pub(crate) fn refuse_more(&self) -> Result<(), Errno> {
        self.socket().attach(&Program::refuse_all())
    }

    /// Whether every frame that the kernel delivered has been taken. Only as fresh as the last
    /// [`Capture::take_overflow`].
    pub(crate) fn is_drained(&self) -> bool {
        self.taken >= self.delivered
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// Iterates over frames at hand.
pub(crate) enum Frames<'a> {
    Ring(ring::Frames<'a>),
    Socket(receive::Frames<'a>),
}

impl<'a> Iterator for Frames<'a> {
    type Item = Captured<'a>;

    fn next(&mut self) -> Option<Captured<'a>> {
        match self {
            Self::Ring(frames) => frames.next(),
            Self::Socket(frames) => frames.next(),
        }
    }
}
