//! Frames that go in datagrams.
//!
//! There is no virtio-net header that could say what is left to do: each frame leaves whole, as segments maybe. Frames
//! are sent from where they lie, a batch in one call; only segments are copied. Where the kernel takes a part of a
//! frame's segments, the others are kept, and nothing else is sent before them.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use arrayvec::ArrayVec;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrUnix, connect, sendmmsg};
use tapferry_frame::ethernet::TAG_OFFSET;
use tapferry_sys::{Errno, clock, datagrams};

use super::{reason_of, socket};
use crate::counters::DropReason;
use crate::frame::Frame;
use crate::outlet::Step;
use crate::pipeline::BATCH;
use crate::plan::{DatagramPlan, Destination};
use crate::stream::error::StreamError;
use crate::whole::{is_whole, make_whole, require_complete};

/// Pieces of one datagram: addresses, tag, rest.
const PIECES: usize = 3;
/// A batch ends when so many bytes had to be copied for it.
const COPIED_AT_MOST: usize = 256 * 1024;
/// A path at which nobody was is not tried again for so long, in nanoseconds.
const RETRY_AFTER: u64 = 1_000_000;

/// The output of datagrams.
#[derive(Debug)]
pub(crate) struct DatagramWriter {
    socket: OwnedFd,
    way: Way,
    /// Segments that were made for this batch.
    made: Vec<u8>,
    /// One segment.
    segment: Vec<u8>,
    /// The datagrams of this batch; after that, those left of a frame that is out in part.
    parts: Vec<Part>,
    /// What the kernel said of the first datagram that was not sent, beside taking those before it.
    pending: Option<Errno>,
}

/// How datagrams find their way.
#[derive(Debug)]
enum Way {
    /// The socket knows, and tells of those that came back.
    Udp,
    /// The socket is connected to whoever is at the address; since `missing`, nobody is.
    Unix { address: SocketAddrUnix, missing: Option<Missing> },
}

/// Nobody was there.
#[derive(Debug, Clone, Copy)]
struct Missing {
    /// When (CLOCK_MONOTONIC, nanoseconds).
    at: u64,
    errno: Errno,
}

/// One datagram.
#[derive(Debug)]
struct Part {
    /// Of which frame of the batch.
    frame: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The frame's own bytes, and a tag to be put in.
    AsItIs(Option<[u8; 4]>),
    /// A segment.
    Made(Range<usize>),
}

impl DatagramWriter {
    /// Sends where the plan says. Whether somebody is there shows later.
    pub(crate) fn open(plan: &DatagramPlan) -> Result<Self, StreamError> {
        let (socket, way) = match &plan.destination {
            Destination::Unix(path) => {
                let (socket, address) = socket::sending_unix(path)?;
                (socket, Way::Unix { address, missing: None })
            }
            Destination::Udp { to, from } => (socket::sending(plan, to, from.as_ref())?, Way::Udp),
        };
        Ok(Self { socket, way, made: Vec::new(), segment: Vec::new(), parts: Vec::new(), pending: None })
    }

    /// Sends what is left of a frame. Says whether it is out; after an error it is given up.
    pub(crate) fn flush(&mut self) -> Result<bool, Errno> {
        let (sent, end) = self.transmit(&[]);
        match end {
            Err(Errno::AGAIN) => {
                self.parts.drain(..sent);
                Ok(false)
            }
            end => {
                self.parts.clear();
                end.map(|()| true)
            }
        }
    }

    /// Sends the first frames of a batch.
    pub(crate) fn send(&mut self, frames: &[Frame<'_>]) -> Step {
        self.made.clear();
        self.parts.clear();
        let mut prepared = 0;
        for frame in frames {
            match self.prepare(prepared, frame) {
                Ok(()) => prepared += 1,
                Err(reason) if prepared == 0 => return Step::Refused { reason, errno: None },
                Err(_) => break,
            }
            if self.parts.len() >= BATCH || self.made.len() >= COPIED_AT_MOST {
                break;
            }
        }
        let (sent, end) = self.transmit(frames);
        let Some(unsent) = self.parts.get(sent) else { return Step::Sent(prepared) };
        let complete = unsent.frame;
        let is_begun = sent > 0 && self.parts[sent - 1].frame == complete;
        if let Err(errno) = end
            && errno != Errno::AGAIN
            && sent > 0
        {
            self.pending = Some(errno);
        }
        match end {
            _ if is_begun => {
                self.parts.drain(..sent);
                Step::Begun { complete, begun: 1 }
            }
            Err(errno) if complete == 0 && errno != Errno::AGAIN => {
                Step::Refused { reason: reason_of(errno), errno: Some(errno) }
            }
            Err(_) if complete == 0 => Step::Blocked,
            _ => Step::Sent(complete),
        }
    }

    /// Adds the datagrams of a frame to the batch.
    fn prepare(&mut self, index: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let captured = &frame.captured;
        require_complete(captured)?;
        if is_whole(captured) {
            let tag = captured.beside.map(|tag| tag.to_bytes());
            self.parts.push(Part { frame: index, body: Body::AsItIs(tag) });
            return Ok(());
        }
        let Self { made, segment, parts, .. } = self;
        let before = (made.len(), parts.len());
        let finished = make_whole(captured, segment, |segment| {
            let start = made.len();
            made.extend_from_slice(segment);
            parts.push(Part { frame: index, body: Body::Made(start..made.len()) });
            Ok(())
        });
        if finished.is_err() {
            made.truncate(before.0);
            parts.truncate(before.1);
        }
        finished
    }

    /// Sends datagrams of the batch until all are out, or the kernel says why not. Says how many are out.
    fn transmit(&mut self, frames: &[Frame<'_>]) -> (usize, Result<(), Errno>) {
        let mut sent = 0;
        while sent < self.parts.len() {
            match self.transmit_some(frames, sent) {
                Ok(some) => sent += some,
                Err(Errno::INTR) => {}
                Err(errno) => return (sent, Err(errno)),
            }
        }
        (sent, Ok(()))
    }

    /// Sends datagrams of the batch from the one at `start` on, as many as one call takes.
    fn transmit_some(&mut self, frames: &[Frame<'_>], start: usize) -> Result<usize, Errno> {
        if let Some(errno) = self.pending.take() {
            return Err(errno);
        }
        self.find_again()?;
        let parts = &self.parts[start..self.parts.len().min(start + BATCH)];
        let pieces: ArrayVec<[IoSlice<'_>; PIECES], BATCH> =
            parts.iter().map(|part| part.pieces(frames, &self.made)).collect();
        let mut nothing = std::array::from_fn::<_, BATCH, _>(|_| SendAncillaryBuffer::default());
        let mut messages: ArrayVec<MMsgHdr<'_>, BATCH> =
            pieces.iter().zip(&mut nothing).map(|(pieces, control)| MMsgHdr::new(pieces, control)).collect();
        let asked = messages.len();
        let sent = sendmmsg(&self.socket, &mut messages, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        drop(messages);
        match (&mut self.way, sent) {
            (_, Err(Errno::AGAIN)) => {}
            // The call that sent some has swallowed what was to be said of the next one.
            (Way::Udp, Ok(sent)) if sent < asked => self.pending = datagrams::take_refusal(&self.socket),
            (Way::Udp, Err(_)) => {
                datagrams::take_refusal(&self.socket);
            }
            // Whoever was there is gone; somebody else may be there, and is looked for at once.
            (Way::Unix { missing, .. }, Err(errno @ (Errno::CONNREFUSED | Errno::NOTCONN))) => {
                *missing = Some(Missing { at: 0, errno });
                return Ok(0);
            }
            _ => {}
        }
        sent
    }

    /// Connects a unix socket whose peer is missing.
    fn find_again(&mut self) -> Result<(), Errno> {
        let Way::Unix { address, missing } = &mut self.way else { return Ok(()) };
        let Some(Missing { at, errno }) = *missing else { return Ok(()) };
        let now = clock::monotonic_ns();
        if now.saturating_sub(at) < RETRY_AFTER {
            return Err(errno);
        }
        *missing = connect(&self.socket, address).err().map(|errno| Missing { at: now, errno });
        missing.map_or(Ok(()), |missing| Err(missing.errno))
    }
}

impl AsFd for DatagramWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Part {
    fn pieces<'a>(&'a self, frames: &'a [Frame<'_>], made: &'a [u8]) -> [IoSlice<'a>; PIECES] {
        let pieces: [&[u8]; PIECES] = match &self.body {
            Body::Made(range) => [&made[range.clone()], &[], &[]],
            Body::AsItIs(None) => [frames[self.frame].captured.bytes, &[], &[]],
            Body::AsItIs(Some(tag)) => {
                let (addresses, rest) = frames[self.frame].captured.bytes.split_at(TAG_OFFSET);
                [addresses, tag, rest]
            }
        };
        pieces.map(IoSlice::new)
    }
}
