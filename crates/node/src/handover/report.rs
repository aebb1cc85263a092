//! What a handover counted, as JavaScript reads it.

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use tapferry_handover::report::{Entered, SLICE_NS, Timeline};
use tapferry_handover::{DestinationReport, SourceReport};

use crate::gate::GateName;
use crate::statistics::number;

/// A state that was entered.
#[napi(object, object_from_js = false)]
pub struct HandoverState {
    /// Its name.
    pub state: &'static str,
    /// When: CLOCK_REALTIME of this host, nanoseconds since 1970.
    pub time_ns: BigInt,
}

/// Frames in one slice of time.
#[napi(object, object_from_js = false)]
pub struct HandoverSlice {
    /// When it began: CLOCK_REALTIME of this host, nanoseconds since 1970.
    pub time_ns: BigInt,
    /// Source: captured from the cut on. Destination: come from the source.
    pub came: u32,
    /// Source: sent. Destination: injected.
    pub went: u32,
    /// Destination: reached the TAP by themselves.
    pub direct: u32,
    /// Destination: dropped, because they had reached the TAP by themselves.
    pub deduplicated: u32,
}

/// Frames over time; slices in which nothing happened are left out.
#[napi(object, object_from_js = false)]
pub struct HandoverTimeline {
    /// Length of a slice.
    pub slice_ms: f64,
    /// In order.
    pub slices: Vec<HandoverSlice>,
}

/// One netdev at the source: from the cut on, `captured = sent + held + dropped`.
#[napi(object, object_from_js = false)]
pub struct HandoverSourceReport {
    /// `pending`, `done`, `cancelled`, `failed` or `stopped`.
    pub outcome: &'static str,
    /// Why, where it is not done.
    pub reason: Option<String>,
    /// In order.
    pub states: Vec<HandoverState>,
    /// Frames captured from the cut on, and those the kernel had no room for.
    pub captured: f64,
    /// Of these, how many the destination was sent.
    pub sent: f64,
    /// Of these, how many it has dealt with.
    pub acknowledged: f64,
    /// Still here.
    pub held: f64,
    /// Dropped: the hold was full.
    pub hold_full: f64,
    /// Dropped: the kernel had no room.
    pub ring_full: f64,
    /// Dropped: no Ethernet frames, captured in part, or too long.
    pub unsendable: f64,
    /// Dropped: the guest itself sent them, at its new place.
    pub reflected: f64,
    /// Dropped: there was no destination.
    pub no_peer: f64,
    /// Dropped: the migration was cancelled, and the guest has them.
    pub discarded: f64,
    /// Given back to the guest after a cancelled migration.
    pub given_back: f64,
    /// What told which frames to give back.
    pub give_back_basis: Option<&'static str>,
    /// How the cut was found.
    pub cut_method: Option<&'static str>,
    /// Why by no better way.
    pub cut_reason: Option<String>,
    /// Milliseconds from the stop to the cut.
    pub cut_after_ms: Option<f64>,
    /// When the VM stopped.
    pub stopped_ns: Option<BigInt>,
    /// When the destination's VM ran, on this host's clock as far as it is known.
    pub resumed_ns: Option<BigInt>,
    /// When the guest's announcement of its new place (RARP) first came back to this host.
    pub announced_ns: Option<BigInt>,
    /// How often the link was lost.
    pub links_lost: f64,
    /// Half of the shortest round trip.
    pub link_delay_ms: Option<f64>,
    /// The destination's clock minus ours.
    pub clock_offset_ms: Option<f64>,
    /// Whether the TAP was held.
    pub tap_held: bool,
    /// Frames over time.
    pub timeline: HandoverTimeline,
}

/// One netdev at the destination: `received = injected + deduplicated + parked + dropped`.
#[napi(object, object_from_js = false)]
pub struct HandoverDestinationReport {
    /// `pending`, `done`, `cancelled`, `failed` or `stopped`.
    pub outcome: &'static str,
    /// Why, where it is not done.
    pub reason: Option<String>,
    /// In order.
    pub states: Vec<HandoverState>,
    /// Frames that came from the source, each once.
    pub received: f64,
    /// Given to the guest's TAP.
    pub injected: f64,
    /// Dropped: they had reached the TAP by themselves.
    pub deduplicated: f64,
    /// Still here.
    pub parked: f64,
    /// The most that was here at once.
    pub parked_most: f64,
    /// Dropped: from before the final cut.
    pub before_cut: f64,
    /// Dropped: the interface did not take them.
    pub refused: f64,
    /// Dropped: the migration was cancelled.
    pub discarded: f64,
    /// Kept from the guest while the gate was closed.
    pub kept_out: f64,
    /// Reached the TAP by themselves once the gate was open.
    pub direct: f64,
    /// Growth of the TAP's tx_dropped, whoever sent.
    pub lost_at_tap: f64,
    /// By what there was a gate.
    pub gate: Option<GateName>,
    /// When the gate was opened.
    pub opened_ns: Option<BigInt>,
    /// When the source's VM stopped, on this host's clock as far as it is known.
    pub stopped_ns: Option<BigInt>,
    /// When the final cut was known.
    pub cut_ns: Option<BigInt>,
    /// When the VM ran.
    pub resumed_ns: Option<BigInt>,
    /// From the stop until a frame was injected: the longest.
    pub delay_most_ms: f64,
    /// Their mean; absent where none was injected.
    pub delay_mean_ms: Option<f64>,
    /// How often the link was lost.
    pub links_lost: f64,
    /// The source's clock minus ours.
    pub clock_offset_ms: Option<f64>,
    /// Frames over time.
    pub timeline: HandoverTimeline,
}

impl From<SourceReport> for HandoverSourceReport {
    fn from(report: SourceReport) -> Self {
        Self {
            outcome: report.outcome.name(),
            reason: report.reason,
            states: states(&report.states),
            captured: number(report.captured),
            sent: number(report.sent),
            acknowledged: number(report.acknowledged),
            held: number(report.held),
            hold_full: number(report.hold_full),
            ring_full: number(report.ring_full),
            unsendable: number(report.unsendable),
            reflected: number(report.reflected),
            no_peer: number(report.no_peer),
            discarded: number(report.discarded),
            given_back: number(report.given_back),
            give_back_basis: report.give_back_basis,
            cut_method: report.cut_method,
            cut_reason: report.cut_reason,
            cut_after_ms: report.cut_after_ns.map(milliseconds),
            stopped_ns: report.stopped_ns.map(Into::into),
            resumed_ns: report.resumed_ns.map(Into::into),
            announced_ns: report.announced_ns.map(Into::into),
            links_lost: number(report.links_lost),
            link_delay_ms: report.link_delay_ns.map(milliseconds),
            clock_offset_ms: report.clock_offset_ns.map(signed_milliseconds),
            tap_held: report.tap_held,
            timeline: report.timeline.into(),
        }
    }
}

impl From<DestinationReport> for HandoverDestinationReport {
    fn from(report: DestinationReport) -> Self {
        Self {
            outcome: report.outcome.name(),
            reason: report.reason,
            states: states(&report.states),
            received: number(report.received),
            injected: number(report.injected),
            deduplicated: number(report.deduplicated),
            parked: number(report.parked),
            parked_most: number(report.parked_most),
            before_cut: number(report.before_cut),
            refused: number(report.refused),
            discarded: number(report.discarded),
            kept_out: number(report.kept_out),
            direct: number(report.direct),
            lost_at_tap: number(report.lost_at_tap),
            gate: report.gate.map(Into::into),
            opened_ns: report.opened_ns.map(Into::into),
            stopped_ns: report.stopped_ns.map(Into::into),
            cut_ns: report.cut_ns.map(Into::into),
            resumed_ns: report.resumed_ns.map(Into::into),
            delay_most_ms: milliseconds(report.delay_most_ns),
            delay_mean_ms: report.delay_sum_ns.checked_div(report.injected).map(milliseconds),
            links_lost: number(report.links_lost),
            clock_offset_ms: report.clock_offset_ns.map(signed_milliseconds),
            timeline: report.timeline.into(),
        }
    }
}

impl From<Timeline> for HandoverTimeline {
    fn from(timeline: Timeline) -> Self {
        let slices = timeline.slices().iter().map(|slice| HandoverSlice {
            time_ns: (slice.number * SLICE_NS).into(),
            came: slice.came,
            went: slice.went,
            direct: slice.direct,
            deduplicated: slice.deduplicated,
        });
        Self { slice_ms: milliseconds(SLICE_NS), slices: slices.collect() }
    }
}

fn states(entered: &[Entered]) -> Vec<HandoverState> {
    entered.iter().map(|entry| HandoverState { state: entry.state, time_ns: entry.at_ns.into() }).collect()
}

/// To the microsecond, which is what clocks of two hosts are worth.
pub(crate) fn milliseconds(nanoseconds: u64) -> f64 {
    number(nanoseconds / 1_000) / 1_000.0
}

pub(crate) fn signed_milliseconds(nanoseconds: i64) -> f64 {
    milliseconds(nanoseconds.unsigned_abs()).copysign(if nanoseconds < 0 { -1.0 } else { 1.0 })
}
