//! What the samples say: ratios against the reference within each round, and their medians over the rounds.

use std::fmt::Write;

use serde::Serialize;

use crate::figures::{Spread, float};
use crate::forwarder::Memory;
use crate::machine::Facts;
use crate::measure::{Background, CpuSample, IdleSample, LatencySample};
use crate::peers;
use crate::traffic::{CPU_CASES, Case, LATENCY_CASE};

/// A whole run, as it is kept.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Of this form; 1.
    pub(crate) format: u32,
    /// UTC, as in ISO 8601.
    pub(crate) started: String,
    pub(crate) mode: &'static str,
    pub(crate) rounds: u32,
    pub(crate) machine: Facts,
    pub(crate) load_averages_before: String,
    pub(crate) load_averages_after: String,
    pub(crate) summary: Summary,
    pub(crate) samples: Samples,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Samples {
    pub(crate) cpu: Vec<CpuSample>,
    pub(crate) latency: Vec<LatencySample>,
    pub(crate) idle: Vec<IdleSample>,
    /// Measurements of all peers in a case that were disturbed by others and done again.
    pub(crate) repeated: u32,
}

/// What it says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// Cores kept busy by others, over all samples.
    others_cores: Option<Spread>,
    /// Cores that the hypervisor gave to others, over all samples.
    stolen_cores: Option<Spread>,
    /// Part of the samples in which these two were less than a fifth of a core.
    calm_share: f64,
    cpu: Vec<CpuRow>,
    latency: Vec<LatencyRow>,
    idle: Vec<IdleRow>,
}

/// CPU time of one peer in one case.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct CpuRow {
    case: &'static str,
    peer: &'static str,
    /// The peer that counts as 1.
    reference: &'static str,
    /// Forwarder and sender's surplus, against the reference's in the same round.
    total_ratio: Option<Spread>,
    total_ns: Option<Spread>,
    forwarder_ns: Option<Spread>,
    /// What the peer adds to the sender's own cost in the same round.
    surplus_ns: Option<Spread>,
    /// Of all frames of all rounds.
    lost_share: f64,
    /// Beyond those without a forwarder in the same round.
    timer_softirqs_per_s: Option<Spread>,
    softirq_ms_per_s: Option<Spread>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct LatencyRow {
    peer: &'static str,
    /// Beyond what the machine needs without a forwarder, in the same round.
    p50_above_floor_us: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    max_us: Option<Spread>,
    lost_share: f64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct IdleRow {
    peer: &'static str,
    /// Of one core, in millionths: microseconds of CPU time a second.
    cpu_us_per_s: f64,
    /// Beyond those without a forwarder.
    timer_softirqs_per_s: f64,
    memory: Memory,
    /// The most in any case with frames.
    busy_memory: Memory,
}

impl Samples {
    pub(crate) fn summarize(&self) -> Summary {
        let forwarding = || peers::ALL.iter().filter(|peer| peer.forwards());
        let cases =
            CPU_CASES.iter().flat_map(|case| forwarding().filter_map(|peer| self.cpu_row(case, peer.name)));
        Summary {
            others_cores: Spread::of(self.backgrounds().map(|background| background.others_cores)),
            stolen_cores: Spread::of(self.backgrounds().map(|background| background.stolen_cores)),
            calm_share: share(
                count(self.backgrounds().filter(|background| background.is_calm())),
                count(self.backgrounds()),
            ),
            cpu: cases.collect(),
            latency: peers::ALL.iter().filter_map(|peer| self.latency_row(peer.name)).collect(),
            idle: forwarding().filter_map(|peer| self.idle_row(peer.name)).collect(),
        }
    }

    fn backgrounds(&self) -> impl Iterator<Item = &Background> {
        let cpu = self.cpu.iter().map(|sample| &sample.background);
        let latency = self.latency.iter().map(|sample| &sample.background);
        cpu.chain(latency).chain(self.idle.iter().map(|sample| &sample.background))
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
            case: case.name,
            peer,
            reference: case.reference(),
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
        let above_floor = |sample: &&LatencySample| {
            let floor = self
                .latency
                .iter()
                .find(|floor| (floor.round, floor.peer) == (sample.round, peers::FLOOR))?;
            Some((float(sample.p50_ns) - float(floor.p50_ns)) / 1e3)
        };
        (!of_peer.is_empty()).then(|| LatencyRow {
            peer,
            p50_above_floor_us: Spread::of(of_peer.iter().filter_map(above_floor)),
            p50_us: microseconds(|sample| sample.p50_ns),
            p99_us: microseconds(|sample| sample.p99_ns),
            max_us: microseconds(|sample| sample.max_ns),
            lost_share: share(lost, frames),
        })
    }

    fn idle_row(&self, peer: &'static str) -> Option<IdleRow> {
        let of = |name: &str| self.idle.iter().find(|sample| sample.peer == name);
        let (sample, floor) = (of(peer)?, of(peers::FLOOR)?);
        let busy = self.cpu.iter().filter(|sample| sample.peer == peer).map(|sample| sample.memory);
        Some(IdleRow {
            peer,
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

impl Run {
    /// The run as Markdown, for people and for the terminal.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::new();
        self.write_markdown(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Benchmark of {}\n", self.started)?;
        writeln!(out, "- {} mode, {} rounds, peers one after the other in each", self.mode, self.rounds)?;
        writeln!(out, "- {}", self.machine)?;
        writeln!(
            out,
            "- load averages before: {}, after: {}",
            self.load_averages_before, self.load_averages_after
        )?;
        if let (Some(others), Some(stolen)) = (self.summary.others_cores, self.summary.stolen_cores) {
            writeln!(
                out,
                "- meanwhile others here kept {} cores busy, and the hypervisor took {} cores away",
                show(others, 2),
                show(stolen, 2)
            )?;
        }
        writeln!(
            out,
            "- {:.0} % of the samples were calm (together less than 0.2 cores); {} measurements were repeated \
             because they were not",
            self.summary.calm_share * 100.0,
            self.samples.repeated
        )?;
        writeln!(
            out,
            "\nMedian over the rounds [least .. most]. Ratios compare within one round; \
             times are of this machine and this hour.\n"
        )?;
        self.write_cpu(out)?;
        self.write_latency(out)?;
        self.write_idle(out)?;
        writeln!(out, "## Peers\n")?;
        for peer in peers::ALL {
            writeln!(out, "- **{}**: {}", peer.name, peer.about)?;
        }
        Ok(())
    }

    fn write_cpu(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.cpu.is_empty() {
            return Ok(());
        }
        writeln!(out, "## CPU time a frame\n")?;
        writeln!(
            out,
            "total = the forwarder's, a frame that arrived + what it adds to the sender, a frame sent. \
             Where frames are lost, ratios are rough.\n"
        )?;
        let header = [
            "case",
            "peer",
            "total, ratio",
            "total, ns",
            "forwarder, ns",
            "sender's surplus, ns",
            "lost",
            "timer softirqs/s",
            "softirq ms/s",
        ];
        let rows = self.summary.cpu.iter().map(|row| {
            vec![
                row.case.to_owned(),
                row.peer.to_owned(),
                cell(row.total_ratio, 2),
                cell(row.total_ns, 0),
                median(row.forwarder_ns, 0),
                median(row.surplus_ns, 0),
                percent(row.lost_share),
                median(row.timer_softirqs_per_s, 0),
                median(row.softirq_ms_per_s, 1),
            ]
        });
        write_table(out, &header, rows)?;
        for case in CPU_CASES.iter().filter(|case| self.summary.cpu.iter().any(|row| row.case == case.name)) {
            writeln!(out, "- **{}**: {}; against {}", case.name, case.about, case.reference())?;
        }
        writeln!(out)
    }

    fn write_latency(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.latency.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Latency\n")?;
        writeln!(
            out,
            "{}; from the send call to a guest blocked on the output.\n\
             The floor (none): straight to a guest of the input; one wake-up from core to core is in all of them\n",
            LATENCY_CASE.about
        )?;
        let rows = self.summary.latency.iter().map(|row| {
            vec![
                row.peer.to_owned(),
                cell(row.p50_above_floor_us, 1),
                cell(row.p50_us, 1),
                cell(row.p99_us, 1),
                cell(row.max_us, 0),
                percent(row.lost_share),
            ]
        });
        write_table(out, &["peer", "p50 above the floor, µs", "p50, µs", "p99, µs", "max, µs", "lost"], rows)
    }

    fn write_idle(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.idle.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Idle, and memory\n")?;
        writeln!(out, "idle: no frame since the start; busy: the most in any case above\n")?;
        let rows = self.summary.idle.iter().map(|row| {
            vec![
                row.peer.to_owned(),
                format!("{:.1}", row.cpu_us_per_s),
                format!("{:.0}", row.timer_softirqs_per_s),
                row.memory.to_string(),
                row.busy_memory.to_string(),
            ]
        });
        let header =
            ["peer", "idle: CPU, µs/s", "idle: timer softirqs/s", "idle: KiB + ring", "busy: KiB + ring"];
        write_table(out, &header, rows)
    }
}

fn write_table(
    out: &mut String,
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> std::fmt::Result {
    let rows: Vec<Vec<String>> = rows.collect();
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let mut line = |cells: &[String]| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "| {} |", padded.join(" | "))
    };
    line(&header.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>())?;
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| line(row))?;
    writeln!(out)
}

fn show(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} [{min:.digits$} .. {max:.digits$}]")
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| show(spread, digits))
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median))
}

fn percent(share: f64) -> String {
    if share == 0.0 { "0".to_owned() } else { format!("{:.2} %", share * 100.0) }
}
