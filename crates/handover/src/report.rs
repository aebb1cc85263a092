//! What happened in a handover, in numbers: the report is made of it, on either side.

use tapferry_sys::egress_gate::GateKind;

/// How a handover ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It has not.
    #[default]
    Pending,
    /// The guest runs at the destination, and has been given what came for it.
    Done,
    /// The migration was cancelled or failed: the guest runs on at the source.
    Cancelled,
    /// It ended otherwise; the report says how.
    Failed,
    /// It was told to stop before there was anything to hand over.
    Stopped,
}

impl Outcome {
    /// The stable name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A state that was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// Its stable name.
    pub state: &'static str,
    /// When: CLOCK_REALTIME of this host, nanoseconds since 1970.
    pub at_ns: u64,
}

/// Frames in one slice of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its place in time, counted in slices of [`SLICE_NS`] since 1970.
    pub number: u64,
    /// Source: captured from the cut on. Destination: come from the source.
    pub came: u32,
    /// Source: sent to the destination. Destination: injected.
    pub went: u32,
    /// Destination: reached the TAP by themselves.
    pub direct: u32,
    /// Destination: dropped, because they had reached the TAP by themselves.
    pub deduplicated: u32,
}

/// Length of a slice of the timeline.
pub const SLICE_NS: u64 = 5_000_000;
/// Slices of one timeline at most: a minute's worth of time in which something happened.
pub const MAX_SLICES: usize = 12_000;

/// Frames over time. Slices in which nothing happened are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline(Vec<Slice>);

impl Timeline {
    /// The slices, in order.
    pub fn slices(&self) -> &[Slice] {
        &self.0
    }

    /// The slice of a moment (nanoseconds since 1970), for counting; `None` when there are too many already.
    pub(crate) fn at(&mut self, moment: u64) -> Option<&mut Slice> {
        let number = moment / SLICE_NS;
        let place = self.0.partition_point(|slice| slice.number < number);
        if self.0.get(place).is_none_or(|slice| slice.number != number) {
            if self.0.len() >= MAX_SLICES {
                return None;
            }
            self.0.insert(place, Slice { number, ..Slice::default() });
        }
        self.0.get_mut(place)
    }
}

/// What the source counted. From the cut on, `captured = sent + held + dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it is not done.
    pub reason: Option<String>,
    /// The states in order.
    pub states: Vec<Entered>,
    /// Frames captured from the cut on, and those the kernel had no room for.
    pub captured: u64,
    /// Of these, how many the destination was sent; each counts once, however often the link was lost.
    pub sent: u64,
    /// Of these, how many the destination has dealt with.
    pub acknowledged: u64,
    /// Still here.
    pub held: u64,
    /// Dropped because `max_hold` was reached.
    pub hold_full: u64,
    /// Dropped because the kernel had no room for them.
    pub ring_full: u64,
    /// Dropped because they are no Ethernet frames, were captured in part, or are longer than 69632 bytes.
    pub unsendable: u64,
    /// Dropped because the guest itself sent them, at its new place: the network floods them back to where it was.
    pub reflected: u64,
    /// Dropped at the end: the destination was not there, or was another process that did not know them.
    pub no_peer: u64,
    /// Dropped because the migration was cancelled: the guest has them at the source.
    pub discarded: u64,
    /// Frames given back to the guest after a cancelled migration.
    pub given_back: u64,
    /// What told which frames to give back, by its stable name.
    pub give_back_basis: Option<&'static str>,
    /// How the cut was found, by its stable name.
    pub cut_method: Option<&'static str>,
    /// Why by no better way.
    pub cut_reason: Option<String>,
    /// From the stop to the cut, in nanoseconds.
    pub cut_after_ns: Option<u64>,
    /// When the VM stopped (nanoseconds since 1970).
    pub stopped_ns: Option<u64>,
    /// When the destination's VM ran, on this host's clock as far as it is known.
    pub resumed_ns: Option<u64>,
    /// When the guest's announcement of its new place (RARP) first came back to this host (nanoseconds since 1970).
    pub announced_ns: Option<u64>,
    /// How often the link was lost.
    pub links_lost: u64,
    /// Half of the shortest round trip to the destination, in nanoseconds.
    pub link_delay_ns: Option<u64>,
    /// The destination's clock minus ours, in nanoseconds.
    pub clock_offset_ns: Option<i64>,
    /// Whether the TAP was held, so that frames are captured although QEMU has quit.
    pub tap_held: bool,
    /// Frames over time.
    pub timeline: Timeline,
}

impl SourceReport {
    /// Whether every frame from the cut on is accounted for.
    pub fn balance(&self) -> bool {
        let Self { hold_full, ring_full, unsendable, reflected, no_peer, discarded, .. } = self;
        let dropped = hold_full + ring_full + unsendable + reflected + no_peer + discarded;
        self.captured == self.sent + self.held + dropped
    }
}

/// What the destination counted: `received = injected + deduplicated + parked + dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it is not done.
    pub reason: Option<String>,
    /// The states in order.
    pub states: Vec<Entered>,
    /// Frames that came from the source, each once.
    pub received: u64,
    /// Frames given to the guest's TAP.
    pub injected: u64,
    /// Dropped because they had reached the TAP by themselves.
    pub deduplicated: u64,
    /// Still here.
    pub parked: u64,
    /// The most that was here at once.
    pub parked_most: u64,
    /// Dropped because the guest had them before it stopped: from before the final cut.
    pub before_cut: u64,
    /// Dropped because the interface did not take them.
    pub refused: u64,
    /// Dropped because the migration was cancelled.
    pub discarded: u64,
    /// Frames that the network delivered to this host while the gate was closed, and that were kept from the guest.
    pub kept_out: u64,
    /// Frames that reached the TAP by themselves once the gate was open.
    pub direct: u64,
    /// Growth of the TAP's tx_dropped, whoever sent.
    pub lost_at_tap: u64,
    /// By what there was a gate.
    pub gate: Option<GateKind>,
    /// When the gate was opened (nanoseconds since 1970).
    pub opened_ns: Option<u64>,
    /// When the source's VM stopped, on this host's clock as far as it is known.
    pub stopped_ns: Option<u64>,
    /// When the final cut was known (nanoseconds since 1970).
    pub cut_ns: Option<u64>,
    /// When the VM ran (nanoseconds since 1970).
    pub resumed_ns: Option<u64>,
    /// From when a frame was captured at the source until it was injected, in nanoseconds: the longest.
    pub delay_most_ns: u64,
    /// The sum of all such delays, for their mean.
    pub delay_sum_ns: u64,
    /// How often the link was lost.
    pub links_lost: u64,
    /// The source's clock minus ours, in nanoseconds.
    pub clock_offset_ns: Option<i64>,
    /// Frames over time.
    pub timeline: Timeline,
}

impl DestinationReport {
    /// Whether every frame that came is accounted for.
    pub fn balance(&self) -> bool {
        let dropped = self.before_cut + self.refused + self.discarded;
        self.received == self.injected + self.deduplicated + self.parked + dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_in_order_whatever_comes_first() {
        let mut timeline = Timeline::default();
        for moment in [3 * SLICE_NS, SLICE_NS + 1, 3 * SLICE_NS + 7] {
            timeline.at(moment).unwrap().came += 1;
        }
        let seen: Vec<_> = timeline.slices().iter().map(|slice| (slice.number, slice.came)).collect();
        assert_eq!(seen, [(1, 1), (3, 2)]);
    }

    #[test]
    fn a_timeline_is_bounded() {
        let mut timeline = Timeline::default();
        let slices = u64::try_from(MAX_SLICES).unwrap();
        assert!((0..slices).all(|number| timeline.at(number * SLICE_NS).is_some()));
        assert!(timeline.at(slices * SLICE_NS).is_none());
        assert!(timeline.at(0).is_some());
    }
}
