//! A run as Markdown, for people and for the terminal.

use std::fmt::Write;
use std::slice;

use super::Run;
use super::summary::{Name, Summary};
use crate::figures::Spread;
use crate::peers;
use crate::traffic::{CPU_CASES, LATENCY_CASE, STREAM_CASES};

impl Run {
    /// The run as Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::new();
        self.write_markdown(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let about = &self.circumstances;
        writeln!(out, "# Benchmark of {}\n", about.started)?;
        writeln!(out, "- {} mode, rounds: {}, peers one after the other in each", about.mode, about.rounds)?;
        writeln!(out, "- {}", about.machine)?;
        writeln!(
            out,
            "- load averages before: {}, after: {}",
            about.load_averages_before, about.load_averages_after
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
            about.repeated
        )?;
        writeln!(
            out,
            "\nMedian over the rounds [least .. most]. Ratios compare within one round; \
             times are of this machine and this hour.\n"
        )?;
        self.write_ratios(out)?;
        self.write_stream_ratios(out)?;
        self.write_cpu(out)?;
        self.write_throughput(out)?;
        self.write_latency(out)?;
        self.write_loss_free(out)?;
        self.write_gso(out)?;
        self.write_idle(out)?;
        self.write_peers(out)
    }

    fn write_ratios(&self, out: &mut String) -> std::fmt::Result {
        if !self.summary.cpu.is_empty() || !self.summary.loss_free.is_empty() {
            writeln!(out, "## At a glance\n")?;
        }
        let matrix = self.matrix();
        if matrix.rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "### From TAP to TAP\n")?;
        writeln!(
            out,
            "Total CPU time a frame, and loss-free rate, against {} = 1 (GSO: against {}). \
             In brackets: more than 1 % of the frames were lost.\n",
            peers::REFERENCE,
            peers::GSO_REFERENCE
        )?;
        matrix.write(out)
    }

    fn write_stream_ratios(&self, out: &mut String) -> std::fmt::Result {
        let matrix = self.stream_matrix();
        if matrix.rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "### To a unix stream\n")?;
        writeln!(
            out,
            "Total CPU time a frame, and throughput, against {} = 1. In brackets: more than 1 % of the frames were \
             lost.\n",
            peers::STREAM_REFERENCE
        )?;
        matrix.write(out)
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
                row.case.to_string(),
                row.peer.to_string(),
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
        for row in &self.summary.cpu {
            if let Some(ended) = &row.ended {
                writeln!(out, "- {} ended by itself in {}: {ended}", row.peer, row.case)?;
            }
        }
        let cases = CPU_CASES.iter().chain(STREAM_CASES);
        for case in cases.filter(|case| self.summary.cpu.iter().any(|row| row.case == case.name)) {
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
            "{}; from the send call into the hands of a guest that never sleeps\n",
            LATENCY_CASE.about
        )?;
        let rows = self.summary.latency.iter().map(|row| {
            vec![
                row.peer.to_string(),
                cell(row.p50_us, 1),
                cell(row.p99_us, 1),
                cell(row.max_us, 0),
                percent(row.lost_share),
            ]
        });
        write_table(out, &["peer", "p50, µs", "p99, µs", "max, µs", "lost"], rows)
    }

    fn write_loss_free(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.loss_free.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Rate without loss\n")?;
        writeln!(
            out,
            "The highest rate at which every frame came out, and in time; found in halves, confirmed twice\n"
        )?;
        let rows = self.summary.loss_free.iter().map(|row| {
            vec![
                row.case.to_string(),
                row.peer.to_string(),
                cell(row.ratio, 2),
                cell(row.kpps, 0),
                format!("{:.0} %", row.sender_limit_share * 100.0),
            ]
        });
        write_table(out, &["case", "peer", "ratio", "kpps", "rounds at the sender's limit"], rows)
    }

    fn write_throughput(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.throughput.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Throughput to a unix stream\n")?;
        writeln!(
            out,
            "What reaches a reader while frames are sent as fast as the sender can; sender and reader share a core. \
             Gb/s are of frames as they were sent. Without records only bytes can be counted. Where hardly anything \
             is lost, sender and reader are the limit.\n"
        )?;
        let rows = self.summary.throughput.iter().map(|row| {
            vec![
                row.case.to_string(),
                row.peer.to_string(),
                cell(row.ratio, 2),
                cell(row.gbps, 2),
                cell(row.kpps, 1),
                median(row.sent_kpps, 1),
                percent(row.lost_share),
                median(row.forwarder_cores, 2),
                median(row.records_a_frame, 1),
            ]
        });
        let header = [
            "case",
            "peer",
            "ratio",
            "Gb/s",
            "kpps",
            "sent, kpps",
            "lost",
            "forwarder, cores",
            "records a frame",
        ];
        write_table(out, &header, rows)
    }

    fn write_gso(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.gso.is_empty() {
            return Ok(());
        }
        writeln!(out, "## 64 KiB GSO frames\n")?;
        writeln!(out, "whole: every byte as sent, with the virtio-net header to cut it up by\n")?;
        let rows = self.summary.gso.iter().map(|row| {
            vec![
                row.peer.to_string(),
                format!("{:.1} %", row.whole_share * 100.0),
                percent(row.damaged_share),
                row.frames.to_string(),
                row.ended.clone().unwrap_or_default(),
            ]
        });
        write_table(out, &["peer", "whole", "damaged", "of", "ended by itself"], rows)
    }

    fn write_peers(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Peers\n")?;
        for peer in &self.peers {
            let version = peer.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
            writeln!(out, "- **{}**{version}: {}", peer.name, peer.about)?;
            for command in &peer.commands {
                writeln!(out, "  `{command}`")?;
            }
        }
        for absent in &self.absent {
            writeln!(out, "- **{}**: {}", absent.name, absent.reason)?;
        }
        Ok(())
    }

    fn write_idle(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.idle.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Idle, and memory\n")?;
        writeln!(out, "idle: no frame since the start; busy: the most in any case above\n")?;
        let rows = self.summary.idle.iter().map(|row| {
            vec![
                row.peer.to_string(),
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

/// All ratios in one table.
pub(super) struct Matrix {
    pub(super) columns: Vec<String>,
    /// A peer, and its cells.
    pub(super) rows: Vec<(String, Vec<String>)>,
}

impl Run {
    /// From TAP to TAP.
    pub(super) fn matrix(&self) -> Matrix {
        let Summary { cpu, loss_free, .. } = &self.summary;
        let cpu_cases = distinct(cpu.iter().map(|row| &row.case).filter(|case| !is_of_streams(case)));
        let loss_free_cases = distinct(loss_free.iter().map(|row| &row.case));
        let cells = |peer: &str| {
            let of_cpu = cpu_cases.iter().map(|case| self.cpu_cell(case, peer));
            let of_loss_free = loss_free_cases.iter().map(|case| {
                let row = loss_free.iter().find(|row| row.case == *case && row.peer == peer);
                row.map_or_else(String::new, |row| median(row.ratio, 2))
            });
            of_cpu.chain(of_loss_free).collect::<Vec<_>>()
        };
        let of_loss_free = loss_free_cases.iter().map(|case| format!("rate, {case}"));
        let columns = cpu_cases.iter().map(ToString::to_string).chain(of_loss_free).collect();
        self.matrix_of(columns, cells)
    }

    /// To a stream.
    pub(super) fn stream_matrix(&self) -> Matrix {
        let Summary { cpu, throughput, .. } = &self.summary;
        let cpu_cases = distinct(cpu.iter().map(|row| &row.case).filter(|case| is_of_streams(case)));
        let throughput_cases = distinct(throughput.iter().map(|row| &row.case));
        let cells = |peer: &str| {
            let of_cpu = cpu_cases.iter().map(|case| self.cpu_cell(case, peer));
            let of_throughput = throughput_cases.iter().map(|case| {
                let row = throughput.iter().find(|row| row.case == *case && row.peer == peer);
                row.map_or_else(String::new, |row| median(row.ratio, 2))
            });
            of_cpu.chain(of_throughput).collect::<Vec<_>>()
        };
        let of_throughput = throughput_cases.iter().map(|case| format!("throughput, {case}"));
        let columns = cpu_cases.iter().map(ToString::to_string).chain(of_throughput).collect();
        self.matrix_of(columns, cells)
    }

    fn matrix_of(&self, columns: Vec<String>, cells: impl Fn(&str) -> Vec<String>) -> Matrix {
        let rows = self.peers.iter().map(|peer| (peer.name.clone(), cells(&peer.name)));
        let rows = rows.filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty())).collect();
        Matrix { columns, rows }
    }

    fn cpu_cell(&self, case: &Name, peer: &str) -> String {
        /// Where so much is lost, a ratio compares different things.
        const ROUGH: f64 = 0.01;
        let row = self.summary.cpu.iter().find(|row| row.case == *case && row.peer == peer);
        row.map_or_else(String::new, |row| match row.total_ratio {
            _ if row.total_ns.is_none() => "all lost".to_owned(),
            Some(ratio) if row.lost_share > ROUGH => format!("({:.2})", ratio.median),
            ratio => median(ratio, 2),
        })
    }
}

impl Matrix {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let header: Vec<&str> = ["peer"].into_iter().chain(self.columns.iter().map(String::as_str)).collect();
        let rows = self.rows.iter().map(|(peer, cells)| [slice::from_ref(peer), cells.as_slice()].concat());
        write_table(out, &header, rows)
    }
}

/// Whether frames go to a stream there.
fn is_of_streams(case: &str) -> bool {
    STREAM_CASES.iter().any(|stream| stream.name == case)
}

/// Each once, in the order of their first mention.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
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
