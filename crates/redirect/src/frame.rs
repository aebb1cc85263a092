//! A frame on its way through a redirector, wherever it came from.

use tapferry_frame::ethernet::VLAN_TAG_LEN;
use tapferry_frame::vnet::VnetHeader;
use tapferry_sys::{Captured, Errno};

/// What frames come from: a capture, or a peer.
pub trait FrameSource {
    /// Whether a frame is there. `Errno::INVAL`: one was, but cannot be read; it counts as taken.
    fn fill(&mut self) -> Result<bool, Errno>;
    /// Frames at hand that were not advanced over.
    fn frames(&self) -> impl Iterator<Item = Frame<'_>>;
    /// Steps over `frames` frames at hand.
    fn advance(&mut self, frames: usize);
}

/// The longest virtio-net header there is (`struct virtio_net_hdr_v1_hash_tunnel`), in bytes.
pub(crate) const LONGEST_VNET_HDR: usize = 24;

/// A frame, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The frame itself; the first 10 bytes of a virtio-net header are in it.
    pub captured: Captured<'a>,
    /// What a stream brought before it beyond those, so that another stream gets the same.
    pub carried: Option<Carried>,
}

impl Frame<'_> {
    /// Its length as it was on the wire, its tag included, in bytes.
    pub fn wire_bytes(&self) -> usize {
        self.captured.bytes.len() + if self.captured.beside.is_some() { VLAN_TAG_LEN } else { 0 }
    }
}

impl<'a> From<Captured<'a>> for Frame<'a> {
    fn from(captured: Captured<'a>) -> Self {
        Self { captured, carried: None }
    }
}

/// Bytes of all of them together, as on the wire.
pub(crate) fn wire_bytes_of(frames: &[Frame<'_>]) -> usize {
    frames.iter().map(Frame::wire_bytes).sum()
}

/// A virtio-net header as a stream brought it, of no bytes maybe.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    bytes: [u8; LONGEST_VNET_HDR],
    len: u8,
    /// Whether the stream has a field that says how long it is.
    pub announced: bool,
}

impl Carried {
    /// A header of at most [`LONGEST_VNET_HDR`] bytes; of a longer one nothing is known.
    pub fn new(header: &[u8], announced: bool) -> Option<Self> {
        let mut bytes = [0; LONGEST_VNET_HDR];
        bytes.get_mut(..header.len())?.copy_from_slice(header);
        Some(Self { bytes, len: u8::try_from(header.len()).ok()?, announced })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// What it says of the frame. One without the fields says nothing.
    pub fn vnet(&self) -> VnetHeader {
        self.as_bytes()
            .first_chunk()
            .map_or_else(VnetHeader::default, |fields| VnetHeader::from_bytes(*fields))
    }
}
