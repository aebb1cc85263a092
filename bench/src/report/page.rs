//! A run as a page with plots: one file without scripts, and without anything from elsewhere.

use std::fmt::{Display, Write};

use super::Run;
use super::charts::{self, Bar, Span};
use super::markdown::{Matrix, distinct};
use super::summary::CpuRow;
use super::svg::escape;
use crate::figures::Spread;
use crate::peers;
use crate::traffic::{CPU_CASES, Case, LATENCY_CASE, LOSS_FREE_CASES, STREAM_CASES};

const STYLE: &str = "
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, 'DejaVu Sans', sans-serif; color: #1f2933; background: #fff; max-width: 1120px;
  margin: 32px auto; padding: 0 24px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 20px; margin: 44px 0 4px } h3 { font-size: 15px; margin: 22px 0 4px }
h3 small { font-weight: normal; color: #616e7c; font-size: 13px; margin-left: 6px }
p { margin: 4px 0 10px; max-width: 860px } .facts, .note { color: #52606d; font-size: 14px }
.panels { display: grid; grid-template-columns: 548px 548px; gap: 0 24px } svg { display: block }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; margin: 10px 0 }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap }
th { font-weight: 600; white-space: normal; vertical-align: bottom } th:first-child, td:first-child { text-align: left; padding-left: 6px }
tr.ours { background: #edf6ef } tr.ours td:first-child { font-weight: 600 }
.legend { font-size: 13px; display: flex; gap: 22px; margin: 6px 0 10px } .legend i { display: inline-block; width: 12px;
  height: 12px; margin-right: 6px; vertical-align: -1px } .legend i.round { border-radius: 6px }
code { font-size: 12.5px; color: #3e4c59; overflow-wrap: anywhere } dt { font-weight: 600; margin-top: 8px } dd { margin: 0 0 0 18px }
text { font: 12.5px system-ui, 'DejaVu Sans', sans-serif; fill: #1f2933 } text.axis { font-size: 11.5px; fill: #7b8794 }
text.our { font-weight: 600 } rect.ours { fill: #edf6ef }
.forwarder { fill: #3b6ea5; background: #3b6ea5 } .sender { fill: #e3a23c; background: #e3a23c }
.whole { fill: #4c9a6a; background: #4c9a6a } .damaged { fill: #c8553d; background: #c8553d }
.rate { fill: #6b7fa8; background: #6b7fa8 } .limit { fill: #a9b6d1; background: #a9b6d1 }
.ring { fill: #9fb8d4; background: #9fb8d4 }
line.grid { stroke: #e4e7eb } line.base { stroke: #9aa5b1 } line.range { stroke: #1f2933; stroke-width: 1.2 }
line.span { stroke: #9aa5b1; stroke-width: 3 } circle.from { fill: #3b6ea5 } circle.to { fill: #fff; stroke: #3b6ea5; stroke-width: 2 }
i.open { background: #fff; border: 2px solid #3b6ea5; width: 8px; height: 8px }
";

impl Run {
    /// The run as an HTML page.
    pub(crate) fn to_html(&self) -> String {
        let mut html = String::new();
        self.write_html(&mut html).expect("writing to a string does not fail");
        html
    }

    fn write_html(&self, out: &mut String) -> std::fmt::Result {
        let about = &self.circumstances;
        let started = escape(&about.started);
        writeln!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <title>tapferry: benchmark of {started}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <h1>What it costs to forward a frame</h1>\n\
             <p class=\"facts\">{started}, {} mode, rounds: {}; {}</p>",
            escape(&about.mode),
            about.rounds,
            escape(&about.machine.to_string()),
        )?;
        writeln!(
            out,
            "<p>From one TAP to another, or to a unix stream, each peer in each case right after the other. Figures \
             are medians of the rounds; ratios, marked ×, compare with {} in the same round, with {} where frames are \
             GSO frames, and with {} where they go to a stream. \
             Times are of this machine and this hour, ratios last longer, and below 1.3 they are noise. \
             {:.0} % of the samples were taken while nobody else used the machine.</p>",
            peers::REFERENCE,
            peers::GSO_REFERENCE,
            peers::STREAM_REFERENCE,
            self.summary.calm_share * 100.0
        )?;
        self.write_matrices(out)?;
        self.write_cpu_charts(out)?;
        self.write_throughput_charts(out)?;
        self.write_latency_chart(out)?;
        self.write_loss_free_charts(out)?;
        self.write_gso_and_memory(out)?;
        self.write_configurations(out)?;
        writeln!(out, "</body>\n</html>")
    }

    fn write_matrices(&self, out: &mut String) -> std::fmt::Result {
        let matrices = [self.matrix(), self.stream_matrix()];
        if matrices.iter().all(|matrix| matrix.rows.is_empty()) {
            return Ok(());
        }
        writeln!(
            out,
            "<h2>At a glance</h2>\n<p class=\"note\">Total CPU time a frame, and the rate without loss or the \
             throughput, as ratios. In brackets: more than 1 % of the frames were lost.</p>"
        )?;
        matrices
            .iter()
            .filter(|matrix| !matrix.rows.is_empty())
            .try_for_each(|matrix| write_matrix(out, matrix))
    }

    fn write_cpu_charts(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.cpu.is_empty() {
            return Ok(());
        }
        writeln!(out, "<h2>CPU time a frame</h2>")?;
        legend(
            out,
            &[
                ("forwarder", "the forwarder's, a frame that arrived"),
                ("sender", "what it adds to the sender, a frame sent"),
            ],
        )?;
        writeln!(out, "<div class=\"panels\">")?;
        for case in distinct(self.summary.cpu.iter().map(|row| &row.case)) {
            let rows: Vec<Bar> =
                self.summary.cpu.iter().filter(|row| row.case == case).map(cpu_bar).collect();
            let chart =
                charts::bars(&format!("CPU time a frame, {case}"), &rows, |ns| format!("{} µs", ns / 1e3));
            panel(out, &case, about(CPU_CASES.iter().chain(STREAM_CASES), &case), chart)?;
        }
        writeln!(out, "</div>")
    }

    fn write_throughput_charts(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.throughput.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "<h2>Throughput to a unix stream</h2>\n<p class=\"note\">What reaches a reader while frames are sent as \
             fast as the sender can, in bits of frames as they were sent. Sender and reader share a core: where \
             hardly anything is lost, they are the limit. The line is from the least to the most of the rounds.</p>"
        )?;
        writeln!(out, "<div class=\"panels\">")?;
        for case in distinct(self.summary.throughput.iter().map(|row| &row.case)) {
            let rows = self.summary.throughput.iter().filter(|row| row.case == case).map(|row| {
                let gbps = middle(row.gbps);
                let ratio = row.ratio.map(|ratio| format!(" · {:.2}×", ratio.median)).unwrap_or_default();
                Bar {
                    peer: row.peer.to_string(),
                    parts: vec![("rate", gbps, format!("{gbps:.2} Gb/s, {:.1} kpps", middle(row.kpps)))],
                    range: row.gbps.filter(|range| range.max > range.min).map(|range| (range.min, range.max)),
                    text: format!("{gbps:.1} Gb/s{ratio}{}", lost(row.lost_share)),
                }
            });
            let rows: Vec<Bar> = rows.collect();
            let chart = charts::bars(&format!("Throughput, {case}"), &rows, |gbps| format!("{gbps} G"));
            panel(out, &case, about(STREAM_CASES.iter(), &case), chart)?;
        }
        writeln!(out, "</div>")
    }

    fn write_latency_chart(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.latency.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "<h2>Latency</h2>\n<p class=\"note\">{}; from the send call into the hands of a guest that never \
             sleeps. Logarithmic.</p>",
            LATENCY_CASE.about
        )?;
        writeln!(
            out,
            "<div class=\"legend\"><span><i class=\"forwarder round\"></i>p50</span><span><i class=\"open round\"></i>p99</span><span>on the right: p50 / p99</span></div>"
        )?;
        let rows: Vec<Span> = self
            .summary
            .latency
            .iter()
            .map(|row| {
                let (from, to) = (middle(row.p50_us), middle(row.p99_us));
                let lost = lost(row.lost_share);
                Span {
                    peer: row.peer.to_string(),
                    from,
                    to,
                    text: format!("{} / {}{lost}", microseconds(from), microseconds(to)),
                }
            })
            .collect();
        writeln!(out, "{}", charts::spans("Latency, p50 and p99", &rows, power_of_ten))
    }

    fn write_loss_free_charts(&self, out: &mut String) -> std::fmt::Result {
        if self.summary.loss_free.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "<h2>Rate without loss</h2>\n<p class=\"note\">The highest rate at which every frame came out, and in \
             time, in thousands a second. The line is from the least to the most of the rounds.</p>"
        )?;
        legend(
            out,
            &[
                ("rate", "the forwarder's limit"),
                ("limit", "at least that: the sender could not send faster"),
            ],
        )?;
        writeln!(out, "<div class=\"panels\">")?;
        for case in distinct(self.summary.loss_free.iter().map(|row| &row.case)) {
            let rows = self.summary.loss_free.iter().filter(|row| row.case == case).map(|row| {
                let by_sender = row.sender_limit_share >= 0.5;
                let class = if by_sender { "limit" } else { "rate" };
                let kpps = middle(row.kpps);
                let at_least = if by_sender { "≥ " } else { "" };
                let ratio = row.ratio.map(|ratio| format!(" · {:.2}×", ratio.median)).unwrap_or_default();
                Bar {
                    peer: row.peer.to_string(),
                    parts: vec![(class, kpps, format!("{kpps:.1} kpps"))],
                    range: row.kpps.filter(|range| range.max > range.min).map(|range| (range.min, range.max)),
                    text: format!("{at_least}{kpps:.0} kpps{ratio}"),
                }
            });
            let rows: Vec<Bar> = rows.collect();
            let chart =
                charts::bars(&format!("Rate without loss, {case}"), &rows, |kpps| format!("{kpps:.0} k"));
            panel(out, &case, about(LOSS_FREE_CASES.iter(), &case), chart)?;
        }
        writeln!(out, "</div>")
    }

    fn write_gso_and_memory(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "<div class=\"panels\">")?;
        if !self.summary.gso.is_empty() {
            writeln!(out, "<section><h2>64 KiB GSO frames</h2>")?;
            legend(out, &[("whole", "arrived as sent"), ("damaged", "arrived damaged")])?;
            let rows = self.summary.gso.iter().map(|row| {
                let [whole, damaged] = [row.whole_share, row.damaged_share].map(|share| share * 100.0);
                let ended = row.ended.as_ref().map_or("", |_| " · ends by itself");
                Bar {
                    peer: row.peer.to_string(),
                    parts: vec![
                        ("whole", whole, format!("{whole:.2} % whole")),
                        ("damaged", damaged, format!("{damaged:.2} % damaged")),
                    ],
                    range: None,
                    text: format!("{}{ended}", percent(row.whole_share)),
                }
            });
            let rows: Vec<Bar> = rows.collect();
            let chart = charts::bars("GSO frames that arrived whole", &rows, |share| format!("{share:.0} %"));
            writeln!(out, "{chart}</section>")?;
        }
        if !self.summary.idle.is_empty() {
            writeln!(out, "<section><h2>Memory, at most</h2>")?;
            legend(out, &[("forwarder", "resident"), ("ring", "capture ring")])?;
            let rows = self.summary.idle.iter().map(|row| {
                let memory = row.memory.max(row.busy_memory);
                let [resident, ring] =
                    [memory.resident_kib, memory.ring_kib].map(|kib| crate::figures::float(kib) / 1024.0);
                Bar {
                    peer: row.peer.to_string(),
                    parts: vec![
                        ("forwarder", resident, format!("{resident:.1} MiB resident")),
                        ("ring", ring, format!("{ring:.1} MiB of ring")),
                    ],
                    range: None,
                    text: format!("{:.1} MiB", resident + ring),
                }
            });
            let rows: Vec<Bar> = rows.collect();
            let chart = charts::bars("Memory", &rows, |mebibytes| format!("{mebibytes:.0} MiB"));
            writeln!(out, "{chart}</section>")?;
        }
        writeln!(out, "</div>")
    }

    fn write_configurations(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "<h2>Peers</h2>\n<dl>")?;
        for peer in &self.peers {
            let version = peer.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
            write!(out, "<dt>{}{}</dt><dd>{}", escape(&peer.name), escape(&version), escape(&peer.about))?;
            for command in &peer.commands {
                write!(out, "<br><code>{}</code>", escape(command))?;
            }
            writeln!(out, "</dd>")?;
        }
        for absent in &self.absent {
            writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(&absent.name), escape(&absent.reason))?;
        }
        writeln!(out, "</dl>")
    }
}

fn write_matrix(out: &mut String, matrix: &Matrix) -> std::fmt::Result {
    write!(out, "<table>\n<tr><th>peer</th>")?;
    for column in &matrix.columns {
        write!(out, "<th>{}</th>", escape(column))?;
    }
    writeln!(out, "</tr>")?;
    for (peer, cells) in &matrix.rows {
        let class = if peers::OURS.contains(&peer.as_str()) { " class=\"ours\"" } else { "" };
        write!(out, "<tr{class}><td>{}</td>", escape(peer))?;
        for cell in cells {
            write!(out, "<td>{}</td>", escape(cell))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table>")
}

fn cpu_bar(row: &CpuRow) -> Bar {
    let (forwarder, sender) = (middle(row.forwarder_ns), middle(row.surplus_ns));
    let text = match (row.total_ns, row.total_ratio) {
        (Some(total), ratio) => {
            let ratio = ratio.map(|ratio| format!(" · {:.2}×", ratio.median)).unwrap_or_default();
            format!("{}{ratio}{}", nanoseconds(total.median), lost(row.lost_share))
        }
        (None, _) if row.ended.is_some() => "nothing arrives: it ends by itself".to_owned(),
        (None, _) => "nothing arrives".to_owned(),
    };
    // What a peer costs that forwards nothing is no bar among those that do.
    let parts = if row.total_ns.is_some() {
        vec![
            ("forwarder", forwarder, format!("forwarder: {}", nanoseconds(forwarder))),
            ("sender", sender, format!("sender: {}", nanoseconds(sender))),
        ]
    } else {
        Vec::new()
    };
    Bar { peer: row.peer.to_string(), parts, range: None, text }
}

fn panel(out: &mut String, title: &str, about: &str, chart: impl Display) -> std::fmt::Result {
    writeln!(out, "<section><h3>{}<small>{}</small></h3>\n{chart}</section>", escape(title), escape(about))
}

fn legend(out: &mut String, entries: &[(&str, &str)]) -> std::fmt::Result {
    write!(out, "<div class=\"legend\">")?;
    for (class, text) in entries {
        write!(out, "<span><i class=\"{class}\"></i>{}</span>", escape(text))?;
    }
    writeln!(out, "</div>")
}

/// What a case of that name is, where this program still has it.
fn about(mut cases: impl Iterator<Item = &'static Case>, name: &str) -> &'static str {
    cases.find(|case| case.name == name).map_or("", |case| case.about)
}

fn middle(spread: Option<Spread>) -> f64 {
    spread.map_or(0.0, |spread| spread.median)
}

fn lost(share: f64) -> String {
    if share == 0.0 { String::new() } else { format!(" · {} lost", percent(share)) }
}

/// Not rounded to all or nothing when it is neither.
fn percent(share: f64) -> String {
    match share * 100.0 {
        part if part > 0.0 && part < 0.1 => "< 0.1 %".to_owned(),
        part if part > 99.9 && part < 100.0 => "> 99.9 %".to_owned(),
        part if part.fract() == 0.0 => format!("{part:.0} %"),
        part => format!("{part:.1} %"),
    }
}

fn nanoseconds(value: f64) -> String {
    if value < 10_000.0 { format!("{value:.0} ns") } else { microseconds(value / 1e3) }
}

/// Microseconds on a logarithmic axis.
fn power_of_ten(value: f64) -> String {
    match value {
        value if value < 1e3 => format!("{value} µs"),
        value if value < 1e6 => format!("{} ms", value / 1e3),
        value => format!("{} s", value / 1e6),
    }
}

fn microseconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.1} µs"),
        value if value < 1e3 => format!("{value:.0} µs"),
        value if value < 1e4 => format!("{:.1} ms", value / 1e3),
        value if value < 1e6 => format!("{:.0} ms", value / 1e3),
        value => format!("{:.1} s", value / 1e6),
    }
}
