//! What a redirector counts, as numbers of JavaScript.

use std::collections::BTreeMap;

use napi_derive::napi;
use tapferry_redirect::counters::Engine;
use tapferry_redirect::{End, Plan};

/// A snapshot: `captured = forwarded + the sum of dropped + held`, exactly.
#[napi(object, object_from_js = false)]
pub struct Statistics {
    /// Interface captured from.
    pub in_netdev: Option<String>,
    /// Stream read.
    pub indev: Option<String>,
    /// Interface injected into.
    pub out_netdev: Option<String>,
    /// Stream written.
    pub outdev: Option<String>,
    /// `open` or `closed`.
    pub gate: &'static str,
    /// `status=on|off`.
    pub status: bool,
    /// Whether the VM runs, as far as is known.
    pub running: bool,
    /// How frames are captured at this moment: `ring`, `socket`, `stream` (not captured, but read) or
    /// `closed`.
    pub engine: &'static str,
    /// Frames taken from the capture, and those the kernel had no room for.
    pub captured: f64,
    /// Bytes of the frames taken from the capture.
    pub captured_bytes: f64,
    /// Frames that the output took.
    pub forwarded: f64,
    /// Their bytes.
    pub forwarded_bytes: f64,
    /// Forwarded before it was known that the gate had closed; part of `forwarded`.
    pub forwarded_late: f64,
    /// Frames that wait: in the pre-roll, on hold, or for the output.
    pub held: f64,
    /// Their bytes.
    pub held_bytes: f64,
    /// Frames dropped, by reason; every reason is there.
    pub dropped: BTreeMap<String, f64>,
    /// Growth of the output's tx_dropped since the start, whoever sent; outside the sum.
    pub lost_at_output: f64,
    /// Outages of the input, one still going on included.
    pub input_outages: f64,
    /// Outages of the output, one still going on included.
    pub output_outages: f64,
    /// Their length in milliseconds.
    pub input_outage_ms: f64,
    /// Their length in milliseconds.
    pub output_outage_ms: f64,
    /// Connections of indev closed because what the peer sent was no stream of frames.
    pub framing_errors: f64,
    /// Connections that TLS refused, here or at the peer, or that broke its rules.
    pub tls_failures: f64,
    /// Events that were not delivered because JavaScript was too busy to take them.
    pub events_lost: f64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What the two ends are called.
pub(crate) struct EndNames {
    in_netdev: Option<String>,
    indev: Option<String>,
    out_netdev: Option<String>,
    outdev: Option<String>,
}

impl EndNames {
    pub(crate) fn of(plan: &Plan) -> Self {
        let (in_netdev, indev) = names(&plan.input);
        let (out_netdev, outdev) = names(&plan.output);
        Self { in_netdev, indev, out_netdev, outdev }
    }
}

/// The name of an end, as an interface or as a stream.
fn names(end: &End) -> (Option<String>, Option<String>) {
    match end {
        End::Netdev(netdev) => (Some(netdev.to_string()), None),
        End::Stream(stream) => (None, Some(stream.address.to_string())),
        End::Datagram(datagrams) => (None, Some(datagrams.to_string())),
    }
}

impl Statistics {
    pub(crate) fn of(statistics: &tapferry_redirect::Statistics, ends: &EndNames, events_lost: u64) -> Self {
        let counters = &statistics.counters;
        Self {
            in_netdev: ends.in_netdev.clone(),
            indev: ends.indev.clone(),
            out_netdev: ends.out_netdev.clone(),
            outdev: ends.outdev.clone(),
            gate: if statistics.gate_open { "open" } else { "closed" },
            status: statistics.status,
            running: statistics.running,
            engine: match statistics.engine {
                Engine::Ring => "ring",
                Engine::Socket => "socket",
                Engine::Stream => "stream",
                Engine::Closed => "closed",
            },
            captured: number(counters.captured),
            captured_bytes: number(counters.captured_bytes),
            forwarded: number(counters.forwarded),
            forwarded_bytes: number(counters.forwarded_bytes),
            forwarded_late: number(counters.forwarded_late),
            held: number(counters.held),
            held_bytes: number(counters.held_bytes),
            dropped: counters
                .dropped
                .iter()
                .map(|(reason, frames)| (reason.name().to_owned(), number(frames)))
                .collect(),
            lost_at_output: number(statistics.lost_at_output),
            input_outages: number(statistics.input_outages.count),
            output_outages: number(statistics.output_outages.count),
            input_outage_ms: milliseconds(statistics.input_outages.total_ns),
            output_outage_ms: milliseconds(statistics.output_outages.total_ns),
            framing_errors: number(statistics.framing_errors),
            tls_failures: number(statistics.tls_failures),
            events_lost: number(events_lost),
            last_error: statistics.last_error.clone(),
        }
    }
}

/// Exact up to 2^53: at a million frames a second that is 285 years.
#[expect(clippy::cast_precision_loss, reason = "JavaScript has no other number that JSON can write")]
pub(crate) fn number(value: u64) -> f64 {
    value as f64
}

fn milliseconds(nanoseconds: u64) -> f64 {
    number(nanoseconds / 1_000_000)
}
