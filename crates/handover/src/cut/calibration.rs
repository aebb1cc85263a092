//! How the counters of capture, TAP and receive queue relate, learned while the VM runs.
//!
//! Each counts the same frames from another beginning: the capture when the kernel gives them to the TAP, the TAP
//! (`tx_packets`) when QEMU reads them, the queue (its used index) when the guest gets them. When nothing is on its
//! way the differences are smallest, and those are the offsets between the beginnings.

use std::collections::VecDeque;

/// Samples that count: two seconds, with one every 5 ms. Frames lost before the guest change an offset for good, so
/// old samples must go.
const WINDOW: usize = 400;

/// Samples it takes before the used index is believed.
const ENOUGH: usize = 8;

/// How far TAP and queue may drift apart as long as each frame fills one buffer.
const MAX_SPREAD: u64 = 3;

/// Frames that QEMU may have read and the guest not got.
pub(crate) const MAX_UNDELIVERED: u64 = 4;

/// Frames that QEMU must have read before a used index that stands still is another queue's.
const PASSED: u64 = 8;

/// The counters at one moment.
///
/// Read in this order, so that none of the differences comes out too small: the used index, `tx_packets`, then the
/// capture until it is empty. Used index and `tx_packets` belong together only if `tx_packets` was the same before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Frames captured so far.
    pub captured: u64,
    /// The TAP's count of frames read by QEMU.
    pub tx_packets: u64,
    /// The queue's used index (mod 2^16), if it can be read.
    pub used: Option<u16>,
}

/// Why the used index cannot be counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Instability {
    /// No samples of it, or too few.
    TooFewSamples,
    /// It does not go with the frames: some fill several buffers, or this is no split ring.
    Drifting,
    /// It stands still while frames pass: the guest gets them in another queue.
    StandsStill,
}

/// What the counters at one moment say of the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// One past the last frame that QEMU has read. The guest may lack the newest few of those.
    pub read: u64,
    /// One past the last frame that the guest has got, by the used index.
    pub got: Result<u64, Instability>,
}

/// The smallest and the largest difference of two counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    min: i128,
    max: i128,
}

impl Range {
    fn of(differences: impl Iterator<Item = i128>) -> Option<Self> {
        differences.fold(None, |range: Option<Self>, difference| {
            Some(range.map_or(Self { min: difference, max: difference }, |range| Self {
                min: range.min.min(difference),
                max: range.max.max(difference),
            }))
        })
    }

    fn spread(self) -> u64 {
        u64::try_from(self.max - self.min).unwrap_or(u64::MAX)
    }
}

/// A sample whose used index no longer wraps.
#[derive(Debug, Clone, Copy)]
struct Unwrapped {
    captured: u64,
    tx_packets: u64,
    used: Option<u64>,
}

/// The newest samples.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    samples: VecDeque<Unwrapped>,
    last_used: Option<u64>,
}

impl Calibration {
    /// No samples yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample, and forgets those that are too old.
    pub fn push(&mut self, sample: Sample) {
        let used = sample.used.map(|used| unwrapped(self.last_used, used));
        self.last_used = used.or(self.last_used);
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(Unwrapped { captured: sample.captured, tx_packets: sample.tx_packets, used });
    }

    /// How far capture and TAP drifted apart in the window: the most frames that waited in the TAP's queue, or were
    /// lost in it. `None` without samples.
    #[must_use]
    pub fn waiting_spread(&self) -> Option<u64> {
        self.waiting().map(Range::spread)
    }

    /// How far TAP and queue drifted apart in the window. `None` without samples of the used index.
    #[must_use]
    pub fn used_spread(&self) -> Option<u64> {
        self.undelivered().map(Range::spread)
    }

    /// Why the used index cannot be counted with; `None` if it can.
    #[must_use]
    pub fn instability(&self) -> Option<Instability> {
        self.undelivered_least().err()
    }

    /// What the counters say when the TAP's is at `tx_packets` and the queue's at `used`; `None` without samples.
    #[must_use]
    pub fn counts(&self, tx_packets: u64, used: Option<u16>) -> Option<Counts> {
        let read = i128::from(tx_packets) + self.waiting()?.min;
        let got = self.undelivered_least().and_then(|undelivered| {
            let used = unwrapped(self.last_used, used.ok_or(Instability::TooFewSamples)?);
            let lacking = i128::from(tx_packets) - i128::from(used) - undelivered;
            // More than QEMU ever holds back, or less than nothing: the counters do not belong together.
            match u64::try_from(lacking) {
                Ok(lacking) if lacking <= MAX_UNDELIVERED => Ok(clamped(read - i128::from(lacking))),
                _ => Err(Instability::Drifting),
            }
        });
        Some(Counts { read: clamped(read), got })
    }

    /// Frames that QEMU has read and thrown away since these samples, by `later` ones.
    ///
    /// # Errors
    ///
    /// Why the used index cannot be counted with, then or now.
    pub fn thrown_away(&self, later: &[Sample]) -> Result<u64, Instability> {
        let before = self.undelivered_least()?;
        let mut after = Self { samples: VecDeque::new(), last_used: self.last_used };
        for sample in later {
            after.push(*sample);
        }
        match u64::try_from(after.undelivered_least()? - before) {
            Ok(lost) if lost <= MAX_UNDELIVERED => Ok(lost),
            _ => Err(Instability::Drifting),
        }
    }

    /// Frames that QEMU has read and the guest has not got, at the least, as a difference of counters.
    fn undelivered_least(&self) -> Result<i128, Instability> {
        let sampled = || self.samples.iter().filter_map(|sample| Some((sample.tx_packets, sample.used?)));
        if sampled().count() < ENOUGH {
            return Err(Instability::TooFewSamples);
        }
        if let (Some((read_first, used_first)), Some((read_last, used_last))) =
            (sampled().next(), sampled().next_back())
            && used_first == used_last
            && read_last.saturating_sub(read_first) >= PASSED
        {
            return Err(Instability::StandsStill);
        }
        match self.undelivered() {
            Some(range) if range.spread() <= MAX_SPREAD => Ok(range.min),
            _ => Err(Instability::Drifting),
        }
    }

    fn waiting(&self) -> Option<Range> {
        Range::of(
            self.samples.iter().map(|sample| i128::from(sample.captured) - i128::from(sample.tx_packets)),
        )
    }

    fn undelivered(&self) -> Option<Range> {
        Range::of(
            self.samples
                .iter()
                .filter_map(|sample| Some(i128::from(sample.tx_packets) - i128::from(sample.used?))),
        )
    }
}

/// A used index that goes on from the last one, which is less than 2^16 buffers ago.
pub(super) fn unwrapped(last: Option<u64>, used: u16) -> u64 {
    let Some(last) = last else { return u64::from(used) };
    let [low, high, ..] = last.to_le_bytes();
    last + u64::from(used.wrapping_sub(u16::from_le_bytes([low, high])))
}

/// An index: what would be before the first frame is the first.
fn clamped(index: i128) -> u64 {
    u64::try_from(index.max(0)).unwrap_or(u64::MAX)
}
