//! Ours, with each way to capture, and to write to a stream.

use std::any::Any;
use std::path::PathBuf;

use tapferry_redirect::{Address, End, EventKind, Latency, Netdev, Plan, Redirector, StreamPlan};

use super::{Joins, Peer, SHORTLY, Way};
use crate::error::{Context, Result};
use crate::stream::Framing;

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

pub(crate) const BALANCED_TO_STREAM: Peer = Peer {
    name: "balanced-stream",
    about: "as balanced, to a stream with --vnet-hdr-support=off: GSO frames are cut up",
    way: Way::Child(start_balanced_to_stream),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

pub(crate) const LOW_TO_STREAM: Peer = Peer {
    name: "low-stream",
    about: "as low, to the same",
    way: Way::Child(start_low_to_stream),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

pub(crate) const BALANCED_TO_STREAM_WITH_VNET_HEADER: Peer = Peer {
    name: "balanced-stream+vnet",
    about: "as balanced, to a stream with --vnet-hdr-support=on: GSO frames stay whole",
    way: Way::Child(start_balanced_to_stream_with_vnet_header),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: true }),
    holds: SHORTLY,
};

pub(crate) const LOW_TO_STREAM_WITH_VNET_HEADER: Peer = Peer {
    name: "low-stream+vnet",
    about: "as low, to the same",
    way: Way::Child(start_low_to_stream_with_vnet_header),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: true }),
    holds: SHORTLY,
};

fn start_balanced(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(between_taps(input, output)?, Latency::Balanced)
}

fn start_low(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(between_taps(input, output)?, Latency::Low)
}

fn start_balanced_to_stream(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(to_stream(input, at(output), false, None)?, Latency::Balanced)
}

fn start_low_to_stream(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(to_stream(input, at(output), false, None)?, Latency::Low)
}

fn start_balanced_to_stream_with_vnet_header(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(to_stream(input, at(output), true, None)?, Latency::Balanced)
}

fn start_low_to_stream_with_vnet_header(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(to_stream(input, at(output), true, None)?, Latency::Low)
}

fn between_taps(input: &str, output: &str) -> Result<Plan> {
    Plan::new(input, output).on("naming", "an interface")
}

fn at(path: &str) -> Address {
    Address::Unix { path: path.into(), server: false }
}

pub(super) fn to_stream(
    input: &str,
    address: Address,
    vnet_hdr: bool,
    tls_creds: Option<PathBuf>,
) -> Result<Plan> {
    let netdev = Netdev::here(input).on("naming", input)?;
    let stream = StreamPlan { address, vnet_hdr, vnet_hdr_len: None, namespace: None, tls_creds };
    Ok(Plan::between(End::Netdev(netdev), End::Stream(stream)))
}

pub(super) fn start(plan: Plan, latency: Latency) -> Result<Box<dyn Any>> {
    let what = format!("{} -> {}", plan.input, plan.output);
    let observer = |event: tapferry_redirect::Event| {
        if matches!(event.kind, EventKind::Warning | EventKind::Failed) {
            eprintln!("tapferry: {}", event.message);
        }
    };
    let redirector =
        Redirector::start(Plan { latency, ..plan }, Box::new(observer)).on("starting a redirector", what)?;
    Ok(Box::new(redirector))
}
