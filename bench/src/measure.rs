//! The measurements, one peer in one case at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::cores::{Core, Cores};
use crate::error::{Error, Result};
use crate::figures::{float, quantile};
use crate::forwarder::{Forwarder, Memory};
use crate::machine::{Elapsed, Moment};
use crate::peers::Peer;
use crate::rig::{INPUT, OUTPUT, Rig, Side};
use crate::traffic::{Case, Host, LATENCY_CASE, nanoseconds};

/// Frames are sent for that long before a measurement begins: a balanced capture has found its engine then.
const WARM_UP: Duration = Duration::from_millis(300);
/// When nothing has arrived for that long, nothing more will.
const FLUSH: Duration = Duration::from_millis(250);

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
    pub(crate) background: Background,
}

/// Latency of one sending, in nanoseconds from before the send call until after the reader's read.
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

/// What else happened on the machine meanwhile.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Background {
    /// Cores kept busy by anything but the benchmark. About: the kernel counts that in ticks.
    pub(crate) others_cores: f64,
    /// Cores that the hypervisor gave to others while we wanted them. About, as above.
    pub(crate) stolen_cores: f64,
    /// Time in interrupts and softirqs, of everybody, in ms a second. About, as above.
    pub(crate) softirq_ms_per_s: f64,
    /// Timer softirqs a second, of everybody. Exact.
    pub(crate) timer_softirqs_per_s: f64,
}

impl Background {
    /// Whether the machine was left to the benchmark, but for a fifth of a core.
    pub(crate) fn is_calm(&self) -> bool {
        const CALM: f64 = 0.2;
        self.others_cores + self.stolen_cores < CALM
    }

    fn new(elapsed: &Elapsed, ours: Duration) -> Self {
        let seconds = elapsed.wall.as_secs_f64();
        Self {
            others_cores: elapsed.times.busy.saturating_sub(ours).as_secs_f64() / seconds,
            stolen_cores: elapsed.times.stolen.as_secs_f64() / seconds,
            softirq_ms_per_s: elapsed.times.softirq.as_secs_f64() * 1e3 / seconds,
            timer_softirqs_per_s: float(elapsed.timer_softirqs) / seconds,
        }
    }
}

/// Where and how long to measure.
pub(crate) struct Bench<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) cores: &'a Cores,
    pub(crate) cpu_time: Duration,
    pub(crate) latency_time: Duration,
    pub(crate) idle_time: Duration,
}

impl Bench<'_> {
    /// What forwarding costs the forwarder, and what it costs the sender.
    pub(crate) fn cpu(&self, round: u32, case: &Case, peer: &Peer) -> Result<CpuSample> {
        self.rig.empty()?;
        let forwarder = Forwarder::start(peer, self.cores, INPUT, OUTPUT)?;
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
                let warmed_up = host.send_for(WARM_UP)?;
                await_arrivals(&arrived, expected(warmed_up.frames));
                arrived.store(0, Ordering::Relaxed);
                let lost_before = self.rig.lost_at_output()?;
                let span = Span::begin(&forwarder)?;
                let sent = host.send_for(self.cpu_time)?;
                await_arrivals(&arrived, expected(sent.frames));
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
                    background,
                })
            })();
            stop.store(true, Ordering::Relaxed);
            guests.join().map_err(|_| Error::new("the reader panicked"))??;
            outcome
        })
    }

    /// How long a frame takes from the sender to the guest behind the output, or, without a forwarder, to the
    /// guest behind the input. Either guest runs on the forwarder's core: in both cases one wake-up crosses
    /// from core to core, which costs more than everything else and is the machine's own.
    pub(crate) fn latency(&self, round: u32, peer: &Peer) -> Result<LatencySample> {
        self.rig.empty()?;
        let forwarder = Forwarder::start(peer, self.cores, INPUT, OUTPUT)?;
        let host = Host::open(INPUT, LATENCY_CASE)?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let guest = scope.spawn(|| {
                self.cores.run_on(Core::Forwarder)?;
                self.rig.time_arrivals(if peer.forwards() { Side::Output } else { Side::Input }, &stop)
            });
            let outcome = (|| {
                let span = Span::begin(&forwarder)?;
                let sent = host.send_stamped_for(self.latency_time)?;
                thread::sleep(FLUSH);
                let (_, background) = span.end(&forwarder)?;
                Ok((sent, background))
            })();
            stop.store(true, Ordering::Relaxed);
            let mut latencies = guest.join().map_err(|_| Error::new("the reader panicked"))??;
            let (frames, background) = outcome?;
            latencies.sort_unstable();
            let arrived = u64::try_from(latencies.len()).unwrap_or(u64::MAX);
            Ok(LatencySample {
                round,
                peer: peer.name,
                frames,
                lost: frames.saturating_sub(arrived),
                p50_ns: quantile(&latencies, 50).unwrap_or(0),
                p99_ns: quantile(&latencies, 99).unwrap_or(0),
                max_ns: latencies.last().copied().unwrap_or(0),
                background,
            })
        })
    }

    /// What a forwarder costs while there is nothing to forward.
    pub(crate) fn idle(&self, round: u32, peer: &Peer) -> Result<IdleSample> {
        self.rig.empty()?;
        let forwarder = Forwarder::start(peer, self.cores, INPUT, OUTPUT)?;
        thread::sleep(WARM_UP);
        let start = Instant::now();
        let span = Span::begin(&forwarder)?;
        thread::sleep(self.idle_time);
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

/// A stretch of time in which CPU time is counted.
struct Span {
    machine: Moment,
    forwarder: Duration,
    ours: Duration,
}

impl Span {
    fn begin(forwarder: &Forwarder) -> Result<Self> {
        Ok(Self { machine: Moment::now()?, forwarder: forwarder.cpu()?, ours: own_cpu() })
    }

    /// The forwarder's CPU time, and what went on beside it.
    fn end(self, forwarder: &Forwarder) -> Result<(Duration, Background)> {
        let cpu = forwarder.cpu()?.saturating_sub(self.forwarder);
        let ours = own_cpu().saturating_sub(self.ours);
        Ok((cpu, Background::new(&self.machine.elapsed()?, cpu + ours)))
    }
}

fn own_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Waits until so many frames have arrived, or no more do.
fn await_arrivals(arrived: &AtomicU64, frames: u64) {
    let mut seen = arrived.load(Ordering::Relaxed);
    let mut since = Instant::now();
    while seen < frames && since.elapsed() < FLUSH {
        thread::sleep(Duration::from_millis(5));
        let now = arrived.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
