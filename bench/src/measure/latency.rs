//! Latency: how long a frame takes from the sender into the hands of the guest behind the output.

use serde::Serialize;

use super::{Background, Bench, Span, patience};
use crate::error::Result;
use crate::figures::quantile;
use crate::peers::Peer;
use crate::rig::INPUT;
use crate::traffic::{Host, LATENCY_CASE, Rate, nanoseconds, stamp_of};

/// Latency of one sending, in nanoseconds from before the send call until after the read of a guest that never
/// sleeps.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatencySample {
    pub(crate) round: u32,
    pub(crate) peer: &'static str,
    pub(crate) frames: u64,
    pub(crate) lost: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) background: Background,
}

impl Bench<'_> {
    /// The guest is the sending thread, between two frames: to wake another thread takes longer than everything
    /// else, and is the machine's own.
    pub(crate) fn latency(&self, round: u32, peer: &'static Peer) -> Result<LatencySample> {
        let forwarder = self.start(peer)?;
        let host = Host::open(INPUT, LATENCY_CASE)?;
        let mut latencies = Vec::with_capacity(100_000);
        let span = Span::begin(&forwarder)?;
        let rate = Rate::PerSecond(f64::from(LATENCY_CASE.rate));
        let exchanged = host.exchange(self.rig, rate, self.times.latency, patience(peer), |frame, now| {
            latencies.extend(stamp_of(frame).map(|stamp| nanoseconds(now).saturating_sub(stamp)));
            true
        })?;
        let (_, background) = span.end(&forwarder)?;
        latencies.sort_unstable();
        Ok(LatencySample {
            round,
            peer: peer.name,
            frames: exchanged.sent,
            lost: exchanged.lost,
            p50_ns: quantile(&latencies, 50).unwrap_or(0),
            p99_ns: quantile(&latencies, 99).unwrap_or(0),
            max_ns: latencies.last().copied().unwrap_or(0),
            background,
        })
    }
}
