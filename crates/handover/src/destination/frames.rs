//! The frames of a destination: parked, compared with those that reached the TAP by themselves, and injected.

use arrayvec::ArrayVec;
use tapferry_redirect::Latency;
use tapferry_redirect::parts::{Capture, Frame, FrameSource, Step};
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::inject::BATCH;
use tapferry_sys::{Captured, clock};

use super::worker::Worker;
use crate::wire;

/// Frames that the TAP's queue still takes when we fill it no further, and half of a queue that is short: the network's
/// own need room, too, while a guest that has just begun to run reads none of them.
const SPARE: u64 = 5_000;
/// Where there is room for this there is room for any.
const LONGEST_FRAME: usize = wire::MAX_FRAME;
/// Runs of frames between two looks at everything else.
const RUNS_PER_TURN: usize = 256;
/// Local Experimental Ethertype 1 (IEEE 802): no guest has a use for it.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
/// The shortest Ethernet frame, without its checksum, in bytes.
const SHORTEST_FRAME: usize = 60;
/// Nobody's: locally administered.
const NOBODY: [u8; 6] = [0x02, 0, 0, 0, 0, 0];

impl Worker {
    /// Whether the source is listened to. Once the VM runs, what there is no room for waits at the source. Before that it
    /// may still say that the migration was cancelled, and is heard however many frames come first.
    pub(super) fn listens(&self) -> bool {
        self.resumed_at.is_none() || self.parked.is_empty() || self.parked.has_room(LONGEST_FRAME)
    }

    /// Keeps a frame of the source until it is its turn. One that came before is not wanted again.
    pub(super) fn park(&mut self, frame: &wire::Frame<'_>) {
        if frame.index < self.next_index {
            return;
        }
        if self.passed_over > 0 {
            self.passed_over += 1;
            return;
        }
        let captured = Captured {
            timestamp_ns: frame.timestamp_ns,
            vnet: frame.vnet,
            beside: frame.tag,
            bytes: frame.bytes,
            wire_len: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
        };
        let was_empty = self.parked.is_empty();
        let is_parked = self.parked.push(&Frame::from(captured));
        if !is_parked && !was_empty {
            self.passed_over = 1;
            self.warn(
                "hold_full",
                "--max-hold is reached before the VM runs: the source is asked again for what comes now",
            );
            return;
        }
        if was_empty {
            self.parked_first = frame.index;
        }
        // There is no memory.
        self.report.refused += u64::from(!is_parked);
        self.report.received += 1;
        self.next_index = frame.index.saturating_add(1);
        if let Some(slice) = self.report.timeline.at(clock::realtime_ns()) {
            slice.came += 1;
        }
        self.report.parked_most = self.report.parked_most.max(count(self.parked.len()));
    }

    /// The guest has had what is below this index before it stopped.
    pub(super) fn drop_below(&mut self, index: u64) {
        let below = usize::try_from(index.saturating_sub(self.parked_first)).unwrap_or(usize::MAX);
        let before = below.min(self.parked.len());
        self.parked.advance(before);
        self.parked_first += count(before);
        self.report.before_cut += count(before);
    }

    /// A frame that QEMU may swallow: the first that it reads before the VM runs is lost with modern virtio.
    pub(super) fn sacrifice(&mut self) {
        let mut bytes = [0; SHORTEST_FRAME];
        bytes[..6].copy_from_slice(&NOBODY);
        bytes[6..12].copy_from_slice(&NOBODY);
        bytes[12..].as_chunks_mut().0.fill(EXPERIMENTAL);
        let captured = Captured {
            timestamp_ns: 0,
            vnet: Default::default(),
            beside: None,
            bytes: &bytes,
            wire_len: u32::try_from(SHORTEST_FRAME).unwrap_or(0),
        };
        self.exit.send(&[Frame::from(captured)], self.mtu);
    }

    /// Gives to the TAP what is parked, as far as its queue has room for it.
    pub(super) fn inject_parked(&mut self) {
        for _ in 0..RUNS_PER_TURN {
            let room = usize::try_from(self.tap_room()).unwrap_or(usize::MAX).min(BATCH);
            let run: ArrayVec<Frame<'_>, BATCH> = self.parked.frames().take(room).collect();
            let Some(first) = run.first() else { return };
            // Where nothing is known of the source's clock, nothing is forgotten.
            if self.clock.offset_ns().is_some() {
                self.twins.forget_before(self.clock.here(first.captured.timestamp_ns));
            }
            let taken = if self.twins.take(first) {
                self.report.deduplicated += 1;
                if let Some(slice) = self.report.timeline.at(clock::realtime_ns()) {
                    slice.deduplicated += 1;
                }
                1
            } else {
                // A run ends before the next one that the guest has already.
                let alone = run.iter().skip(1).take_while(|frame| !self.twins.has(frame)).count();
                match self.exit.send(&run[..=alone], self.mtu) {
                    Step::Sent(sent) => {
                        let here = clock::realtime_ns();
                        self.report.injected += count(sent);
                        for frame in &run[..sent] {
                            let there = self.clock.here(frame.captured.timestamp_ns);
                            let delay = here.saturating_sub(there);
                            self.report.delay_most_ns = self.report.delay_most_ns.max(delay);
                            self.report.delay_sum_ns = self.report.delay_sum_ns.saturating_add(delay);
                        }
                        if let Some(slice) = self.report.timeline.at(here) {
                            slice.went += u32::try_from(sent).unwrap_or(u32::MAX);
                        }
                        sent
                    }
                    Step::Refused { .. } => {
                        self.report.refused += 1;
                        1
                    }
                    _ => return,
                }
            };
            drop(run);
            self.parked.advance(taken);
            self.parked_first += count(taken);
        }
    }

    /// Frames that the TAP's queue still takes: what it drops, it drops silently.
    fn tap_room(&mut self) -> u64 {
        let put = self.report.injected + self.report.direct;
        let most = self.queue_room - SPARE.min(self.queue_room / 2);
        // Far from full: no need to ask.
        if put < most {
            return most - put;
        }
        most.saturating_sub(self.tap_backlog())
    }

    /// tx_packets and tx_dropped of the TAP: frames that were read from it, and frames that it had no room for.
    pub(super) fn tap_counters(&mut self) -> (u64, u64) {
        let link = self.links.by_index(self.ifindex).ok().flatten();
        link.map_or(self.tap_before, |link| (link.tx_packets, link.tx_dropped))
    }

    /// Frames in the TAP's queue, at most.
    pub(super) fn tap_backlog(&mut self) -> u64 {
        let (packets, dropped) = self.tap_counters();
        let gone = packets.saturating_sub(self.tap_before.0) + dropped.saturating_sub(self.tap_before.1);
        (self.report.injected + self.report.direct).saturating_sub(gone)
    }

    /// Follows what reaches the TAP by itself.
    pub(super) fn open_direct(&mut self) {
        if self.direct.is_some() {
            return;
        }
        let filter = Program::capture(Direction::Outgoing, self.plan.mark);
        // A plain socket has a frame as soon as it is sent: before the source's copy of it can be here.
        match Capture::open(&self.plan.netdev, filter, Latency::Low) {
            Ok(capture) => self.direct = Some(capture),
            Err(error) => self.warn("no_comparison", &format!("{error}: what is flooded may come twice")),
        }
    }

    /// Takes in what has reached the TAP by itself.
    pub(super) fn pump_direct(&mut self) {
        let Some(direct) = &mut self.direct else { return };
        for _ in 0..RUNS_PER_TURN {
            if !matches!(direct.fill(), Ok(true)) {
                break;
            }
            let mut frames = 0;
            for frame in direct.frames() {
                frames += 1;
                self.twins.add(&frame);
                self.report.direct += 1;
                if let Some(slice) = self.report.timeline.at(frame.captured.timestamp_ns) {
                    slice.direct += 1;
                }
            }
            direct.advance(frames);
        }
        self.report.direct += direct.take_overflow();
    }

    /// Brings the counters up to date.
    pub(super) fn update_report(&mut self) {
        self.report.parked = count(self.parked.len());
        self.report.clock_offset_ns = self.clock.offset_ns();
        self.report.stopped_ns = self.stopped_there.map(|at| self.clock.here(at));
        if let Some(gate) = &self.gate {
            self.report.kept_out = gate.refused();
        }
        self.report.lost_at_tap = self.tap_counters().1.saturating_sub(self.tap_before.1);
    }
}

fn count(frames: usize) -> u64 {
    u64::try_from(frames).unwrap_or(u64::MAX)
}
