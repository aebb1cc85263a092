//! Frames that come in datagrams.

use std::os::fd::{AsFd, BorrowedFd};

use tapferry_stream::MAX_LENGTH;
use tapferry_sys::datagrams::Receiver;
use tapferry_sys::{Captured, Errno, clock};

use super::socket;
use crate::frame::{Frame, FrameSource};
use crate::plan::DatagramPlan;
use crate::stream::bound_path::BoundPath;
use crate::stream::error::{Attempt, StreamError};

/// The input of datagrams.
#[derive(Debug)]
pub(crate) struct DatagramReader {
    receiver: Receiver,
    /// When the datagrams at hand were read: CLOCK_REALTIME, nanoseconds since 1970.
    arrived: u64,
    is_closed: bool,
    _path: Option<BoundPath>,
}

impl DatagramReader {
    /// Takes datagrams from now on.
    pub(crate) fn open(plan: &DatagramPlan) -> Result<Self, StreamError> {
        let (socket, path) = socket::receiving(plan)?;
        let receiver = Receiver::new(socket, MAX_LENGTH).map_err(StreamError::refused(Attempt::MakeRoom))?;
        Ok(Self { receiver, arrived: 0, is_closed: false, _path: path })
    }

    /// Takes no more. What was read can still be taken.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Datagrams for which the kernel had no room, since the last call.
    pub(crate) fn take_overflow(&mut self) -> u64 {
        self.receiver.take_losses()
    }
}

impl AsFd for DatagramReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl FrameSource for DatagramReader {
    fn fill(&mut self) -> Result<bool, Errno> {
        if self.is_closed {
            return Ok(self.receiver.datagrams().next().is_some());
        }
        let arrived = &mut self.arrived;
        self.receiver.fill(|| *arrived = clock::realtime_ns())
    }

    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.receiver.datagrams().map(|datagram| {
            Frame::from(Captured {
                timestamp_ns: self.arrived,
                vnet: Default::default(),
                beside: None,
                bytes: datagram.bytes,
                wire_len: u32::try_from(datagram.len).unwrap_or(u32::MAX),
            })
        })
    }

    fn advance(&mut self, frames: usize) {
        self.receiver.advance(frames);
    }
}
