//! The traffic of late, and which way of capturing it calls for.

use std::time::Duration;

use tapferry_sys::clock;

use crate::counters::{Engine, count};
use crate::worker::nanos;

/// So many frames within [`WINDOW`] are worth a ring and its timer: 2000 a second.
const BUSY: u64 = 200;
/// Over how long the rate is measured.
const WINDOW: Duration = Duration::from_millis(100);
/// Without a frame for so long the ring is given back.
const IDLE: Duration = Duration::from_secs(10);
/// After a source could not be had, the next try waits for so long.
const RETRY: Duration = Duration::from_secs(60);

/// Where a capture is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    ToRing,
    ToSocket,
}

/// What was captured of late. All times are of CLOCK_MONOTONIC, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Traffic {
    window_start: u64,
    window_frames: u64,
    last_frame: u64,
    not_before: u64,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self::since(clock::monotonic_ns())
    }

    fn since(now: u64) -> Self {
        Self { window_start: now, window_frames: 0, last_frame: now, not_before: 0 }
    }

    /// So many frames were taken.
    pub(crate) fn note(&mut self, frames: usize) {
        self.window_frames += count(frames);
    }

    /// The other way of capturing could not be had.
    pub(crate) fn note_refusal(&mut self, now: u64) {
        self.not_before = now + nanos(RETRY);
    }

    /// Whether the traffic calls for the other way of capturing.
    pub(crate) fn wanted(&mut self, engine: Engine, now: u64) -> Option<Move> {
        if self.window_frames > 0 {
            self.last_frame = now;
        }
        let busy = self.window_frames >= BUSY;
        if busy || now.saturating_sub(self.window_start) >= nanos(WINDOW) {
            self.window_start = now;
            self.window_frames = 0;
        }
        match engine {
            _ if now < self.not_before => None,
            Engine::Socket if busy => Some(Move::ToRing),
            Engine::Ring if now >= self.idle_at() => Some(Move::ToSocket),
            _ => None,
        }
    }

    /// When a ring is to be given back unless a frame comes.
    pub(crate) fn idle_at(&self) -> u64 {
        (self.last_frame + nanos(IDLE)).max(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn fast_traffic_brings_a_ring_and_silence_takes_it_away() {
        let mut traffic = Traffic::since(0);
        traffic.note(199);
        assert_eq!(traffic.wanted(Engine::Socket, SECOND), None, "slow traffic stays on the socket");
        traffic.note(200);
        assert_eq!(traffic.wanted(Engine::Socket, SECOND + 1), Some(Move::ToRing));
        assert_eq!(traffic.wanted(Engine::Ring, 2 * SECOND), None, "a pause is not silence");
        assert_eq!(traffic.wanted(Engine::Ring, 12 * SECOND), Some(Move::ToSocket));
    }

    #[test]
    fn a_refused_ring_is_not_asked_for_again_at_once() {
        let mut traffic = Traffic::since(0);
        traffic.note_refusal(SECOND);
        traffic.note(10_000);
        assert_eq!(traffic.wanted(Engine::Socket, 2 * SECOND), None);
        traffic.note(10_000);
        assert_eq!(traffic.wanted(Engine::Socket, 62 * SECOND), Some(Move::ToRing));
    }
}
