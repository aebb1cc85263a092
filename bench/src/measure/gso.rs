//! Whether 64 KiB GSO frames arrive as they were sent.

use serde::Serialize;
use tapferry_testbed::vnet::{self, VnetHeader};

use super::{Background, Bench, Span, patience};
use crate::error::Result;
use crate::peers::Peer;
use crate::rig::INPUT;
use crate::traffic::{GSO_BURST, Host, Rate};

/// What became of GSO frames.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GsoSample {
    pub(crate) round: u32,
    pub(crate) peer: &'static str,
    pub(crate) frames: u64,
    /// All bytes as they were sent, and a virtio-net header that says how to cut them up.
    pub(crate) whole: u64,
    /// Anything else that came out: cut off, changed, or not to be cut up any more.
    pub(crate) damaged: u64,
    /// How the forwarder ended by itself, if it did.
    pub(crate) ended: Option<String>,
    pub(crate) background: Background,
}

impl Bench<'_> {
    pub(crate) fn gso(&self, round: u32, peer: &'static Peer) -> Result<GsoSample> {
        let forwarder = self.start(peer)?;
        let host = Host::open(INPUT, GSO_BURST)?;
        let sent = GSO_BURST.bytes();
        let (header, bytes) = (VnetHeader::from_bytes(&sent), &sent[vnet::LENGTH_LEGACY..]);
        let (mut whole, mut damaged) = (0, 0);
        let span = Span::begin(&forwarder)?;
        let rate = Rate::PerSecond(f64::from(GSO_BURST.rate));
        let exchanged = host.exchange(self.rig, rate, self.times.gso, patience(peer), |frame, _| {
            let is_whole = frame.get(vnet::LENGTH_MODERN..) == Some(bytes)
                && VnetHeader::from_bytes(frame).map(essence) == header.map(essence);
            *(if is_whole { &mut whole } else { &mut damaged }) += 1;
            is_whole
        })?;
        let (_, background) = span.end(&forwarder)?;
        Ok(GsoSample {
            round,
            peer: peer.name,
            frames: exchanged.sent,
            whole,
            damaged,
            ended: forwarder.end()?,
            background,
        })
    }
}

/// What must not change in a virtio-net header; the length of the headers is a hint.
fn essence(header: VnetHeader) -> VnetHeader {
    VnetHeader { header_length: 0, ..header }
}
