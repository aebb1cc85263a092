//! Whether the two ends differ in vnet_hdr_support: a stream's first record, read both ways.
//!
//! ```text
//! read as    on the wire
//! off        length | frame .........................................
//! on         length | vnet_hdr_len | virtio-net header | frame ......| ....
//!                   ^ body, `length` bytes                           ^
//! ```
//!
//! With vnet_hdr_support off, the frame may begin with a virtio-net header all the same: [`crate::unannounced`].
//!
//! Frames may hold anything, so most bytes that make little sense are no proof: a test's payload without any
//! ethertype is as good a frame as another. A stream is refused only where the configured reading shows nothing that
//! is known and the other one shows more than chance would put there.

use crate::error::FramingError;
use crate::framing::{FIELD, Framing, VNET_HDR_LENGTHS, field_at};
use crate::likeness::{ANNOUNCEMENT, ETHERNET_HEADER, Likeness, is_announcement, likeness};
use crate::unannounced::{convinces, convincing, is_in_use};

/// What a first record says about the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It makes sense as configured, or no more sense the other way.
    AsConfigured,
    /// It makes more sense the other way, but not enough to refuse it.
    Either,
    /// The peer's vnet_hdr_support is not ours.
    Mismatch,
}

/// The error that says it.
pub(crate) const fn mismatch(framing: Framing) -> FramingError {
    if framing.vnet_hdr { FramingError::PeerSendsNoVnetHeaders } else { FramingError::PeerSendsVnetHeaders }
}

/// Whether `field`, where a `vnet_hdr_len` was expected, looks like the beginning of an Ethernet frame of `length`
/// bytes. A small number is rather a length that is not known here.
pub(crate) fn begins_a_frame(length: usize, field: u32) -> bool {
    length >= ETHERNET_HEADER && field > u32::from(u8::MAX)
}

/// Judges the first record of a connection by the bytes after its first field, as many as that field says.
pub(crate) fn judge(framing: Framing, body: &[u8]) -> Verdict {
    let headers = Headers::read(body);
    let (configured, otherwise) = if framing.vnet_hdr {
        let configured = headers.map_or(Likeness::Unknown, |headers| headers.likeness);
        (configured, without_vnet_hdr_support(body))
    } else {
        let otherwise = headers.map_or(Verdict::AsConfigured, Headers::verdict);
        let frame = body.get(framing.unannounced.len().unwrap_or(0)..).unwrap_or_default();
        (likeness(frame, frame.len()), otherwise)
    };
    match (configured, otherwise) {
        (Likeness::Unknown, otherwise) => otherwise,
        (Likeness::Type | Likeness::Padded, Verdict::Mismatch) => Verdict::Either,
        _ => Verdict::AsConfigured,
    }
}

/// The verdict of the reading without vnet_hdr_support alone. The body is a frame; but from a TAP that has virtio-net
/// headers QEMU sends them all the same, unannounced.
fn without_vnet_hdr_support(body: &[u8]) -> Verdict {
    match likeness(body, body.len()) {
        Likeness::Exact | Likeness::Padded => Verdict::Mismatch,
        _ if convincing(body).is_some() => Verdict::Mismatch,
        Likeness::Type => Verdict::Either,
        Likeness::Unknown => Verdict::AsConfigured,
    }
}

/// The reading with vnet_hdr_support.
#[derive(Debug, Clone, Copy)]
struct Headers<'a> {
    header: &'a [u8],
    /// All but the last four bytes, which lie outside of the body.
    frame: &'a [u8],
    likeness: Likeness,
}

impl<'a> Headers<'a> {
    /// `None` if there is no virtio-net header of the announced length.
    fn read(body: &'a [u8]) -> Option<Self> {
        let len = usize::try_from(field_at(body, 0)?).ok().filter(|len| VNET_HDR_LENGTHS.contains(len))?;
        let record = &body[FIELD..];
        let has_header = body.len() != ANNOUNCEMENT || !is_announcement(record);
        let (header, frame) = record.split_at_checked(if has_header { len } else { 0 })?;
        Some(Self { header, frame, likeness: likeness(frame, FIELD + frame.len()) })
    }

    /// The verdict of this reading alone. A header has fields that speak for it; without one there are only four zero
    /// bytes, with which an address may well begin, and the frame itself has to convince.
    fn verdict(self) -> Verdict {
        if self.header.is_empty() {
            return match self.likeness {
                Likeness::Unknown => Verdict::AsConfigured,
                likeness if convinces(self.frame, likeness) => Verdict::Mismatch,
                _ => Verdict::Either,
            };
        }
        if !is_in_use(self.header, FIELD + self.frame.len()) {
            Verdict::AsConfigured
        } else if self.likeness >= Likeness::Type {
            Verdict::Mismatch
        } else {
            Verdict::Either
        }
    }
}
