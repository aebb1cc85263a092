//! CPU time in one case: the forwarder's, and what it costs the sender.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Background, Bench, Span, patience};
use crate::cores::Core;
use crate::error::{Error, Result};
use crate::figures::float;
use crate::forwarder::Memory;
use crate::peers::Peer;
use crate::rig::INPUT;
use crate::traffic::{Case, Host, nanoseconds};

/// CPU time in one case.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CpuSample {
    pub(crate) round: u32,
    pub(crate) case: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) frames: u64,
    /// Frames that did not come out of the output, those of `lost_at_output` among them.
    pub(crate) lost: u64,
    /// Frames that the output's queue had no room for: the reader's delay, not the forwarder's doing.
    pub(crate) lost_at_output: u64,
    /// Nanoseconds a frame that arrived; absent when none did.
    pub(crate) forwarder_ns: Option<f64>,
    /// Nanoseconds a frame sent.
    pub(crate) sender_ns: f64,
    /// After the sending.
    pub(crate) memory: Memory,
    /// How the forwarder ended by itself, if it did.
    pub(crate) ended: Option<String>,
    pub(crate) background: Background,
}

impl Bench<'_> {
    /// What forwarding costs the forwarder, and what it costs the sender.
    pub(crate) fn cpu(&self, round: u32, case: &Case, peer: &'static Peer) -> Result<CpuSample> {
        let forwarder = self.start(peer)?;
        let host = Host::open(INPUT, *case)?;
        let length = case.frame_length();
        let expected = |frames| if peer.forwards() { frames } else { 0 };
        let (arrived, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let guests = scope.spawn(|| {
                self.cores.run_on(Core::Sender)?;
                self.rig.drain(length, &arrived, &stop)
            });
            let outcome = (|| {
                let warmed_up = host.send_for(self.times.warm_up)?;
                await_arrivals(&arrived, expected(warmed_up.frames), patience(peer));
                arrived.store(0, Ordering::Relaxed);
                let lost_before = self.rig.lost_at_output()?;
                let span = Span::begin(&forwarder)?;
                let sent = host.send_for(self.times.cpu)?;
                await_arrivals(&arrived, expected(sent.frames), patience(peer));
                let (forwarder_cpu, background) = span.end(&forwarder)?;
                let arrived = arrived.load(Ordering::Relaxed);
                Ok(CpuSample {
                    round,
                    case: case.name,
                    peer: peer.name,
                    frames: sent.frames,
                    lost: sent.frames.saturating_sub(arrived),
                    lost_at_output: self.rig.lost_at_output()? - lost_before,
                    forwarder_ns: (arrived > 0).then(|| float(nanoseconds(forwarder_cpu)) / float(arrived)),
                    sender_ns: float(nanoseconds(sent.cpu)) / float(sent.frames),
                    memory: forwarder.memory()?,
                    ended: forwarder.end()?,
                    background,
                })
            })();
            stop.store(true, Ordering::Relaxed);
            guests.join().map_err(|_| Error::new("the reader panicked"))??;
            outcome
        })
    }
}

/// Waits until so many frames have arrived, or no more do.
fn await_arrivals(arrived: &AtomicU64, frames: u64, patience: Duration) {
    let mut seen = arrived.load(Ordering::Relaxed);
    let mut since = Instant::now();
    while seen < frames && since.elapsed() < patience {
        thread::sleep(Duration::from_millis(5));
        let now = arrived.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
