//! The way of a frame: from its source past the gate, through the buffer, into the output.
//!
//! ```text
//!   source --> gate ----------> buffer ------> outlet
//!               |    pre-roll     (hold, or an output that takes no more)
//!               +--> undecided
//! ```
//!
//! Frames are sent from where they lie, in runs; a run ends at the first frame that the gate does not let pass. Only
//! what has to wait is copied. Without a buffer the source waits when the output takes no more.

use std::time::Duration;

use arrayvec::ArrayVec;
use tapferry_sys::{Errno, clock};

use crate::buffer::Buffer;
use crate::counters::{Counters, DropReason, count};
use crate::frame::{Frame, FrameSource, wire_bytes_of};
use crate::gate::{Gate, Verdict};
use crate::outlet::{Outlet, Progress};
use crate::plan::Plan;
use crate::queue::FrameQueue;
use crate::worker::nanos;

/// Frames of a run at most, and of one system call.
pub(crate) const BATCH: usize = tapferry_sys::inject::BATCH;
/// Runs of frames between two looks at the commands.
const RUNS_PER_TURN: usize = 64;

type Run<'a> = ArrayVec<Frame<'a>, BATCH>;

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing is waiting.
    Idle,
    /// Frames are waiting.
    More,
    /// The source has frames, and they wait there for the output.
    Blocked,
}

/// Everything between a redirector's input and its output, and the count of it.
pub(crate) struct Pipeline {
    pub(crate) gate: Gate,
    pub(crate) outlet: Outlet,
    pub(crate) buffer: Option<Buffer>,
    pub(crate) counters: Counters,
    /// Frames for which an event may yet open the gate.
    pre_roll: FrameQueue,
    pre_roll_ns: u64,
}

impl Pipeline {
    /// A pipeline as planned, into `outlet`.
    pub(crate) fn new(plan: &Plan, outlet: Outlet) -> Self {
        Self {
            gate: Gate::new(plan.status, plan.running, plan.when_stopped),
            outlet,
            buffer: plan.has_buffer().then(|| Buffer::new(plan.buffer, plan.hold, plan.running)),
            counters: Counters::default(),
            pre_roll: FrameQueue::within(plan.pre_roll_bytes),
            pre_roll_ns: nanos(plan.pre_roll),
        }
    }

    /// Moves frames until there are none, the output is full or others must be heard.
    pub(crate) fn pump(&mut self, source: Option<&mut impl FrameSource>, mtu: u32) -> Pumped {
        self.outlet.flush(&mut self.counters);
        let pumped = self.pump_buffer(mtu);
        if self.pump_pre_roll(mtu) == Pumped::Blocked {
            return Pumped::Blocked;
        }
        let Some(source) = source else { return pumped };
        for _ in 0..RUNS_PER_TURN {
            match self.pump_run(source, mtu) {
                Pumped::Idle => return pumped,
                Pumped::Blocked => return Pumped::Blocked,
                Pumped::More => {}
            }
        }
        Pumped::More
    }

    /// When something is to be done although nothing happens (CLOCK_MONOTONIC, nanoseconds).
    pub(crate) fn due_at(&self, now: u64) -> Option<u64> {
        let pre_roll = self.pre_roll.front().map(|oldest| {
            let age = clock::realtime_ns().saturating_sub(oldest.captured.timestamp_ns);
            // A millisecond at least: the frames behind the oldest are due soon after it.
            now + self.pre_roll_ns.saturating_sub(age).max(nanos(Duration::from_millis(1)))
        });
        pre_roll.into_iter().chain(self.buffer.as_ref().and_then(Buffer::release_at)).min()
    }

    /// Frames and bytes that wait, wherever.
    pub(crate) fn held(&self) -> (u64, u64) {
        let (buffered, buffered_bytes) =
            self.buffer.as_ref().map_or((0, 0), |buffer| (buffer.len(), buffer.bytes()));
        let (begun, begun_bytes) = self.outlet.begun();
        (
            count(self.pre_roll.len() + buffered + begun),
            count(self.pre_roll.bytes() + buffered_bytes + begun_bytes),
        )
    }

    /// The VM's run state changed at `at` (nanoseconds since 1970), which may lie in the past.
    pub(crate) fn set_running(&mut self, running: bool, at: u64) {
        self.gate.set_running(running, at);
        if let Some(buffer) = &mut self.buffer {
            buffer.set_running(running);
        }
    }

    /// The gate was closed as of `moment` (nanoseconds since 1970): of what came later, some has left, and the rest will
    /// not.
    pub(crate) fn close_since(&mut self, moment: u64) {
        self.counters.forwarded_late += self.outlet.take_forwarded_since(moment);
        let called_back = self.buffer.as_mut().map_or(0, |buffer| buffer.call_back(moment));
        self.counters.drop_many(DropReason::GateClosed, count(called_back));
    }

    /// Whether the gate was open for these frames is not going to be known.
    pub(crate) fn drop_pre_roll(&mut self) {
        let held = self.pre_roll.len();
        self.pre_roll.advance(held);
        self.pre_roll.release_memory();
        self.counters.drop_many(DropReason::GateClosed, count(held));
    }

    /// Lets go what is only on hold, because nothing comes any more.
    pub(crate) fn release_at_the_end(&mut self) {
        if let Some(buffer) = &mut self.buffer {
            buffer.release_at_the_end();
        }
    }

    /// Whether frames are on their way to the output that it has not taken yet.
    pub(crate) fn has_released(&self) -> bool {
        self.outlet.begun().0 > 0
            || self.buffer.as_ref().is_some_and(|buffer| buffer.released().next().is_some())
    }

    /// Drops what is still here at the end.
    pub(crate) fn drop_all(&mut self) {
        self.drop_pre_roll();
        let buffered = self.buffer.as_mut().map_or(0, Buffer::clear);
        self.counters.drop_many(DropReason::Stopped, count(buffered));
        self.outlet.abandon_begun(DropReason::Stopped, &mut self.counters);
    }

    /// Drops what a source still has at the end.
    pub(crate) fn drop_from(&mut self, source: &mut impl FrameSource) {
        while let Ok(true) = source.fill() {
            let lengths = source.frames().map(|frame| frame.wire_bytes());
            let (frames, bytes) = lengths.fold((0, 0), |(frames, bytes), len| (frames + 1, bytes + len));
            self.counters.capture(frames, bytes);
            self.counters.drop_many(DropReason::Stopped, count(frames));
            source.advance(frames);
        }
    }

    /// Frames of the buffer that may leave.
    fn pump_buffer(&mut self, mtu: u32) -> Pumped {
        let Self { buffer: Some(buffer), outlet, counters, .. } = self else { return Pumped::Idle };
        buffer.release_due(clock::monotonic_ns());
        for _ in 0..RUNS_PER_TURN {
            if outlet.is_blocked() {
                return Pumped::Idle;
            }
            let run: Run<'_> = buffer.released().take(BATCH).collect();
            if run.is_empty() {
                return Pumped::Idle;
            }
            let taken = match outlet.send(&run, mtu, counters) {
                Progress::Done => run.len(),
                Progress::Blocked(taken) => taken,
            };
            drop(run);
            buffer.advance(taken);
        }
        Pumped::More
    }

    /// Frames of the pre-roll whose time has come: the gate opened for them, or did not and will not.
    fn pump_pre_roll(&mut self, mtu: u32) -> Pumped {
        let oldest_kept = clock::realtime_ns().saturating_sub(self.pre_roll_ns);
        let Self { pre_roll, gate, outlet, buffer, counters, .. } = self;
        while !pre_roll.is_empty() {
            let (run, end) = next_run(pre_roll.frames(), gate);
            let taken = deliver(&run, buffer, outlet, mtu, counters);
            let blocked = taken < run.len();
            let is_over = match end {
                _ if blocked => false,
                Some((_, Verdict::Closed)) => true,
                Some((frame, Verdict::Undecided)) => frame.captured.timestamp_ns < oldest_kept,
                Some((_, Verdict::Pass)) | None => false,
            };
            drop(run);
            if is_over {
                counters.drop(DropReason::GateClosed);
            }
            pre_roll.advance(taken + usize::from(is_over));
            if blocked {
                return Pumped::Blocked;
            }
            if taken == 0 && !is_over {
                break;
            }
        }
        if gate.is_open() {
            pre_roll.release_memory();
        }
        Pumped::Idle
    }

    /// One run of frames from the source.
    fn pump_run(&mut self, source: &mut impl FrameSource, mtu: u32) -> Pumped {
        let Self { gate, outlet, buffer, counters, pre_roll, .. } = self;
        match source.fill() {
            Ok(true) => {}
            Ok(false) => return Pumped::Idle,
            Err(Errno::INVAL) => {
                counters.capture(1, 0);
                counters.drop(DropReason::UnsupportedOffload);
                return Pumped::More;
            }
            // An interface that is down or gone says so once here; netlink tells the rest.
            Err(_) => return Pumped::Idle,
        }
        let (run, end) = next_run(source.frames(), gate);
        let mut taken = deliver(&run, buffer, outlet, mtu, counters);
        counters.capture(taken, wire_bytes_of(&run[..taken]));
        let blocked = taken < run.len();
        if let Some((frame, verdict)) = end
            && !blocked
        {
            counters.capture(1, frame.wire_bytes());
            match verdict {
                Verdict::Closed => counters.drop(DropReason::GateClosed),
                // A run ends at a frame that does not pass; what is not closed out may yet turn out to.
                Verdict::Undecided | Verdict::Pass => {
                    let lost = pre_roll.push_over(&frame).lost();
                    counters.drop_many(DropReason::PreRollFull, count(lost));
                }
            }
            taken += 1;
        }
        drop(run);
        source.advance(taken);
        if blocked { Pumped::Blocked } else { Pumped::More }
    }
}

/// Gives frames that have passed the gate to the output, or to the buffer before it. Says how many were taken; the
/// others have to wait where they are.
fn deliver(
    run: &[Frame<'_>],
    buffer: &mut Option<Buffer>,
    outlet: &mut Outlet,
    mtu: u32,
    counters: &mut Counters,
) -> usize {
    let may_leave = !outlet.is_blocked() && buffer.as_ref().is_none_or(Buffer::lets_through);
    let sent = match may_leave.then(|| outlet.send(run, mtu, counters)) {
        Some(Progress::Done) => return run.len(),
        Some(Progress::Blocked(sent)) => sent,
        None => 0,
    };
    let Some(buffer) = buffer else { return sent };
    let now = clock::monotonic_ns();
    for frame in &run[sent..] {
        buffer.push(frame, now, counters);
    }
    run.len()
}

/// Frames that pass the gate one after the other, and the first that does not, with what the gate says to it.
fn next_run<'a>(
    frames: impl Iterator<Item = Frame<'a>>,
    gate: &Gate,
) -> (Run<'a>, Option<(Frame<'a>, Verdict)>) {
    let mut run = Run::new();
    for frame in frames {
        match gate.judge(frame.captured.timestamp_ns) {
            Verdict::Pass => run.push(frame),
            verdict => return (run, Some((frame, verdict))),
        }
        if run.is_full() {
            break;
        }
    }
    (run, None)
}
