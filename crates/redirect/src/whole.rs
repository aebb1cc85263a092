//! Frames for whom nothing can finish: checksums complete, cut into segments, the tag in the bytes.

use tapferry_frame::ethernet::TAG_OFFSET;
use tapferry_frame::gso::{SegmentError, Segmenter};
use tapferry_sys::Captured;

use crate::counters::DropReason;
use crate::outlet::with_tag;

/// Refuses what is no frame, or no longer a whole one.
pub(crate) fn require_complete(captured: &Captured<'_>) -> Result<(), DropReason> {
    if captured.is_truncated() {
        return Err(DropReason::Truncated);
    }
    if captured.bytes.is_empty() || (captured.beside.is_some() && captured.bytes.len() < TAG_OFFSET) {
        return Err(DropReason::Malformed);
    }
    Ok(())
}

/// Whether nothing of it was left undone.
pub(crate) fn is_whole(captured: &Captured<'_>) -> bool {
    !captured.vnet.needs_checksum() && captured.vnet.gso_kind().is_none()
}

/// Finishes a frame: hands each of its segments over, through `segment`, until one is refused.
pub(crate) fn make_whole(
    captured: &Captured<'_>,
    segment: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]) -> Result<(), DropReason>,
) -> Result<(), DropReason> {
    let vnet = match captured.beside {
        None => captured.vnet,
        Some(_) => captured.vnet.with_tag_inserted().ok_or(DropReason::Malformed)?,
    };
    let tagged = captured.beside.map(|_| with_tag(captured.bytes, captured.beside));
    let mut segments =
        Segmenter::new(vnet, tagged.as_deref().unwrap_or(captured.bytes)).map_err(|error| match error {
            SegmentError::Unsupported(_) => DropReason::UnsupportedOffload,
            SegmentError::TooLong => DropReason::TooLong,
            SegmentError::Malformed(_) => DropReason::Malformed,
        })?;
    while segments.next_into(segment) {
        each(segment)?;
    }
    Ok(())
}
