//! The measurements, one peer at a time: one file each, and what they share.
//!
//! | module | what is measured |
//! | --- | --- |
//! | [`cpu`] | CPU time of forwarder and sender in one case |
//! | [`latency`] | how long a frame takes |
//! | [`loss_free`] | the highest rate at which no frame is lost |
//! | [`gso`] | whether GSO frames arrive as they were sent |
//! | [`idle`] | what a forwarder costs without frames |
//! | [`throughput`] | frames to a stream: their CPU time, and how many get through |

mod cpu;
mod gso;
mod idle;
mod latency;
mod loss_free;
mod throughput;

use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

pub(crate) use cpu::CpuSample;
pub(crate) use gso::GsoSample;
pub(crate) use idle::IdleSample;
pub(crate) use latency::LatencySample;
pub(crate) use loss_free::LossFreeSample;
pub(crate) use throughput::ThroughputSample;

use crate::cores::{Core, Cores};
use crate::error::{Error, Result};
use crate::figures::float;
use crate::forwarder::Forwarder;
use crate::machine::{Elapsed, Moment};
use crate::peers::{Joins, Peer};
use crate::program::Place;
use crate::rig::{FRAME_MAX, INPUT, OUTPUT, Rig};
use crate::stream::{self, StreamReader, StreamRig};
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
    /// The one with more of others in it.
    pub(crate) fn worse(self, other: Self) -> Self {
        let others = |background: Self| background.others_cores + background.stolen_cores;
        if others(self) < others(other) { other } else { self }
    }

    /// Whether the machine was left to the benchmark, but for a fifth of a core.
    pub(crate) fn is_calm(self) -> bool {
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
    pub(crate) streams: &'a StreamRig,
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

impl<'a> Bench<'a> {
    /// Starts a peer, and returns when frames come out of the output TAP.
    pub(crate) fn start(&self, peer: &'static Peer) -> Result<Forwarder<'a>> {
        self.rig.empty()?;
        let place =
            Place { input: INPUT, output: OUTPUT, core: self.cores.number(Core::Forwarder), tap: None };
        let mut buffer = vec![0; FRAME_MAX];
        self.start_at(place, peer, || {
            let mut arrived = false;
            self.rig.read_output(&mut buffer, |_| arrived = true)?;
            Ok(arrived)
        })
    }

    /// The same for one that writes to a stream, and whoever reads there; nobody where nothing is written.
    pub(crate) fn start_to_stream(
        &self,
        peer: &'static Peer,
    ) -> Result<(Forwarder<'a>, Option<StreamReader>)> {
        while self.streams.accept().is_some() {}
        self.streams.accept_gso(true)?;
        self.streams.empty_tap()?;
        let place = Place {
            input: stream::INPUT,
            output: self.streams.path()?,
            core: self.cores.number(Core::Forwarder),
            tap: Some(self.streams.tap()),
        };
        let mut reader = None;
        let forwarder = self.start_at(place, peer, || {
            if let (None, Some(framing), Some(connected)) = (&reader, peer.framing(), self.streams.accept()) {
                reader = Some(StreamReader::new(connected, framing));
            }
            let Some(reader) = &mut reader else { return Ok(false) };
            reader.look(u64::MAX)?;
            Ok(reader.bytes() > 0)
        })?;
        // A QEMU without a guest has said no on its behalf.
        self.streams.accept_gso(!matches!(peer.joins, Joins::CutStreams(_)))?;
        Ok((forwarder, reader))
    }

    /// Who takes part shows that it can.
    pub(crate) fn try_out(&self, peer: &'static Peer) -> Result<()> {
        match peer.framing() {
            None => self.start(peer).map(drop),
            Some(_) => self.start_to_stream(peer).map(drop),
        }
    }

    /// Starts a peer, and returns when something has arrived: some say that they are ready before they are, and
    /// others say nothing.
    fn start_at(
        &self,
        place: Place<'a>,
        peer: &'static Peer,
        mut has_arrived: impl FnMut() -> Result<bool>,
    ) -> Result<Forwarder<'a>> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let between = Duration::from_secs(1) / PRIMER.rate;
        let forwarder = Forwarder::start(peer, self.cores, place)?;
        if !peer.forwards() {
            return Ok(forwarder);
        }
        let host = Host::open(place.input, PRIMER)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            host.send_one()?;
            thread::sleep(between);
            if has_arrived()? {
                return Ok(forwarder);
            }
            if Instant::now() > deadline {
                let end = forwarder.end()?.unwrap_or_else(|| "it still runs".to_owned());
                return Err(Error::new(format!("{} forwards nothing: {end}", peer.name)));
            }
        }
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
    fn begin(forwarder: &Forwarder<'_>) -> Result<Self> {
        Ok(Self { machine: Moment::now()?, forwarder: forwarder.cpu()?, ours: own_cpu() })
    }

    /// The forwarder's CPU time, and what went on beside it.
    fn end(self, forwarder: &Forwarder<'_>) -> Result<(Duration, Background)> {
        let cpu = forwarder.cpu()?.saturating_sub(self.forwarder);
        let ours = own_cpu().saturating_sub(self.ours);
        Ok((cpu, Background::new(&self.machine.elapsed()?, cpu + ours)))
    }
}

fn own_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
