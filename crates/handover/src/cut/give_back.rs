//! After a cancelled migration: the frames that QEMU had read when the VM stopped, and threw away.
//!
//! The guest runs on, and gets what waited in the TAP. The frames between the cut and the first that it gets are
//! gone, and can be given back to it. One given back for nothing is a duplicate, so in doubt there are none.

use super::calibration::{Calibration, MAX_UNDELIVERED, Sample};
use super::contents::{Contents, Equal};
use super::frames::{Seen, position};
use super::lengths::forward;
use super::virtqueue::Receive;

/// Frames that must fit by their lengths where nothing else tells.
const ENOUGH: usize = 4;

/// What is known once the guest runs again and has got frames, but fewer than its queue has elements.
pub struct Resumed<'a> {
    /// The first frame that the guest had not got when the VM stopped.
    pub cut: u64,
    /// The queue's used index (mod 2^16) at that time: [`Receive::index`].
    pub used_at_stop: u16,
    /// Captured frames from the cut on, oldest first.
    pub frames: &'a [Seen<'a>],
    /// The guest's receive queue as it is now.
    pub receive: Option<&'a Receive<'a>>,
    /// The counters as they were before the VM stopped.
    pub before: &'a Calibration,
    /// The counters since the VM runs again, from [`Resumed::receive`]'s time on.
    pub since: &'a [Sample],
}

/// What the number of frames was told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The contents of the frames that the guest got next.
    Contents,
    /// The lengths of the frames that the guest got next.
    Lengths,
    /// The counters of TAP and queue.
    Counts,
    /// Nothing: nothing is given back.
    Unsure,
}

impl Basis {
    /// The stable name, as in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contents => "contents",
            Self::Lengths => "lengths",
            Self::Counts => "counts",
            Self::Unsure => "unsure",
        }
    }
}

/// Frames to inject again: that many from the cut on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GiveBack {
    /// How many.
    pub frames: u64,
    /// What told.
    pub basis: Basis,
}

/// Says which frames QEMU threw away.
#[must_use]
pub fn give_back(resumed: &Resumed<'_>) -> GiveBack {
    let counted = resumed.before.thrown_away(resumed.since).ok();
    let by_queue = resumed.receive.and_then(|receive| by_queue(resumed, receive, counted));
    by_queue.unwrap_or_else(|| match counted {
        Some(frames) if reaches(resumed, frames) => GiveBack { frames, basis: Basis::Counts },
        _ => GiveBack { frames: 0, basis: Basis::Unsure },
    })
}

/// A number of frames thrown away that goes with what the guest got next.
struct Place {
    frames: u64,
    pairs: usize,
    /// Frames whose contents are in the queue's buffers.
    equal: Equal,
}

/// What the guest got since the stop, beside the frames from the cut on. `None` if that says nothing.
fn by_queue(resumed: &Resumed<'_>, receive: &Receive<'_>, counted: Option<u64>) -> Option<GiveBack> {
    let got = usize::from(receive.index().wrapping_sub(resumed.used_at_stop));
    let first = receive.used().len().checked_sub(got).filter(|_| got > 0)?;
    let mut contents = Contents::new(receive);
    let mut left: Vec<Place> = Vec::new();
    for frames in 0..=MAX_UNDELIVERED {
        let index = resumed.cut.checked_add(frames)?;
        let start = position(resumed.frames, index);
        if resumed.frames.get(start).is_none_or(|frame| frame.index != index) {
            break;
        }
        let alignment = forward(resumed.frames, start, receive, first);
        if alignment.complete && !alignment.pairs.is_empty() {
            let equal = contents.equal(resumed.frames, &alignment.pairs);
            left.push(Place { frames, pairs: alignment.pairs.len(), equal });
        }
    }
    let most = left.iter().map(|place| place.equal.rank()).max()?;
    left.retain(|place| place.equal.rank() == most);
    match (left.as_slice(), counted) {
        ([only], _) if only.equal.is_believed() => {
            Some(GiveBack { frames: only.frames, basis: Basis::Contents })
        }
        (_, Some(counted)) => left
            .iter()
            .any(|place| place.frames == counted)
            .then_some(GiveBack { frames: counted, basis: Basis::Counts }),
        ([only], None) if only.pairs >= ENOUGH => {
            Some(GiveBack { frames: only.frames, basis: Basis::Lengths })
        }
        _ => None,
    }
}

/// Whether all of the frames to give back were captured.
fn reaches(resumed: &Resumed<'_>, frames: u64) -> bool {
    let contiguous =
        resumed.frames.iter().zip(resumed.cut..).take_while(|(frame, index)| frame.index == *index);
    u64::try_from(contiguous.count()).is_ok_and(|captured| captured >= frames)
}
