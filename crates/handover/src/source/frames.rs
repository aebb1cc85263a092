//! The frames of a source: captured and kept, sent to the destination, given back to the guest, and counted.

use std::ops::Range;
use std::time::Duration;

use tapferry_redirect::Latency;
use tapferry_redirect::parts::{Capture, Frame, FrameSource, NetdevExit, Step};
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::link::{Link, LinkWatch};
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::{Errno, clock};

use super::state::State;
use super::worker::Worker;
use crate::connection::nanos;
use crate::evidence::TapCounters;
use crate::report::Outcome;
use crate::wire::{self, Message};

/// How far back frames are kept while the VM runs: longer than the news of its stop takes.
const PRE_ROLL: Duration = Duration::from_millis(500);
/// Runs of frames between two looks at everything else.
const RUNS_PER_TURN: usize = 256;
/// How long a capture that is closed may take to hand over what it has.
const DRAIN_TIME: Duration = Duration::from_millis(50);
/// Where the sender's address is in an Ethernet header.
const SENDER: Range<usize> = 6..12;
/// The group bit of an Ethernet address (IEEE 802.3, 3.2.3).
const GROUP: u8 = 1;

impl Worker {
    /// Begins to capture what is sent to the guest. Says whether it could.
    pub(super) fn open_capture(&mut self) -> bool {
        let filter = Program::capture(Direction::Outgoing, self.plan.mark);
        match Capture::open(&self.plan.netdev, filter, Latency::Balanced) {
            Ok(capture) => self.capture = Some(capture),
            Err(error) => self.fail(&error.to_string()),
        }
        self.capture.is_some()
    }

    /// Takes what was captured.
    pub(super) fn pump(&mut self) {
        let Some(mut capture) = self.capture.take() else { return };
        for _ in 0..RUNS_PER_TURN {
            match capture.fill() {
                Ok(true) => {
                    let frames = self.keep(capture.frames());
                    capture.advance(frames);
                }
                // One that a virtio-net header cannot describe: it counts, and cannot be kept.
                Err(Errno::INVAL) => self.note_overflow(1),
                Ok(false) | Err(_) => break,
            }
        }
        let overflow = capture.take_overflow();
        if overflow > 0 {
            self.note_overflow(overflow);
        }
        if let Err(error) = capture.adapt(clock::monotonic_ns()) {
            self.warn("ring_refused", &format!("{error}; capturing goes on without a ring"));
        }
        self.capture = Some(capture);
        if matches!(self.state, State::Calibrate) {
            self.kept.forget_older(clock::realtime_ns().saturating_sub(nanos(PRE_ROLL)));
        }
    }

    /// Keeps frames; until the cut the newest, from then on the oldest.
    fn keep<'a>(&mut self, frames: impl Iterator<Item = Frame<'a>>) -> usize {
        let mut count = 0;
        for frame in frames {
            count += 1;
            self.captured += 1;
            if self.cut.is_none() {
                if let Some(evidence) = &mut self.evidence {
                    evidence.note_frame(frame.captured.timestamp_ns, self.kept.next());
                }
                self.kept.push_over(&frame);
                continue;
            }
            if !self.state.forwards() {
                continue;
            }
            if self.is_reflected(&frame) {
                self.report.reflected += 1;
            } else if self.kept.push(&frame) {
                self.count_came(&frame);
            } else {
                self.report.hold_full += 1;
            }
        }
        if self.report.hold_full > 0 {
            self.warn(
                "hold_full",
                "the link is slower than the traffic and --max-hold is reached: frames are lost",
            );
        }
        count
    }

    /// Whether the guest sent it itself: it would take its own broadcasts for those of another host with its address.
    fn is_reflected(&self, frame: &Frame<'_>) -> bool {
        let mac = self.plan.identity.mac;
        mac != [0; 6] && frame.captured.bytes.get(SENDER) == Some(&mac)
    }

    fn count_came(&mut self, frame: &Frame<'_>) {
        let is_unicast = frame.captured.bytes.first().is_some_and(|byte| byte & GROUP == 0);
        if is_unicast {
            self.unicast_at = clock::monotonic_ns();
        }
        if let Some(slice) = self.report.timeline.at(frame.captured.timestamp_ns) {
            slice.came += 1;
        }
    }

    fn note_overflow(&mut self, frames: u64) {
        if self.cut.is_some() {
            self.report.ring_full += frames;
            self.warn("ring_full", "frames come faster than they are taken: the kernel drops some");
        } else if let Some(evidence) = &mut self.evidence {
            evidence.note_interruption();
        }
    }

    /// Counts in what was kept before the cut was known.
    pub(super) fn count_from_cut(&mut self) {
        for (_, frame) in self.kept.frames() {
            if let Some(slice) = self.report.timeline.at(frame.captured.timestamp_ns) {
                slice.came += 1;
            }
        }
        self.unicast_at = clock::monotonic_ns();
    }

    /// One look at the counters that tell how far behind the guest is.
    pub(super) fn sample(&mut self) {
        let captured = self.kept.next();
        let Self { evidence: Some(evidence), links, ifindex, .. } = self else { return };
        evidence.sample(captured, || counters(links, *ifindex));
    }

    /// The same when the VM has stopped.
    pub(super) fn sample_stopped(&mut self) {
        let Self { evidence: Some(evidence), links, ifindex, .. } = self else { return };
        evidence.sample_stopped(|| counters(links, *ifindex));
    }

    /// Whether a frame has been taken that was sent after the stop was known: then so have all before it.
    pub(super) fn capture_is_past_stop(&self) -> bool {
        let (Some((_, seen)), Some(evidence)) = (self.stopped, &self.evidence) else { return false };
        evidence.newest_ns() > seen
    }

    /// Sends what the link takes.
    pub(super) fn send_frames(&mut self) {
        let Some(connection) = self.link.up() else { return };
        let mut unsendable = 0;
        let sent = self.kept.send(|index, frame| {
            let captured = &frame.captured;
            if !connection.has_room() {
                return false;
            }
            let message = Message::Frame(wire::Frame {
                index,
                timestamp_ns: captured.timestamp_ns,
                vnet: captured.vnet,
                tag: captured.beside,
                bytes: captured.bytes,
            });
            unsendable += u64::from(captured.is_truncated() || !connection.push(&message));
            true
        });
        self.report.unsendable += unsendable;
        if sent > 0
            && let Some(slice) = self.report.timeline.at(clock::realtime_ns())
        {
            slice.went += u32::try_from(sent).unwrap_or(u32::MAX);
        }
    }

    /// Says that there will be no more frames.
    pub(super) fn push_end(&mut self) {
        self.update_report();
        let report = &self.report;
        let end = Message::End(wire::End {
            next_index: self.kept.next(),
            captured: report.captured,
            sent: report.sent,
            lost: report.hold_full + report.ring_full + report.unsendable,
        });
        if let Some(connection) = self.link.up() {
            connection.push(&end);
        }
    }

    /// Captures no more, and takes what is there.
    pub(super) fn close_capture(&mut self) {
        if let Some(capture) = &mut self.capture {
            capture.refuse_more();
        }
        let deadline = clock::monotonic_ns() + nanos(DRAIN_TIME);
        while clock::monotonic_ns() < deadline {
            self.pump();
            if self.capture.as_ref().is_none_or(Capture::is_drained) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.capture = None;
    }

    /// Remembers the frames behind the cut: if the VM runs on here, these are the ones that it may lack.
    pub(super) fn remember_doubtful(&mut self) {
        for (_, frame) in self.kept.frames() {
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
        let thrown_away = match self.thrown_away {
            Some(thrown_away) => thrown_away,
            None if is_last_look => {
                evidence.thrown_away_at_most(cut.index, (cut.index..).zip(doubtful.frames()))
            }
            None => return evidence.sample_resumed(*captured, || counters(links, *ifindex)),
        };
        let count = usize::try_from(thrown_away.frames).unwrap_or(0);
        let given_back = inject(&mut self.exit, self.doubtful.frames().take(count), self.mtu);
        self.report.given_back += given_back;
        self.report.give_back_basis = Some(thrown_away.basis.name());
        self.give_back_overflow();
        self.end_cancelled();
    }

    /// While nobody read, the TAP's queue became full: from then on it dropped all, up to the last frame before the
    /// VM ran on.
    fn give_back_overflow(&mut self) {
        let (before, after) = self.tap_dropped;
        let here = self.kept.next() - self.kept.first();
        let dropped = after.saturating_sub(before).min(here);
        // If frames were dropped after the guest began to read, it is not known which.
        if dropped > 0 && self.dropped_by_tap() == after {
            let kept = usize::try_from(here - dropped).unwrap_or(usize::MAX);
            let overflow = self.kept.frames().skip(kept).map(|(_, frame)| frame);
            self.report.given_back += inject(&mut self.exit, overflow, self.mtu);
        }
    }

    /// Frames that the TAP's queue had no room for.
    pub(super) fn dropped_by_tap(&mut self) -> u64 {
        counters(&mut self.links, self.ifindex).map_or(0, |tap| tap.tx_dropped)
    }

    fn end_cancelled(&mut self) {
        let reason = "the migration was cancelled or has failed: the guest has its frames at the source";
        self.end(State::Cancelled, Outcome::Cancelled, Some(reason.into()));
    }

    /// Brings the counters up to date: from the cut on, every frame is in exactly one of them.
    pub(super) fn update_report(&mut self) {
        let clock = self.link.clock();
        self.report.link_delay_ns = clock.delay_ns();
        self.report.clock_offset_ns = clock.offset_ns();
        let Some(cut) = &self.cut else { return };
        let next = self.kept.next();
        let sent_to = self.kept.sent_before().max(cut.index);
        self.report.sent = sent_to - cut.index - self.report.unsendable;
        let acknowledged = self.kept.first().max(cut.index).min(sent_to) - cut.index;
        self.report.acknowledged = acknowledged.min(self.report.sent);
        self.report.held = next.saturating_sub(sent_to);
        let not_kept = self.report.hold_full + self.report.ring_full + self.report.reflected;
        self.report.captured = next.saturating_sub(cut.index) + not_kept;
    }

    /// At the end nothing is held any more.
    pub(super) fn account_for_the_rest(&mut self) {
        let left = std::mem::take(&mut self.report.held);
        if self.report.outcome == Outcome::Cancelled {
            self.report.discarded += left;
        } else {
            self.report.no_peer += left;
        }
    }
}

/// Gives frames to the guest, as many as its TAP takes at once.
fn inject<'a>(exit: &mut NetdevExit, frames: impl Iterator<Item = Frame<'a>>, mtu: u32) -> u64 {
    let frames: Vec<_> = frames.collect();
    let mut given = 0;
    while given < frames.len() {
        match exit.send(&frames[given..], mtu) {
            Step::Sent(sent) if sent > 0 => given += sent,
            Step::Refused { .. } => given += 1,
            _ => break,
        }
    }
    u64::try_from(given).unwrap_or(u64::MAX)
}

/// What the TAP counts.
fn counters(links: &mut LinkWatch, ifindex: IfIndex) -> Option<TapCounters> {
    let Link { tx_packets, tx_dropped, .. } = links.by_index(ifindex).ok().flatten()?;
    Some(TapCounters { tx_packets, tx_dropped })
}
