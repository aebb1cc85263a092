//! Captured frames and used buffers laid side by side, by their lengths.
//!
//! The buffers that a frame fills hold its bytes and one virtio-net header together.

use super::frames::Seen;
use super::virtqueue::{Receive, UsedElement};

/// Captured frames that may be missing in the queue: QEMU's filter of multicast frames, or the TAP, dropped them.
pub(super) const MAX_MISSING: usize = 16;

/// A frame, and the first of the used elements that it fills; positions in the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) frame: usize,
    pub(super) element: usize,
}

/// How far frames and buffers agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alignment {
    /// In the order of the walk.
    pub(super) pairs: Vec<Pair>,
    /// Frames that were passed over.
    pub(super) missing: usize,
    /// Whether they agree for as far as both are known.
    pub(super) complete: bool,
}

/// Backward: the frames before position `end`, `depth` of them at the most, beside the newest used elements. Up to
/// `may_miss` frames are passed over.
pub(super) fn backward(
    frames: &[Seen<'_>],
    end: usize,
    depth: usize,
    receive: &Receive<'_>,
    may_miss: usize,
) -> Alignment {
    let mut alignment = Alignment { complete: true, ..Alignment::default() };
    let mut left = receive.used();
    let mut next = frames.get(end).map(|frame| frame.index);
    for (position, frame) in frames.iter().enumerate().take(end).rev().take(depth) {
        // What the capture itself has lost may be in the queue: nothing before it is known.
        if left.is_empty() || next.is_some_and(|next| next.checked_sub(1) != Some(frame.index)) {
            break;
        }
        next = Some(frame.index);
        match filled(left.iter().rev(), frame, receive) {
            Filled::Exactly(count) => {
                left = &left[..left.len() - count];
                alignment.pairs.push(Pair { frame: position, element: left.len() });
            }
            Filled::Unknown => break,
            Filled::Not if alignment.missing < may_miss => alignment.missing += 1,
            Filled::Not => {
                alignment.complete = false;
                break;
            }
        }
    }
    alignment
}

/// Forward: the frames from position `start` on beside the used elements from position `first` on.
pub(super) fn forward(frames: &[Seen<'_>], start: usize, receive: &Receive<'_>, first: usize) -> Alignment {
    let mut alignment = Alignment { complete: true, ..Alignment::default() };
    let mut element = first;
    let mut previous: Option<u64> = None;
    for (position, frame) in frames.iter().enumerate().skip(start) {
        let left = receive.used().get(element..).unwrap_or_default();
        if left.is_empty() || previous.is_some_and(|previous| previous.checked_add(1) != Some(frame.index)) {
            break;
        }
        previous = Some(frame.index);
        match filled(left.iter(), frame, receive) {
            Filled::Exactly(count) => {
                alignment.pairs.push(Pair { frame: position, element });
                element += count;
            }
            Filled::Unknown => break,
            Filled::Not => {
                alignment.complete = false;
                break;
            }
        }
    }
    alignment
}

enum Filled {
    /// That many elements.
    Exactly(usize),
    /// More than the elements that are known.
    Unknown,
    Not,
}

/// How many of the next elements a frame fills.
fn filled<'e>(
    elements: impl Iterator<Item = &'e UsedElement>,
    frame: &Seen<'_>,
    receive: &Receive<'_>,
) -> Filled {
    let wanted = frame.len().saturating_add(receive.header_len());
    let mut sum = 0u64;
    for (before, element) in elements.enumerate() {
        sum = sum.saturating_add(u64::from(element.len));
        if sum == wanted {
            return Filled::Exactly(before + 1);
        }
        if sum > wanted || !receive.mergeable() {
            return Filled::Not;
        }
    }
    Filled::Unknown
}
