//! Idleness: what a forwarder costs while no frame comes.

use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::{Background, Bench, Span};
use crate::error::Result;
use crate::forwarder::Memory;
use crate::peers::Peer;

/// A forwarder without frames.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IdleSample {
    pub(crate) round: u32,
    pub(crate) peer: &'static str,
    pub(crate) seconds: f64,
    pub(crate) cpu_us: f64,
    pub(crate) memory: Memory,
    pub(crate) background: Background,
}

impl Bench<'_> {
    /// What a forwarder costs while there is nothing to forward.
    pub(crate) fn idle(&self, round: u32, peer: &'static Peer) -> Result<IdleSample> {
        let forwarder = self.start(peer)?;
        thread::sleep(self.times.warm_up);
        let start = Instant::now();
        let span = Span::begin(&forwarder)?;
        thread::sleep(self.times.idle);
        let (cpu, background) = span.end(&forwarder)?;
        Ok(IdleSample {
            round,
            peer: peer.name,
            seconds: start.elapsed().as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6,
            memory: forwarder.memory()?,
            background,
        })
    }
}
