//! The decoder: bytes as they come from a peer, records as it sent them.

use crate::diagnosis::{self, Verdict};
use crate::error::FramingError;
use crate::framing::{FIELD, Framing, MAX_LENGTH, MAX_RECORD, Record, VNET_HDR_LENGTHS, field_at};
use crate::likeness::{ANNOUNCEMENT, is_announcement};
use crate::unannounced;

/// Bytes of the buffer: a few of the longest records, so that one cut by the buffer's end is seldom moved, and few
/// enough to stay in a CPU's cache.
const CAPACITY: usize = 512 * 1024;

const _: () = assert!(CAPACITY.is_power_of_two() && CAPACITY >= 4 * MAX_RECORD);

/// Incremental decoder; owns the buffer that is read into.
///
/// ```
/// use tapferry_stream::{Decoder, Framing};
///
/// let mut decoder = Decoder::new(Framing::default());
/// for part in [&b"\0\0"[..], b"\0\x05Hel", b"lo\0\0"] {
///     decoder.space()[..part.len()].copy_from_slice(part);
///     decoder.filled(part.len());
/// }
/// while decoder.poll()? {
///     let frames: Vec<&[u8]> = decoder.records().map(|record| record.frame).collect();
///     assert_eq!(frames, [b"Hello"]);
///     decoder.advance(1);
/// }
/// assert!(!decoder.is_between_records());
/// # Ok::<(), tapferry_stream::FramingError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    buffer: Vec<u8>,
    /// What was read and not yet stepped over is `buffer[start..end]`.
    start: usize,
    end: usize,
    known: Known,
}

/// What the records so far show of the peer.
#[derive(Debug, Clone, Copy)]
struct Known {
    standing: Standing,
    /// Bytes of the virtio-net header that nothing announces, in each record; `None` as long as no record tells.
    unannounced: Option<usize>,
}

impl Known {
    const fn at_first(framing: Framing) -> Self {
        Self { standing: Standing::Unjudged, unannounced: framing.unannounced.len() }
    }
}

/// What is known of whether the peer's vnet_hdr_support is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// No record with anything in it yet.
    Unjudged,
    /// The first record could be read either way; the beginning of the next one tells.
    Doubtful,
    /// The stream is in step.
    Settled,
}

impl Decoder {
    /// A decoder for a new connection. Allocates its buffer, of a fixed size.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: vec![0; CAPACITY], start: 0, end: 0, known: Known::at_first(framing) }
    }

    /// What it was made for.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Free room to read into: never empty once [`Decoder::poll`] says that there is no complete record, and then
    /// enough for one of the longest.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < MAX_RECORD {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Tells that the first `bytes` of [`Decoder::space`] were read into. No more than there was room for count.
    pub fn filled(&mut self, bytes: usize) {
        self.end = self.end.saturating_add(bytes).min(self.buffer.len());
    }

    /// Whether a complete record is at the front.
    ///
    /// # Errors
    ///
    /// What is at the front is no record, or the first record shows that the peer's vnet_hdr_support is another than
    /// ours. An error stays until [`Decoder::reset`].
    pub fn poll(&self) -> Result<bool, FramingError> {
        Ok(self.walk().step()?.is_some())
    }

    /// The complete records from the front on, up to the first that is incomplete or wrong.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut walk = self.walk();
        std::iter::from_fn(move || walk.step().ok().flatten())
    }

    /// Steps over that many records, or over all complete ones if there are fewer.
    pub fn advance(&mut self, records: usize) {
        let mut walk = self.walk();
        for _ in 0..records {
            if !matches!(walk.step(), Ok(Some(_))) {
                break;
            }
        }
        (self.start, self.known) = (self.end - walk.bytes.len(), walk.known);
    }

    /// Whether no part of a record is waiting: the end of the connection cuts none.
    #[must_use]
    pub fn is_between_records(&self) -> bool {
        let mut walk = self.walk();
        while let Ok(Some(_)) = walk.step() {}
        walk.bytes.is_empty()
    }

    /// Forgets everything: a new connection begins.
    pub fn reset(&mut self) {
        (self.start, self.end, self.known) = (0, 0, Known::at_first(self.framing));
    }

    fn walk(&self) -> Walk<'_> {
        Walk { framing: self.framing, known: self.known, bytes: &self.buffer[self.start..self.end] }
    }
}

/// A walk over what was read, record by record: the one place that knows where a record begins and ends.
struct Walk<'a> {
    framing: Framing,
    known: Known,
    /// From the next record on.
    bytes: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Steps over the record at the front; stays where it is before one that is incomplete or wrong.
    fn step(&mut self) -> Result<Option<Record<'a>>, FramingError> {
        let Some(announced) = field_at(self.bytes, 0) else { return Ok(None) };
        let length = match usize::try_from(announced) {
            Ok(length) if length <= MAX_LENGTH => length,
            _ => return Err(self.explained(FramingError::Oversized { length: announced })),
        };
        if length == 0 && self.known.standing == Standing::Doubtful {
            // Nobody sends empty records; but the padding of a frame that is read the wrong way looks like one.
            return Err(diagnosis::mismatch(self.framing));
        }
        let announced = if self.framing.vnet_hdr {
            let Some(announced) = field_at(self.bytes, FIELD) else { return Ok(None) };
            match usize::try_from(announced) {
                Ok(vnet_hdr_len) if VNET_HDR_LENGTHS.contains(&vnet_hdr_len) => Some(vnet_hdr_len),
                _ => return Err(self.refused_header(length, announced)),
            }
        } else {
            None
        };
        let standing = if length == 0 { self.known.standing } else { self.standing_with(length)? };
        let Some((_, after_prefix)) = self.bytes.split_at_checked(self.framing.prefix_len()) else {
            return Ok(None);
        };
        let Some((body, rest)) = after_prefix.split_at_checked(length) else { return Ok(None) };
        self.bytes = rest;
        self.known.standing = standing;
        let vnet_hdr_len = if length == ANNOUNCEMENT && is_announcement(body) {
            0
        } else {
            announced.unwrap_or_else(|| self.unannounced_with(body))
        };
        let (vnet_hdr, frame) = body.split_at(vnet_hdr_len.min(length));
        Ok(Some(Record { vnet_hdr, frame }))
    }

    /// The standing once the record of `length` bytes at the front is stepped over. The first one is judged by the
    /// bytes after its first field, whose number does not depend on the framing.
    fn standing_with(&self, length: usize) -> Result<Standing, FramingError> {
        if self.known.standing != Standing::Unjudged {
            return Ok(Standing::Settled);
        }
        let Some(body) = self.bytes.get(FIELD..FIELD + length) else { return Ok(Standing::Unjudged) };
        match diagnosis::judge(self.framing, body) {
            Verdict::AsConfigured => Ok(Standing::Settled),
            Verdict::Either => Ok(Standing::Doubtful),
            Verdict::Mismatch => Err(diagnosis::mismatch(self.framing)),
        }
    }

    /// Bytes of virtio-net header in a record that announces none. The first record that tells decides for all that
    /// follow; one with a header shows that the stream is in step, too.
    fn unannounced_with(&mut self, record: &[u8]) -> usize {
        if self.known.unannounced.is_none() {
            self.known.unannounced = unannounced::recognise(record);
            if matches!(self.known.unannounced, Some(1..)) {
                self.known.standing = Standing::Settled;
            }
        }
        self.known.unannounced.unwrap_or(0)
    }

    /// A stream that is read the wrong way runs into nonsense after its first record.
    fn explained(&self, error: FramingError) -> FramingError {
        if self.known.standing == Standing::Doubtful { diagnosis::mismatch(self.framing) } else { error }
    }

    /// What stands where a record of `length` bytes should announce its virtio-net header is no such length.
    fn refused_header(&self, length: usize, announced: u32) -> FramingError {
        if self.known.standing == Standing::Unjudged && diagnosis::begins_a_frame(length, announced) {
            return diagnosis::mismatch(self.framing);
        }
        self.explained(FramingError::VnetHeaderLength { length: announced })
    }
}
