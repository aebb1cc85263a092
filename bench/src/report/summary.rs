//! What the samples say: ratios against the reference within each round, and their medians over the rounds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Samples;
use crate::figures::{Spread, float};
use crate::forwarder::Memory;
use crate::measure::{Background, CpuSample, GsoSample, LatencySample, LossFreeSample, ThroughputSample};
use crate::peers;
use crate::traffic::{CPU_CASES, Case, LOSS_FREE_CASES, STREAM_CASES};

/// Of a peer or a case: known here in a run, only read in a kept one.
pub(crate) type Name = Cow<'static, str>;

/// What it says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// Cores kept busy by others, over all samples.
    pub(super) others_cores: Option<Spread>,
    /// Cores that the hypervisor gave to others, over all samples.
    pub(super) stolen_cores: Option<Spread>,
    /// Part of the samples in which these two were less than a fifth of a core.
    pub(super) calm_share: f64,
    pub(super) cpu: Vec<CpuRow>,
    pub(super) latency: Vec<LatencyRow>,
    pub(super) loss_free: Vec<LossFreeRow>,
    /// Older runs have none.
    #[serde(default)]
    pub(super) throughput: Vec<ThroughputRow>,
    pub(super) gso: Vec<GsoRow>,
    pub(super) idle: Vec<IdleRow>,
}

/// CPU time of one peer in one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CpuRow {
    pub(super) case: Name,
    pub(super) peer: Name,
    /// The peer that counts as 1.
    pub(super) reference: Name,
    /// Forwarder and sender's surplus, against the reference's in the same round.
    pub(super) total_ratio: Option<Spread>,
    pub(super) total_ns: Option<Spread>,
    pub(super) forwarder_ns: Option<Spread>,
    /// What the peer adds to the sender's own cost in the same round.
    pub(super) surplus_ns: Option<Spread>,
    /// Of all frames of all rounds.
    pub(super) lost_share: f64,
    /// Beyond those without a forwarder in the same round.
    pub(super) timer_softirqs_per_s: Option<Spread>,
    pub(super) softirq_ms_per_s: Option<Spread>,
    /// How the forwarder ended by itself, if it did in any round.
    pub(super) ended: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatencyRow {
    pub(super) peer: Name,
    pub(super) p50_us: Option<Spread>,
    pub(super) p99_us: Option<Spread>,
    pub(super) max_us: Option<Spread>,
    pub(super) lost_share: f64,
}

/// The highest rate without loss.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LossFreeRow {
    pub(super) case: Name,
    pub(super) peer: Name,
    /// Against the reference's in the same round.
    pub(super) ratio: Option<Spread>,
    /// Thousands of frames a second.
    pub(super) kpps: Option<Spread>,
    /// Part of the rounds in which the sender could not send fast enough to make it lose frames.
    pub(super) sender_limit_share: f64,
}

/// What gets through to a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThroughputRow {
    pub(super) case: Name,
    pub(super) peer: Name,
    /// Frames that arrived a second, against the reference's in the same round.
    pub(super) ratio: Option<Spread>,
    /// Thousands of them.
    pub(super) kpps: Option<Spread>,
    /// Their bits, in thousands of millions.
    pub(super) gbps: Option<Spread>,
    /// Thousands of frames that were sent a second.
    pub(super) sent_kpps: Option<Spread>,
    /// Absent where there are no records.
    pub(super) records_a_frame: Option<Spread>,
    pub(super) forwarder_cores: Option<Spread>,
    pub(super) lost_share: f64,
}

/// What became of GSO frames.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GsoRow {
    pub(super) peer: Name,
    pub(super) frames: u64,
    pub(super) whole_share: f64,
    pub(super) damaged_share: f64,
    /// How the forwarder ended by itself, if it did in any round.
    pub(super) ended: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IdleRow {
    pub(super) peer: Name,
    /// Of one core, in millionths: microseconds of CPU time a second.
    pub(super) cpu_us_per_s: f64,
    /// Beyond those without a forwarder.
    pub(super) timer_softirqs_per_s: f64,
    pub(super) memory: Memory,
    /// The most in any case with frames.
    pub(super) busy_memory: Memory,
}

impl Samples {
    pub(crate) fn summarize(&self) -> Summary {
        let forwarding = || peers::ALL.iter().filter(|peer| peer.forwards());
        let cases = CPU_CASES.iter().chain(STREAM_CASES);
        let cases = cases.flat_map(|case| forwarding().filter_map(|peer| self.cpu_row(case, peer.name)));
        Summary {
            others_cores: Spread::of(self.backgrounds().map(|background| background.others_cores)),
            stolen_cores: Spread::of(self.backgrounds().map(|background| background.stolen_cores)),
            calm_share: share(
                count(self.backgrounds().filter(|background| background.is_calm())),
                count(self.backgrounds()),
            ),
            cpu: cases.collect(),
            loss_free: LOSS_FREE_CASES
                .iter()
                .flat_map(|case| forwarding().filter_map(|peer| self.loss_free_row(case, peer.name)))
                .collect(),
            throughput: STREAM_CASES
                .iter()
                .flat_map(|case| forwarding().filter_map(|peer| self.throughput_row(case, peer.name)))
                .collect(),
            gso: forwarding().filter_map(|peer| self.gso_row(peer.name)).collect(),
            latency: peers::ALL.iter().filter_map(|peer| self.latency_row(peer.name)).collect(),
            idle: forwarding().filter_map(|peer| self.idle_row(peer.name)).collect(),
        }
    }

    fn backgrounds(&self) -> impl Iterator<Item = &Background> {
        let cpu = self.cpu.iter().map(|sample| &sample.background);
        let latency = self.latency.iter().map(|sample| &sample.background);
        let loss_free = self.loss_free.iter().map(|sample| &sample.background);
        let throughput = self.throughput.iter().map(|sample| &sample.background);
        let gso = self.gso.iter().map(|sample| &sample.background);
        let idle = self.idle.iter().map(|sample| &sample.background);
        cpu.chain(latency).chain(loss_free).chain(throughput).chain(gso).chain(idle)
    }

    fn cpu_sample(&self, round: u32, case: &str, peer: &str) -> Option<&CpuSample> {
        self.cpu.iter().find(|sample| (sample.round, sample.case, sample.peer) == (round, case, peer))
    }

    /// Forwarder and sender's surplus over the floor of the same round, in nanoseconds a frame.
    fn total(&self, sample: &CpuSample) -> Option<f64> {
        Some(sample.forwarder_ns? + self.surplus(sample)?)
    }

    fn surplus(&self, sample: &CpuSample) -> Option<f64> {
        Some(sample.sender_ns - self.cpu_sample(sample.round, sample.case, peers::FLOOR)?.sender_ns)
    }

    fn cpu_row(&self, case: &Case, peer: &'static str) -> Option<CpuRow> {
        let of_peer: Vec<&CpuSample> =
            self.cpu.iter().filter(|sample| sample.case == case.name && sample.peer == peer).collect();
        if of_peer.is_empty() {
            return None;
        }
        let spread = |value: &dyn Fn(&CpuSample) -> Option<f64>| {
            Spread::of(of_peer.iter().filter_map(|sample| value(sample)))
        };
        let above_floor = |sample: &CpuSample, value: fn(&Background) -> f64| {
            let floor = self.cpu_sample(sample.round, case.name, peers::FLOOR)?;
            Some(value(&sample.background) - value(&floor.background))
        };
        let (lost, frames) = of_peer
            .iter()
            .fold((0, 0), |(lost, frames), sample| (lost + sample.lost, frames + sample.frames));
        Some(CpuRow {
            case: case.name.into(),
            peer: peer.into(),
            reference: case.reference().into(),
            total_ratio: spread(&|sample| {
                let reference = self.cpu_sample(sample.round, case.name, case.reference())?;
                Some(self.total(sample)? / self.total(reference)?)
            }),
            total_ns: spread(&|sample| self.total(sample)),
            forwarder_ns: spread(&|sample| sample.forwarder_ns),
            surplus_ns: spread(&|sample| self.surplus(sample)),
            lost_share: share(lost, frames),
            timer_softirqs_per_s: spread(&|sample| above_floor(sample, |b| b.timer_softirqs_per_s)),
            softirq_ms_per_s: spread(&|sample| above_floor(sample, |b| b.softirq_ms_per_s)),
            ended: of_peer.iter().find_map(|sample| sample.ended.clone()),
        })
    }

    fn latency_row(&self, peer: &'static str) -> Option<LatencyRow> {
        let of_peer: Vec<&LatencySample> = self.latency.iter().filter(|sample| sample.peer == peer).collect();
        let microseconds = |value: fn(&LatencySample) -> u64| {
            Spread::of(of_peer.iter().map(|sample| float(value(sample)) / 1e3))
        };
        let (lost, frames) = of_peer
            .iter()
            .fold((0, 0), |(lost, frames), sample| (lost + sample.lost, frames + sample.frames));
        (!of_peer.is_empty()).then(|| LatencyRow {
            peer: peer.into(),
            p50_us: microseconds(|sample| sample.p50_ns),
            p99_us: microseconds(|sample| sample.p99_ns),
            max_us: microseconds(|sample| sample.max_ns),
            lost_share: share(lost, frames),
        })
    }

    fn loss_free_row(&self, case: &Case, peer: &'static str) -> Option<LossFreeRow> {
        let of_peer: Vec<&LossFreeSample> =
            self.loss_free.iter().filter(|sample| (sample.case, sample.peer) == (case.name, peer)).collect();
        let ratio = |sample: &&LossFreeSample| {
            let reference = self.loss_free.iter().find(|other| {
                (other.round, other.case, other.peer) == (sample.round, case.name, case.reference())
            })?;
            // A reference that has no rate makes no ratio.
            Some(sample.rate / reference.rate)
        };
        let by_sender = of_peer.iter().filter(|sample| sample.sender_is_limit);
        (!of_peer.is_empty()).then(|| LossFreeRow {
            case: case.name.into(),
            peer: peer.into(),
            ratio: Spread::of(of_peer.iter().filter_map(ratio)),
            kpps: Spread::of(of_peer.iter().map(|sample| sample.rate / 1e3)),
            sender_limit_share: share(count(by_sender), count(of_peer.iter())),
        })
    }

    fn throughput_row(&self, case: &Case, peer: &'static str) -> Option<ThroughputRow> {
        let of_peer: Vec<&ThroughputSample> =
            self.throughput.iter().filter(|sample| (sample.case, sample.peer) == (case.name, peer)).collect();
        let spread = |value: &dyn Fn(&ThroughputSample) -> Option<f64>| {
            Spread::of(of_peer.iter().filter_map(|sample| value(sample)))
        };
        let (lost, frames) = of_peer
            .iter()
            .fold((0, 0), |(lost, frames), sample| (lost + sample.lost, frames + sample.frames));
        (!of_peer.is_empty()).then(|| ThroughputRow {
            case: case.name.into(),
            peer: peer.into(),
            ratio: spread(&|sample| {
                let reference = self.throughput.iter().find(|other| {
                    (other.round, other.case, other.peer) == (sample.round, case.name, case.reference())
                })?;
                Some(sample.rate / reference.rate)
            }),
            kpps: spread(&|sample| Some(sample.rate / 1e3)),
            gbps: spread(&|sample| Some(sample.bits_per_s / 1e9)),
            sent_kpps: spread(&|sample| Some(sample.sent_rate / 1e3)),
            records_a_frame: spread(&|sample| {
                Some(float(sample.records?) / float(sample.frames.saturating_sub(sample.lost)))
            }),
            forwarder_cores: spread(&|sample| Some(sample.forwarder_cores)),
            lost_share: share(lost, frames),
        })
    }

    fn gso_row(&self, peer: &'static str) -> Option<GsoRow> {
        let of_peer: Vec<&GsoSample> = self.gso.iter().filter(|sample| sample.peer == peer).collect();
        let sum = |value: fn(&GsoSample) -> u64| of_peer.iter().map(|sample| value(sample)).sum::<u64>();
        let frames = sum(|sample| sample.frames);
        (!of_peer.is_empty()).then(|| GsoRow {
            peer: peer.into(),
            frames,
            whole_share: share(sum(|sample| sample.whole), frames),
            damaged_share: share(sum(|sample| sample.damaged), frames),
            ended: of_peer.iter().find_map(|sample| sample.ended.clone()),
        })
    }

    fn idle_row(&self, peer: &'static str) -> Option<IdleRow> {
        let of = |name: &str| self.idle.iter().find(|sample| sample.peer == name);
        let (sample, floor) = (of(peer)?, of(peers::FLOOR)?);
        let busy = self.cpu.iter().filter(|sample| sample.peer == peer).map(|sample| sample.memory);
        Some(IdleRow {
            peer: peer.into(),
            cpu_us_per_s: sample.cpu_us / sample.seconds,
            timer_softirqs_per_s: sample.background.timer_softirqs_per_s
                - floor.background.timer_softirqs_per_s,
            memory: sample.memory,
            busy_memory: busy.fold(Memory::default(), Memory::max),
        })
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}
