//! The cut: which captured frame is the first that the guest had not got when its VM stopped.
//!
//! Lengths say where the cut can be, contents and counts which of those places it is. Frames lost on their way into
//! the guest, or missed by the capture, make lengths disagree; then contents must agree all the more.

use super::calibration::{Counts, Instability, MAX_UNDELIVERED};
use super::contents::{Contents, Equal, FRAMES};
use super::frames::{Seen, position};
use super::lengths::{Alignment, MAX_MISSING, backward};
use super::virtqueue::Receive;
use crate::wire::Method;

/// The newest frames among which the cut is looked for where counts do not say where.
const SEARCHED: usize = 4096;

/// All that is known when the VM has stopped.
pub struct Evidence<'a> {
    /// Frames captured so far: one past the newest.
    pub captured: u64,
    /// The newest captured frames, oldest first.
    pub frames: &'a [Seen<'a>],
    /// What the counters say.
    pub counts: Option<Counts>,
    /// The guest's receive queue, read after the VM has stopped.
    pub receive: Option<&'a Receive<'a>>,
    /// One past the last frame that the guest has got, as its VM's monitor tells: [`Told::got`](super::Told::got).
    pub told: Option<u64>,
    /// When QEMU said that the VM has stopped: CLOCK_REALTIME, nanoseconds since 1970.
    pub stopped_at_ns: u64,
}

/// Why a cut is not sure, or was not found in a better way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// The queue could not be read.
    #[error("the VM's receive queue could not be read")]
    NoQueue,
    /// The guest gets its frames in another queue.
    #[error("the guest receives through another queue, or several")]
    OtherQueue,
    /// What is in the queue does not go with the captured frames: a packed ring, or frames from elsewhere.
    #[error("what is in the VM's receive queue does not go with the captured frames")]
    NoMatch,
    /// Several places go with the queue, and neither contents nor counts decide. The last of them was taken.
    #[error("several places for the cut go with the VM's receive queue")]
    Ambiguous,
    /// The TAP's counter was not sampled.
    #[error("the VM stopped before the TAP's counters had been sampled")]
    NoSamples,
}

/// Where the guest's frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The first captured frame that the guest has not got.
    pub index: u64,
    /// How it was found.
    pub method: Method,
    /// Why it is not sure; `None` if it is.
    pub why_not_better: Option<Reason>,
    /// Places for the cut that go with the queue.
    pub candidates: usize,
}

/// A place for the cut.
struct Candidate {
    index: u64,
    alignment: Alignment,
    /// Frames whose contents are in the queue's buffers.
    equal: Equal,
}

/// Finds the cut in the best way that the evidence allows.
#[must_use]
pub fn find(evidence: &Evidence<'_>) -> Cut {
    let other_queue = evidence.counts.is_some_and(|counts| counts.got == Err(Instability::StandsStill));
    let why_not = match evidence.receive {
        None => Reason::NoQueue,
        Some(_) if other_queue => Reason::OtherQueue,
        Some(receive) => match by_queue(evidence, receive) {
            Some(cut) => return cut,
            None => Reason::NoMatch,
        },
    };
    by_counts(evidence, why_not)
}

fn by_queue(evidence: &Evidence<'_>, receive: &Receive<'_>) -> Option<Cut> {
    let mut contents = Contents::new(receive);
    let mut near = Vec::new();
    if let Some(counts) = evidence.counts {
        let last = counts.read.min(evidence.captured);
        let places = last.saturating_sub(MAX_UNDELIVERED)..=last;
        near = candidates(evidence, receive, &mut contents, places.clone(), 0);
        if near.is_empty() {
            near = candidates(evidence, receive, &mut contents, places, MAX_MISSING);
            let missing = near.iter().map(|candidate| candidate.alignment.missing).min();
            near.retain(|candidate| Some(candidate.alignment.missing) == missing);
        }
    }
    let most = near.iter().map(|candidate| candidate.equal.rank()).max().unwrap_or(0);
    if receive.knows_offered()
        && receive.holds_anything()
        && !near.iter().any(|candidate| candidate.equal.begins_certain())
        && let Some((rank, index)) = by_contents(evidence, receive, &mut contents)
        && rank > most
    {
        let candidates = near.len().max(1);
        return Some(Cut { index, method: Method::UsedRing, why_not_better: None, candidates });
    }
    choose(&near, evidence.counts.and_then(|counts| counts.got.ok()))
}

/// The places of which the frames before go with the queue, lowest first.
fn candidates(
    evidence: &Evidence<'_>,
    receive: &Receive<'_>,
    contents: &mut Contents<'_>,
    places: std::ops::RangeInclusive<u64>,
    may_miss: usize,
) -> Vec<Candidate> {
    let frames = evidence.frames;
    let mut found = Vec::new();
    for index in places {
        let end = position(frames, index);
        let reaches = end.checked_sub(1).is_some_and(|last| frames[last].index.checked_add(1) == Some(index));
        if !reaches {
            continue;
        }
        let alignment = backward(frames, end, frames.len(), receive, may_miss);
        if alignment.complete && !alignment.pairs.is_empty() {
            let equal = contents.equal(frames, &alignment.pairs);
            found.push(Candidate { index, alignment, equal });
        }
    }
    found
}

/// The place anywhere that so many contents speak for that counts need not agree, and its rank: frames lost before the
/// guest, or a capture that lost some, leave the counters off for a while.
fn by_contents(
    evidence: &Evidence<'_>,
    receive: &Receive<'_>,
    contents: &mut Contents<'_>,
) -> Option<(u32, u64)> {
    let frames = evidence.frames;
    let mut best = None;
    let mut most = 0;
    for end in frames.len().saturating_sub(SEARCHED) + 1..=frames.len() {
        let alignment = backward(frames, end, FRAMES, receive, 0);
        let equal = contents.equal(frames, &alignment.pairs);
        if equal.is_certain() && equal.rank() >= most {
            let unique = equal.rank() > most;
            most = equal.rank();
            best = unique.then(|| (most, frames[end - 1].index.saturating_add(1)));
        }
    }
    best
}

/// Contents decide, then counts; a single place needs neither.
fn choose(candidates: &[Candidate], counted: Option<u64>) -> Option<Cut> {
    let most = candidates.iter().map(|candidate| candidate.equal.rank()).max()?;
    let found = |index, why_not_better| {
        Some(Cut { index, method: Method::UsedRing, why_not_better, candidates: candidates.len() })
    };
    let best = |candidate: &&Candidate| candidate.equal.rank() == most;
    let believed = candidates
        .iter()
        .filter(best)
        .all(|candidate| candidate.equal.is_believed() || (most > 0 && counted.is_none()));
    let left: Vec<u64> = candidates
        .iter()
        .filter(|candidate| !believed || best(candidate))
        .map(|candidate| candidate.index)
        .collect();
    match (left.as_slice(), counted) {
        ([only], _) => found(*only, None),
        (_, Some(counted)) if left.contains(&counted) => found(counted, None),
        ([.., last], _) => found(*last, Some(Reason::Ambiguous)),
        ([], _) => None,
    }
}

/// What counts say, and without them the timestamp.
fn by_counts(evidence: &Evidence<'_>, why_not: Reason) -> Cut {
    let cut = |index: u64, method, reason| Cut {
        index: index.min(evidence.captured),
        method,
        why_not_better: Some(reason),
        candidates: 0,
    };
    match (evidence.counts, evidence.told) {
        (Some(Counts { got: Ok(got), .. }), _) => cut(got, Method::UsedIndex, why_not),
        (Some(_), Some(told)) => cut(told, Method::QueueStatus, why_not),
        // QEMU may have read up to two more frames than the guest has got, as measured: they are lost. Taking them for
        // lost where they are not would deliver them twice.
        (Some(Counts { read, .. }), None) => cut(read, Method::TxPackets, why_not),
        (None, _) => {
            let late = evidence.frames.iter().find(|frame| frame.timestamp_ns >= evidence.stopped_at_ns);
            cut(late.map_or(evidence.captured, |frame| frame.index), Method::Timestamp, Reason::NoSamples)
        }
    }
}
