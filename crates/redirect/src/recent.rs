//! Timestamps of what was forwarded lately: when an event closes the gate in the past, they tell how
//! many frames had slipped through.

/// Frames remembered. At a million frames a second this reaches 65 ms back, a hundred times as long as
/// an event usually takes to arrive.
const REMEMBERED: usize = 1 << 16;

/// The timestamps of the frames forwarded last.
#[derive(Debug)]
pub(crate) struct Recent {
    stamps: Box<[u64]>,
    next: usize,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { stamps: vec![0; REMEMBERED].into_boxed_slice(), next: 0 }
    }

    /// Remembers a frame stamped at `timestamp` (nanoseconds since 1970).
    pub(crate) fn push(&mut self, timestamp: u64) {
        self.stamps[self.next] = timestamp;
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Forgets all frames, and says how many of them were stamped at `moment` or later.
    pub(crate) fn take_since(&mut self, moment: u64) -> u64 {
        let late = self.stamps.iter().filter(|stamp| **stamp >= moment).count();
        self.stamps.fill(0);
        crate::counters::count(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_from_the_moment_on_are_late_and_count_once() {
        let mut recent = Recent::new();
        for stamp in 1..=1_000 {
            recent.push(stamp);
        }
        assert_eq!(recent.take_since(991), 10);
        assert_eq!(recent.take_since(991), 0);
    }

    #[test]
    fn it_forgets_the_oldest_first() {
        let mut recent = Recent::new();
        let total = u64::try_from(REMEMBERED).unwrap() + 10;
        for stamp in 1..=total {
            recent.push(stamp);
        }
        assert_eq!(recent.take_since(1), total - 10);
    }
}
