//! Frames from a peer.

use tapferry_stream::{Decoder, Framing, FramingError, Unannounced};
use tapferry_sys::{Captured, Errno, clock};
use tapferry_tls::{Channel, ChannelError, Received};

use crate::frame::{Carried, Frame, FrameSource};
use crate::plan::StreamPlan;

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// The peer closed it, in the middle of a record or not.
    Closed { cut: bool },
    /// The kernel or TLS say why.
    Failed(ChannelError),
    /// The peer sends what is no stream of frames.
    Malformed(FramingError),
}

/// The input of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    peer: Option<Channel>,
    decoder: Decoder,
    /// When the bytes at hand were read: CLOCK_REALTIME, nanoseconds since 1970.
    arrived: u64,
    end: Option<ConnectionEnd>,
    /// Whether this connection has brought a frame.
    brought: bool,
}

impl Reader {
    pub(crate) fn new(plan: &StreamPlan) -> Self {
        let unannounced = plan.vnet_hdr_len.map_or(Unannounced::Recognise, Unannounced::Len);
        let framing = Framing { vnet_hdr: plan.vnet_hdr, unannounced };
        Self { peer: None, decoder: Decoder::new(framing), arrived: 0, end: None, brought: false }
    }

    /// Reads from this peer from now on.
    pub(crate) fn attach(&mut self, peer: Channel) {
        self.decoder.reset();
        self.end = None;
        self.brought = false;
        self.peer = Some(peer);
    }

    /// Whether this connection has brought a frame.
    pub(crate) fn has_brought_frames(&self) -> bool {
        self.brought
    }

    /// Closes the connection. What was read can still be taken.
    pub(crate) fn close(&mut self) {
        self.peer = None;
    }

    /// The connection, if it is over.
    pub(crate) fn ended(&self) -> Option<&Channel> {
        self.peer.as_ref().filter(|_| self.end.is_some())
    }

    /// Why the connection is over, if it is: it is closed then. Complete frames before its end were handed out.
    pub(crate) fn take_end(&mut self) -> Option<ConnectionEnd> {
        let end = self.end.take()?;
        self.peer = None;
        self.decoder.reset();
        Some(end)
    }

    fn read(&mut self) -> Result<bool, ConnectionEnd> {
        loop {
            if self.decoder.poll().map_err(ConnectionEnd::Malformed)? {
                return Ok(true);
            }
            let Some(peer) = &mut self.peer else { return Ok(false) };
            match peer.receive(self.decoder.space()).map_err(ConnectionEnd::Failed)? {
                Received::Closed => {
                    return Err(ConnectionEnd::Closed { cut: !self.decoder.is_between_records() });
                }
                Received::Bytes(bytes) => {
                    self.decoder.filled(bytes);
                    self.arrived = clock::realtime_ns();
                }
                Received::Nothing => return Ok(false),
            }
        }
    }
}

impl FrameSource for Reader {
    fn fill(&mut self) -> Result<bool, Errno> {
        if self.end.is_some() {
            return Ok(false);
        }
        self.read().or_else(|end| {
            self.end = Some(end);
            Ok(false)
        })
    }

    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let announced = self.decoder.framing().vnet_hdr;
        self.decoder.records().map(move |record| {
            let carried = Carried::new(record.vnet_hdr, announced);
            let captured = Captured {
                timestamp_ns: self.arrived,
                vnet: carried.map(|header| header.vnet()).unwrap_or_default(),
                beside: None,
                bytes: record.frame,
                // A record is never longer than the decoder's limit.
                wire_len: u32::try_from(record.frame.len()).unwrap_or(u32::MAX),
            };
            Frame { captured, carried }
        })
    }

    fn advance(&mut self, frames: usize) {
        self.brought |= frames > 0;
        self.decoder.advance(frames);
    }
}
