//! Ours, with each way to capture.

use std::any::Any;

use tapferry_redirect::{EventKind, Latency, Plan, Redirector};

use super::{Joins, Peer, SHORTLY, Way};
use crate::error::{Context, Result};

pub(crate) const BALANCED: Peer = Peer {
    name: "balanced",
    about: "tapferry --latency=balanced: a TPACKET_V3 ring while frames come fast, else as low",
    way: Way::Child(start_balanced),
    joins: Joins::All,
    holds: SHORTLY,
};

pub(crate) const LOW: Peer = Peer {
    name: "low",
    about: "tapferry --latency=low: recvmmsg and sendmmsg",
    way: Way::Child(start_low),
    joins: Joins::All,
    holds: SHORTLY,
};

fn start_balanced(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(input, output, Latency::Balanced)
}

fn start_low(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(input, output, Latency::Low)
}

fn start(input: &str, output: &str, latency: Latency) -> Result<Box<dyn Any>> {
    let plan = Plan::new(input, output).on("naming", "an interface")?;
    let observer = |event: tapferry_redirect::Event| {
        if matches!(event.kind, EventKind::Warning | EventKind::Failed) {
            eprintln!("tapferry: {}", event.message);
        }
    };
    let redirector = Redirector::start(Plan { latency, ..plan }, Box::new(observer))
        .on("starting a redirector", format_args!("{input} -> {output}"))?;
    Ok(Box::new(redirector))
}
