//! A run as it is kept, and its forms.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`summary`] | samples to ratios |
//! | [`markdown`] | tables |
//! | [`page`] | a page with plots |
//! | [`charts`] | the kinds of plot |
//! | [`svg`] | what plots are drawn with |

mod charts;
mod markdown;
mod page;
mod summary;
mod svg;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::lineup::{Absent, Present};
use crate::machine::Facts;
use crate::measure::{CpuSample, GsoSample, IdleSample, LatencySample, LossFreeSample, ThroughputSample};
use summary::{Name, Summary};

/// What [`Run::format`] says now.
const FORMAT: u32 = 2;

/// A whole run, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Of this form: [`FORMAT`].
    format: u32,
    pub(crate) circumstances: Circumstances,
    /// The peers that took part.
    peers: Vec<Present>,
    /// Those that did not.
    absent: Vec<Absent>,
    summary: Summary,
    /// Not read again: the summary says what they say.
    #[serde(skip_deserializing)]
    samples: Samples,
}

/// When, how and on what a run was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Circumstances {
    /// UTC, as in ISO 8601.
    pub(crate) started: String,
    pub(crate) mode: Name,
    pub(crate) rounds: u32,
    pub(crate) machine: Facts,
    pub(crate) load_averages_before: String,
    pub(crate) load_averages_after: String,
    /// Measurements of all peers in a case that were disturbed by others and done again.
    pub(crate) repeated: u32,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Samples {
    pub(crate) cpu: Vec<CpuSample>,
    pub(crate) latency: Vec<LatencySample>,
    pub(crate) loss_free: Vec<LossFreeSample>,
    pub(crate) throughput: Vec<ThroughputSample>,
    pub(crate) gso: Vec<GsoSample>,
    pub(crate) idle: Vec<IdleSample>,
}

impl Run {
    pub(crate) fn new(
        circumstances: Circumstances,
        peers: Vec<Present>,
        absent: Vec<Absent>,
        samples: Samples,
    ) -> Self {
        Self { format: FORMAT, circumstances, peers, absent, summary: samples.summarize(), samples }
    }

    /// A kept run.
    pub(crate) fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_str(json).on("reading", "a run")?;
        if format != FORMAT {
            return Err(Error::new(format!("the run is of form {format}, and only {FORMAT} can be drawn")));
        }
        serde_json::from_str(json).on("reading", "a run")
    }

    /// The run with every sample.
    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).on("writing", "the run as JSON")? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarder::Memory;
    use crate::measure::Background;

    fn run() -> Run {
        let circumstances = Circumstances {
            started: "2026-01-02T03:04Z".to_owned(),
            mode: "full".into(),
            rounds: 1,
            machine: Facts::default(),
            load_averages_before: String::new(),
            load_averages_after: String::new(),
            repeated: 0,
        };
        let present = |name: &str| Present {
            name: name.to_owned(),
            about: "<about>".to_owned(),
            version: None,
            commands: Vec::new(),
        };
        let cpu = |peer, forwarder_ns, sender_ns| CpuSample {
            round: 1,
            case: "64-burst",
            peer,
            frames: 1_000,
            lost: 0,
            lost_at_output: 0,
            forwarder_ns: Some(forwarder_ns),
            sender_ns,
            memory: Memory::default(),
            ended: None,
            background: Background::default(),
        };
        let cpu =
            vec![cpu("none", 0.0, 1_000.0), cpu("seed", 3_000.0, 2_000.0), cpu("low", 1_500.0, 1_500.0)];
        let absent = vec![Absent { name: "socat".to_owned(), reason: "not installed".to_owned() }];
        let samples = Samples { cpu, ..Samples::default() };
        Run::new(circumstances, vec![present("seed"), present("low")], absent, samples)
    }

    #[test]
    fn a_ratio_compares_totals_with_the_senders_own_cost_taken_away() {
        let markdown = run().to_markdown();
        assert!(markdown.contains("| low  | 0.50     |"), "{markdown}");
        assert!(markdown.contains("- **socat**: not installed"), "{markdown}");
    }

    #[test]
    fn throughput_is_of_what_arrived() {
        let sample = |peer, rate| ThroughputSample {
            round: 1,
            case: "stream-1514",
            peer,
            frames: 400,
            lost: 100,
            records: Some(300),
            sent_rate: 4_000.0,
            rate,
            bits_per_s: rate * 12_112.0,
            forwarder_cores: 0.5,
            background: Background::default(),
        };
        let throughput = vec![sample("filter-mirror", 1_000.0), sample("low-stream", 2_500.0)];
        let run = Run { summary: Samples { throughput, ..Samples::default() }.summarize(), ..run() };
        let markdown = run.to_markdown();
        assert!(
            markdown.contains("| stream-1514 | low-stream    | 2.50 [2.50 .. 2.50] | 0.03"),
            "{markdown}"
        );
        assert!(markdown.contains("| 25.00 % | 0.50             | 1.0             |"), "{markdown}");
    }

    #[test]
    fn a_kept_run_is_drawn_as_it_was() {
        let run = run();
        let again = Run::from_json(&run.to_json().unwrap()).unwrap();
        assert_eq!(again.to_html(), run.to_html());
        assert!(Run::from_json(r#"{"format": 1}"#).unwrap_err().to_string().contains("form 1"));
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let html = run().to_html();
        for foreign in ["<script", "http", "url(", "<about>"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }
}
