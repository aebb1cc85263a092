//! The frames of a source: captured and kept, sent to the destination, and counted.

use std::ops::Range;
use std::time::Duration;

use tapferry_redirect::Latency;
use tapferry_redirect::parts::{Capture, Frame, FrameSource};
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::link::{Link, Links};
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::tap::HeldTap;
use tapferry_sys::{Errno, clock};

use super::state::State;
use super::worker::Worker;
use crate::connection::nanos;
use crate::evidence::{Evidence, TapCounters};
use crate::report::Outcome;
use crate::wire::{self, Message};

/// Frames that QEMU may have read and not given to its guest, with some to compare.
const UNREAD: u64 = 64;
/// How far back frames are kept while the VM runs: longer than the news of its stop takes.
const PRE_ROLL: Duration = Duration::from_millis(500);
/// Runs of frames between two looks at everything else.
const RUNS_PER_TURN: usize = 256;
/// How long a capture that is closed may take to hand over what it has.
const DRAIN_TIME: Duration = Duration::from_millis(50);
/// Where the receiver's address is in an Ethernet header.
const RECEIVER: Range<usize> = 0..6;
/// All stations.
const BROADCAST: [u8; 6] = [0xff; 6];
/// Where the sender's address is in an Ethernet header.
const SENDER: Range<usize> = 6..12;
/// Where its type is.
const ETHERTYPE: Range<usize> = 12..14;
/// What QEMU announces a VM with that has arrived, by broadcast from its address (RFC 903; QEMU's net/announce.c).
const RARP: [u8; 2] = [0x80, 0x35];
/// The group bit of an Ethernet address (IEEE 802.3, 3.2.3).
const GROUP: u8 = 1;

impl Worker {
    /// Begins to capture what is sent to the guest. Says whether it could.
    pub(super) fn open_capture(&mut self) -> bool {
        let filter = Program::capture(Direction::Outgoing, self.plan.mark);
        let open = |latency| Capture::open(&self.plan.netdev, filter.clone(), latency);
        match open(Latency::Low) {
            // Each frame at once: what is late is overtaken by what the network delivers by itself.
            Ok(socket) if socket.bridges_bursts() => self.capture = Some(socket),
            // A ring has a frame some milliseconds later, and loses none of a burst.
            Ok(socket) => match open(Latency::Balanced) {
                Ok(ring) => self.capture = Some(ring),
                Err(error) => {
                    self.capture = Some(socket);
                    let message = format!("{error}; capturing goes on without a ring, and with little room");
                    self.warn("ring_refused", &message);
                }
            },
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
        // A ring whose interface went away would wake this thread for ever.
        capture.take_error();
        let overflow = capture.take_overflow();
        if overflow > 0 {
            self.note_overflow(overflow);
        }
        self.capture = Some(capture);
        if matches!(self.state, State::Calibrate) {
            let long_ago = clock::realtime_ns().saturating_sub(nanos(PRE_ROLL));
            // A guest that is slow has old frames in its TAP's queue, and may lack them when it stops.
            let read = self.evidence.as_ref().and_then(Evidence::read_lately).unwrap_or(u64::MAX);
            self.kept.forget_older(long_ago, read.saturating_sub(UNREAD));
        }
    }

    /// Keeps frames; until the cut the newest, from then on the oldest.
    fn keep<'a>(&mut self, frames: impl Iterator<Item = Frame<'a>>) -> usize {
        let mut count = 0;
        for frame in frames {
            count += 1;
            self.captured += 1;
            if self.cut.is_none() {
                self.note_frame(&frame);
                self.kept.push_over(&frame);
                continue;
            }
            let is_kept = match self.state {
                // The guest reads again; until then its TAP may have been full.
                State::GiveBack { .. } => frame.captured.timestamp_ns <= self.runs_on_since,
                state => state.forwards(),
            };
            if !is_kept {
                continue;
            }
            if self.is_reflected(&frame) {
                self.report.reflected += 1;
                if frame.captured.bytes.get(ETHERTYPE) == Some(&RARP) {
                    self.report.announced_ns.get_or_insert(frame.captured.timestamp_ns);
                }
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

    /// What a captured frame tells of those before it.
    fn note_frame(&mut self, frame: &Frame<'_>) {
        let is_doubtful = !self.is_for_guest(frame) && self.is_from_before_stop(frame);
        let index = self.kept.next();
        if let Some(evidence) = &mut self.evidence {
            evidence.note_frame(frame.captured.timestamp_ns, index);
            if is_doubtful {
                evidence.note_doubtful(index);
            }
        }
    }

    /// Whether QEMU surely gives it to its guest: others it may keep, as the guest's filters are.
    fn is_for_guest(&self, frame: &Frame<'_>) -> bool {
        let receiver = frame.captured.bytes.get(RECEIVER);
        receiver == Some(&self.plan.identity.mac) || receiver == Some(&BROADCAST)
    }

    fn is_from_before_stop(&self, frame: &Frame<'_>) -> bool {
        self.stopped.is_none_or(|(at, _)| frame.captured.timestamp_ns <= at)
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
        if self.cut.is_some() || matches!(self.state, State::Stopping { .. }) {
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

    /// Whether the guest's process has read what was there before the capture: it has nothing to read, or has read more
    /// than there can have been.
    fn look_at_backlog(&mut self) {
        if self.has_caught_up {
            return;
        }
        let Some(TapCounters { tx_packets, .. }) = counters(&mut self.links, self.ifindex) else { return };
        let before = *self.read_at_first.get_or_insert(tx_packets);
        let has_read = tx_packets.saturating_sub(before);
        self.has_caught_up = !self.tap.iter().any(HeldTap::has_unread) || has_read >= self.backlog_at_most();
    }

    /// One look at the counters that tell how far behind the guest is.
    pub(super) fn sample(&mut self) {
        let captured = self.kept.next();
        self.look_at_backlog();
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
        let sent_before = self.kept.sent_before();
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
            let is_unsendable = captured.is_truncated() || !connection.push(&message);
            unsendable += u64::from(is_unsendable && index >= sent_before);
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
            lost: report.hold_full + report.ring_full + report.unsendable + report.no_peer,
        });
        self.end_told_ns = clock::realtime_ns();
        if let Some(connection) = self.link.up() {
            connection.push(&end);
            connection.push(&Message::Ping { sent_ns: self.end_told_ns });
        }
    }

    /// Captures no more, and takes what is there. Its sockets are closed at the end: the kernel waits for every CPU
    /// then, and on a busy host the destination would take that for silence.
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
        self.closed_capture = self.capture.take().or(self.closed_capture.take());
    }

    /// Brings the counters up to date: from the cut on, every frame is in exactly one of them.
    pub(super) fn update_report(&mut self) {
        let clock = self.link.clock();
        self.report.link_delay_ns = clock.delay_ns();
        self.report.clock_offset_ns = clock.offset_ns();
        let Some(cut) = &self.cut else { return };
        let next = self.kept.next();
        let sent_to = self.kept.sent_before().max(cut.index);
        self.report.no_peer = self.kept.given_up();
        let not_sent = self.report.unsendable + self.report.no_peer;
        self.report.sent = (sent_to - cut.index).saturating_sub(not_sent);
        self.report.acknowledged = self.kept.acked().saturating_sub(cut.index).saturating_sub(not_sent);
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

/// What the TAP counts.
pub(super) fn counters(links: &mut Links, ifindex: IfIndex) -> Option<TapCounters> {
    let Link { tx_packets, tx_dropped, .. } = links.by_index(ifindex).ok().flatten()?;
    Some(TapCounters { tx_packets, tx_dropped })
}
