//! Captured frames and used buffers compared byte by byte.
//!
//! The driver may have offered a buffer again, and a guest may write into a frame that it got: equal bytes are strong
//! evidence, other bytes are none.

use std::collections::HashMap;

use super::frames::Seen;
use super::lengths::Pair;
use super::virtqueue::Receive;

/// Frames whose contents are compared.
pub(super) const FRAMES: usize = 32;

/// The flag of the first of them.
const FIRST: u32 = 1 << 31;

/// Frames with equal contents that are believed against all counts.
const CERTAIN: u32 = 3;

/// Bytes of each that are compared. What tells frames apart is in their headers, or soon after.
const BYTES: usize = 2048;

/// Which frames are in the buffers that they should be in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Equal {
    flags: u32,
    ordered: bool,
}

impl Equal {
    /// How many.
    pub(super) const fn count(self) -> u32 {
        self.flags.count_ones()
    }

    /// Whether that is beyond doubt by itself: the first frame, in a buffer that was not offered again, or several.
    pub(super) const fn is_certain(self) -> bool {
        self.count() >= CERTAIN || (self.ordered && self.flags & FIRST != 0)
    }

    /// Whether that is better than an old frame in a buffer that was offered again, which may look like a newer one.
    pub(super) const fn is_believed(self) -> bool {
        self.count() > 1 || (self.ordered && self.count() == 1)
    }

    /// Whether the first frames are certain already.
    pub(super) const fn begins_certain(self) -> bool {
        self.flags.leading_ones() >= CERTAIN
    }

    /// What compares places for the cut: the nearer frames decide, as frames lost farther off shift all beyond them.
    /// Where buffers may have been offered again unseen, the number decides.
    pub(super) const fn rank(self) -> u32 {
        if self.ordered { self.flags } else { self.count() }
    }
}

/// Contents of buffers, each read once.
pub(super) struct Contents<'a> {
    receive: &'a Receive<'a>,
    known: HashMap<usize, Option<Vec<u8>>>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(receive: &'a Receive<'a>) -> Self {
        Self { receive, known: HashMap::new() }
    }

    /// Which of the first pairs hold the same bytes.
    pub(super) fn equal(&mut self, frames: &[Seen<'_>], pairs: &[Pair]) -> Equal {
        let mut flags = 0;
        for (pair, place) in pairs.iter().zip(0..FRAMES) {
            let start = self.start(pair.element);
            if start.is_some_and(|start| !start.is_empty() && frames[pair.frame].begins_with(start)) {
                flags |= FIRST >> place;
            }
        }
        Equal { flags, ordered: self.receive.knows_offered() }
    }

    fn start(&mut self, element: usize) -> Option<&[u8]> {
        let receive = self.receive;
        self.known.entry(element).or_insert_with(|| receive.frame_start(element, BYTES)).as_deref()
    }
}
