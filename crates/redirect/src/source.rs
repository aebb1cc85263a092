//! The two ways to capture behind one face, and the count that tells when one is drained.

use std::os::fd::{AsFd, BorrowedFd};

use tapferry_sys::filter::Program;
use tapferry_sys::packet::PacketSocket;
use tapferry_sys::receive::{self, Receiver};
use tapferry_sys::ring::{self, Geometry, Ring};
use tapferry_sys::{Captured, Errno, Error};

use crate::counters::{Engine, count};
use crate::plan::Netdev;

/// A socket hooked into an interface, with the frames it has brought.
pub(crate) struct Source {
    way: Way,
    /// Frames the kernel says it put into the ring or queue.
    delivered: u64,
    /// Frames advanced over.
    taken: u64,
}

enum Way {
    Ring(Ring),
    Socket(Box<Receiver>),
}

impl Source {
    /// Captures what passes `filter` through a ring.
    pub(crate) fn ring(netdev: &Netdev, filter: &Program) -> Result<Self, Error> {
        netdev.enter()?;
        Ok(Self {
            way: Way::Ring(Ring::open(&netdev.name, filter, Geometry::DEFAULT)?),
            delivered: 0,
            taken: 0,
        })
    }

    /// Captures what passes `filter` through a plain socket.
    pub(crate) fn socket(netdev: &Netdev, filter: &Program) -> Result<Self, Error> {
        netdev.enter()?;
        Ok(Self { way: Way::Socket(Box::new(Receiver::open(&netdev.name, filter)?)), delivered: 0, taken: 0 })
    }

    /// Whether it can hold a burst until a ring is there.
    pub(crate) fn bridges_bursts(&self) -> bool {
        match &self.way {
            Way::Ring(_) => true,
            Way::Socket(receiver) => receiver.has_large_buffer(),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        match self.way {
            Way::Ring(_) => Engine::Ring,
            Way::Socket(_) => Engine::Socket,
        }
    }

    /// Whether its frames bear the kernel's stamps by now. A ring makes its own.
    pub(crate) fn is_stamping(&self) -> bool {
        match &self.way {
            Way::Ring(_) => true,
            Way::Socket(receiver) => receiver.is_stamping(),
        }
    }

    pub(crate) fn packet_socket(&self) -> &PacketSocket {
        match &self.way {
            Way::Ring(ring) => ring.socket(),
            Way::Socket(receiver) => receiver.socket(),
        }
    }

    /// Whether a frame is there whose timestamp is `ours`; steps over others before it. `Errno::INVAL`: one
    /// was there, but cannot be read; it counts as taken.
    pub(crate) fn fill_with(&mut self, ours: impl Fn(u64) -> bool) -> Result<bool, Errno> {
        while self.fill()? {
            match self.frames().next() {
                Some(frame) if !ours(frame.timestamp_ns) => self.advance(1),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Steps over everything that is there, and forgets what overflowed.
    pub(crate) fn discard(&mut self) {
        while let Ok(true) | Err(Errno::INVAL) = self.fill() {
            let frames = self.frames().count();
            self.advance(frames);
        }
        self.take_overflow();
    }

    /// From now on it captures nothing; what is there can still be read. Where this is refused, draining
    /// ends at its time limit.
    pub(crate) fn refuse_more(&self) {
        self.packet_socket().attach(&Program::refuse_all()).ok();
    }

    fn fill(&mut self) -> Result<bool, Errno> {
        match &mut self.way {
            Way::Ring(ring) => Ok(ring.fill()),
            Way::Socket(receiver) => {
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
        match &self.way {
            Way::Ring(ring) => Frames::Ring(ring.frames()),
            Way::Socket(receiver) => Frames::Socket(receiver.frames()),
        }
    }

    /// Steps over `frames` frames at hand.
    pub(crate) fn advance(&mut self, frames: usize) {
        self.taken += count(frames);
        match &mut self.way {
            Way::Ring(ring) => ring.advance(frames),
            Way::Socket(receiver) => receiver.advance(frames),
        }
    }

    /// Asks the kernel what it counted since the last time, and returns the frames it had no room for.
    pub(crate) fn take_overflow(&mut self) -> u64 {
        let counts = self.packet_socket().take_counts().unwrap_or_default();
        self.delivered += u64::from(counts.packets - counts.drops.min(counts.packets));
        u64::from(counts.drops)
    }

    /// Whether every frame that the kernel delivered has been taken. Only as fresh as the last
    /// [`Source::take_overflow`].
    pub(crate) fn is_drained(&self) -> bool {
        self.taken >= self.delivered
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packet_socket().as_fd()
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
