//! A VM that runs on at the source after all: what its process has thrown away, and what its TAP had no room for, is given
//! back to the guest.

use std::ops::Range;
use std::time::Duration;

use tapferry_redirect::parts::{Frame, NetdevExit, Step};
use tapferry_sys::clock;

use super::frames::counters;
use super::state::State;
use super::worker::Worker;
use crate::connection::nanos;
use crate::evidence::{CAPTURE_LAG, Evidence, TapCounters};
use crate::report::Outcome;

/// How long the guest may take to read half of what its TAP's queue holds.
const LONGEST_READ: Duration = Duration::from_secs(1);

impl Worker {
    /// Remembers the frames from the cut on: if the VM runs on here, these are the ones that it may lack.
    pub(super) fn remember_doubtful(&mut self, cut: u64) {
        for (_, frame) in self.kept.frames().skip_while(|(index, _)| *index < cut) {
            if !self.doubtful.push(&frame) {
                break;
            }
        }
    }

    /// Looks whether the guest runs on here after all, and what it was given first: the news may come when its queue
    /// has forgotten that.
    pub(super) fn watch_guest(&mut self) {
        let (Some(evidence), Some(cut)) = (&self.evidence, &self.cut) else { return };
        if self.thrown_away.is_none() && evidence.runs_on() {
            let frames = (cut.index..).zip(self.doubtful.frames());
            self.thrown_away = evidence.thrown_away(cut.index, frames);
        }
    }

    /// Gives back to the guest, which runs on, what it never got.
    pub(super) fn give_back(&mut self, is_last_look: bool) {
        self.watch_guest();
        let Self { evidence: Some(evidence), cut: Some(cut), doubtful, links, ifindex, captured, .. } = self
        else {
            return self.end_cancelled();
        };
        // What the TAP dropped last must have been captured.
        let has_all = clock::realtime_ns().saturating_sub(self.runs_on_since) > nanos(CAPTURE_LAG);
        let thrown_away = match self.thrown_away {
            Some(thrown_away) if has_all || is_last_look => thrown_away,
            _ if is_last_look => {
                evidence.thrown_away_at_most(cut.index, (cut.index..).zip(doubtful.frames()))
            }
            _ => return evidence.sample_resumed(*captured, || counters(links, *ifindex)),
        };
        let overflow = self.overflow();
        let count = usize::try_from(thrown_away.frames).unwrap_or(0);
        let Self { exit, doubtful, kept, links, ifindex, mtu, .. } = self;
        let thrown_away_frames = doubtful.frames().take(count);
        let dropped = kept.frames().skip(overflow.start).take(overflow.len()).map(|(_, frame)| frame);
        let look = || counters(links, *ifindex);
        let given_back = inject(exit, thrown_away_frames.chain(dropped), *mtu, self.queue_length / 2, look);
        self.report.given_back = given_back;
        self.report.give_back_basis = Some(thrown_away.basis.name());
        self.end_cancelled();
    }

    /// Which of the kept frames the TAP had no room for: while nobody read, its queue became full, and from then on it
    /// dropped all.
    fn overflow(&mut self) -> Range<usize> {
        let (before, after) = self.tap_dropped;
        let dropped = after.saturating_sub(before);
        // If frames were dropped after the guest began to read, it is not known which.
        if dropped == 0 || self.dropped_by_tap() != after {
            return 0..0;
        }
        let (first, next) = (self.kept.first(), self.kept.next());
        // Those that are not here were captured late, as with a full hold; or else some are not given back.
        let not_here = self.report.hold_full + self.report.ring_full + self.report.reflected;
        let last = (next + not_here).saturating_sub(dropped).clamp(first, next);
        let room = self.queue_room();
        let start = match self.evidence.as_ref().and_then(Evidence::first_unread) {
            // It took more: these came when the guest read again, before that was known.
            Some(read) if last > read + u64::from(self.queue_length) => (read + room).max(first),
            _ => last,
        };
        let place = |index: u64| usize::try_from(index - first).unwrap_or(usize::MAX);
        place(start)..place((start + dropped).min(next))
    }

    /// Frames that the TAP's queue took when it was empty and nobody read. The kernel frees the places of frames that
    /// were read 16 at a time, or at the end of its ring (linux/ptr_ring.h). Where that ring was made anew since the TAP
    /// was, with another length or for another process, it is not known where it began, and this is up to 15 off.
    fn queue_room(&self) -> u64 {
        const BATCH: u64 = 16;
        let length = u64::from(self.queue_length);
        let read = self.evidence.as_ref().and_then(Evidence::tx_packets_at_stop).unwrap_or(0);
        length - read.checked_rem(length).unwrap_or(0) % BATCH
    }

    /// Frames that the TAP's queue had no room for.
    pub(super) fn dropped_by_tap(&mut self) -> u64 {
        counters(&mut self.links, self.ifindex).map_or(0, |tap| tap.tx_dropped)
    }

    fn end_cancelled(&mut self) {
        let reason = "the guest has its frames at the source, where it runs on";
        self.end(State::Cancelled, Outcome::Cancelled, Some(reason.into()));
    }
}

/// Gives frames to the guest, never more at once than its TAP has room for. Returns how many it took.
fn inject<'a>(
    exit: &mut NetdevExit,
    frames: impl Iterator<Item = Frame<'a>>,
    mtu: u32,
    room: u32,
    mut counters: impl FnMut() -> Option<TapCounters>,
) -> u64 {
    let room = usize::try_from(room).unwrap_or(1).max(1);
    let mut frames = frames.peekable();
    let mut given = 0;
    while frames.peek().is_some() {
        let run: Vec<_> = frames.by_ref().take(room).collect();
        let before = counters();
        let sent = inject_run(exit, &run, mtu);
        given += sent;
        let has_read =
            |now: TapCounters| before.is_none_or(|before| now.tx_packets - before.tx_packets >= sent);
        let deadline = clock::monotonic_ns() + nanos(LONGEST_READ);
        while frames.peek().is_some() && !counters().is_none_or(has_read) {
            if clock::monotonic_ns() > deadline {
                return given;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    given
}

fn inject_run(exit: &mut NetdevExit, frames: &[Frame<'_>], mtu: u32) -> u64 {
    let (mut done, mut given) = (0, 0);
    while done < frames.len() {
        match exit.send(&frames[done..], mtu) {
            Step::Sent(sent) => {
                done += sent;
                given += u64::try_from(sent).unwrap_or(u64::MAX);
            }
            Step::Refused { .. } => done += 1,
            _ => break,
        }
    }
    given
}
