//! The queue's used index as the VM's monitor tells it, where the memory of its process cannot be read.
//!
//! An answer is some milliseconds old, and the VM runs meanwhile. But what the TAP has counted after an answer is never
//! too little for it, and of many answers some are hardly late: so the smallest difference is the one that holds, or a
//! little more. A cut by it is never too early, and never later than one by the TAP's counter alone.

use std::collections::VecDeque;

use super::calibration::{MAX_UNDELIVERED, unwrapped};

/// Answers that count: about two seconds, as with [`Calibration`](super::Calibration).
const WINDOW: usize = 40;

/// What the monitor has told. Indices are those of captured frames.
#[derive(Debug, Clone, Default)]
pub struct Told {
    last_used: Option<u64>,
    /// How far frames and buffers are apart, by the newest answers: at least this much too late.
    apart: VecDeque<i128>,
    /// One past the last frame that had been read before the next answer's question.
    read: u64,
    /// One past the newest frame that QEMU may have read and kept from its guest.
    doubtful: u64,
    /// The used index of the VM that has stopped.
    at_stop: Option<u64>,
}

impl Told {
    /// Frame `index` may fill no buffer when it is read: answers from before that say nothing any more.
    pub fn note_doubtful(&mut self, index: u64) {
        self.doubtful = index.saturating_add(1);
        self.apart.clear();
    }

    /// The VM runs, and its queue was at `used` (mod 2^16). By now the frames below `read` have been read from the TAP.
    pub fn note(&mut self, used: u16, read: u64) {
        let used = unwrapped(self.last_used, used);
        self.last_used = Some(used);
        if self.read >= self.doubtful {
            if self.apart.len() == WINDOW {
                self.apart.pop_front();
            }
            self.apart.push_back(i128::from(read) - i128::from(used));
        }
        self.read = read;
    }

    /// The VM has stopped, and its queue is at `used`.
    pub fn note_stopped(&mut self, used: u16) {
        self.at_stop = Some(unwrapped(self.last_used, used));
    }

    /// Whether the word of a VM that has stopped is all that is missing.
    #[must_use]
    pub fn lacks_last_word(&self) -> bool {
        self.at_stop.is_none() && !self.apart.is_empty()
    }

    /// One past the last frame that the guest has got, when the frames below `read` have been read from the TAP. `None`
    /// if the answers do not tell, or do not go with that.
    #[must_use]
    pub fn got(&self, read: u64) -> Option<u64> {
        let got = i128::from(self.at_stop?) + self.apart.iter().min()?;
        let got = u64::try_from(got).ok()?;
        (read.saturating_sub(MAX_UNDELIVERED)..=read).contains(&got).then_some(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guest has filled one buffer a frame, 65,500 before the first.
    fn used(frames: u64) -> u16 {
        let [low, high, ..] = (65_500 + frames).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    #[test]
    fn the_answer_that_was_hardly_late_says_how_far_frames_and_buffers_are_apart() {
        let mut told = Told::default();
        for (got, late) in [(100, 40), (200, 7), (300, 0), (400, 90)] {
            told.note(used(got), got + late);
        }
        assert!(told.lacks_last_word());
        told.note_stopped(used(455));
        assert!(!told.lacks_last_word());
        assert_eq!(told.got(457), Some(455));
    }

    #[test]
    fn answers_that_were_all_late_give_a_late_cut_and_never_one_beyond_what_was_read() {
        let mut told = Told::default();
        told.note(used(100), 101);
        told.note(used(200), 203);
        told.note_stopped(used(300));
        assert_eq!((told.got(302), told.got(301), told.got(300)), (Some(301), Some(301), None));
    }

    #[test]
    fn frames_that_fill_several_buffers_never_make_it_early() {
        let mut told = Told::default();
        told.note(used(100), 100);
        told.note_stopped(used(100 + 3));
        assert_eq!(told.got(102), None, "two frames, three buffers");
    }

    #[test]
    fn a_frame_that_the_guest_may_not_have_been_given_makes_all_before_it_void() {
        let mut told = Told::default();
        told.note(used(100), 100);
        told.note_doubtful(110);
        assert!(!told.lacks_last_word());
        // Asked before it was known that the frame has been read, it may be from before that.
        told.note(used(109), 111);
        assert!(!told.lacks_last_word());
        told.note(used(150), 151);
        told.note_stopped(used(200));
        assert_eq!(told.got(203), Some(201));
    }

    #[test]
    fn without_answers_from_before_the_stop_the_last_one_says_nothing() {
        let mut told = Told::default();
        told.note_stopped(used(5));
        assert_eq!(told.got(5), None);
        assert!(!told.lacks_last_word());
    }
}
