//! The measurements, one peer at a time: one file each, and what they share.
//!
//! | module | what is measured |
//! | --- | --- |
//! | [`cpu`] | CPU time of forwarder and sender in one case |
//! | [`latency`] | how long a frame takes |
//! | [`loss_free`] | the highest rate at which no frame is lost |
//! | [`gso`] | whether GSO frames arrive as they were sent |
//! | [`idle`] | what a forwarder costs without frames |

mod cpu;
mod gso;
mod idle;
mod latency;
mod loss_free;

use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

pub(crate) use cpu::CpuSample;
pub(crate) use gso::GsoSample;
pub(crate) use idle::IdleSample;
pub(crate) use latency::LatencySample;
pub(crate) use loss_free::LossFreeSample;

use crate::cores::Cores;
use crate::error::{Error, Result};
use crate::figures::float;
use crate::forwarder::Forwarder;
use crate::machine::{Elapsed, Moment};
use crate::peers::Peer;
use crate::rig::{FRAME_MAX, INPUT, Rig};
use crate::traffic::{Host, PRIMER};

/// What comes later than that, and than the peer's own [`Peer::holds`], does not come any more.
const FLUSH: Duration = Duration::from_millis(100);

/// What else happened on the machine meanwhile.
#[derive(Debug, Clone, Copy, Default, Serialize)]
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
    pub(crate) times: Times,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Frames are sent for that long before a measurement begins: a balanced capture has found its engine then.
    pub(crate) warm_up: Duration,
    pub(crate) cpu: Duration,
    pub(crate) latency: Duration,
    pub(crate) gso: Duration,
    pub(crate) idle: Duration,
    /// One step of the search for the rate without loss.
    pub(crate) step: Duration,
    /// How near the search comes: the ratio of the least rate with loss to the highest without.
    pub(crate) precision: f64,
}

impl Bench<'_> {
    /// Starts a peer, and returns when frames come out of the output: some say that they are ready before they
    /// are, and others say nothing.
    pub(crate) fn start(&self, peer: &'static Peer) -> Result<Forwarder> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let between = Duration::from_secs(1) / PRIMER.rate;
        self.rig.empty()?;
        let forwarder = Forwarder::start(peer, self.cores)?;
        if !peer.forwards() {
            return Ok(forwarder);
        }
        let host = Host::open(INPUT, PRIMER)?;
        let mut buffer = vec![0; FRAME_MAX];
        let deadline = Instant::now() + PATIENCE;
        let mut arrived = false;
        while !arrived {
            host.send_one()?;
            thread::sleep(between);
            self.rig.read_output(&mut buffer, |_| arrived = true)?;
            if Instant::now() > deadline {
                let end = forwarder.end()?.unwrap_or_else(|| "it still runs".to_owned());
                return Err(Error::new(format!("{} forwards nothing: {end}", peer.name)));
            }
        }
        Ok(forwarder)
    }
}

fn patience(peer: &Peer) -> Duration {
    peer.holds + FLUSH
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
