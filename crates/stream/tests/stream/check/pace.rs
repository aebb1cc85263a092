//! The decoder fed in pieces and compared with the model.

use tapferry_stream::{Decoder, Framing, FramingError, MAX_LENGTH, Record, Unannounced, VNET_HDR_LENGTHS};

use super::model::{End, Outcome, is_surely_a_frame, may_begin_with_header, naive};

/// How the bytes reach the decoder, and how its records leave it.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Bytes of each read, over and over; a read of 0 counts as one byte.
    pub(crate) reads: Vec<usize>,
    /// Records that are stepped over at once.
    pub(crate) batch: usize,
    /// Reads before records are taken, while there is room.
    pub(crate) reads_per_take: usize,
}

impl Pace {
    /// Reads of these sizes, and all records after each.
    pub(crate) fn reads(reads: Vec<usize>) -> Self {
        Self { reads, batch: usize::MAX, reads_per_take: 1 }
    }

    /// Each read as much as there is room for.
    pub(crate) fn at_once() -> Self {
        Self::reads(vec![usize::MAX])
    }
}

/// Lets the decoder read `bytes`, and compares each of its records with the one that is expected. Returns the number
/// of records and how the stream ended.
pub(crate) fn decode(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    pace: &Pace,
    expected: &[Record<'_>],
) -> (usize, End) {
    let mut decoded = 0;
    let mut reads = pace.reads.iter().cycle();
    loop {
        for _ in 0..pace.reads_per_take.max(1) {
            let space = decoder.space();
            let read = (*reads.next().unwrap_or(&1)).max(1).min(bytes.len()).min(space.len());
            space[..read].copy_from_slice(&bytes[..read]);
            decoder.filled(read);
            bytes = &bytes[read..];
        }
        loop {
            match decoder.poll() {
                Ok(true) => {}
                Ok(false) => {
                    assert!(decoder.records().next().is_none(), "a record that poll does not know of");
                    break;
                }
                Err(error) => {
                    assert!(decoder.records().next().is_none(), "a record from a stream that is wrong");
                    assert_eq!(decoder.poll(), Err(error), "an error stays");
                    return (decoded, End::Wrong(error));
                }
            }
            let batch = decoder.records().take(pace.batch.max(1)).fold(0, |taken, record| {
                let place = decoded + taken;
                assert!(place < expected.len(), "more records than there are");
                assert!(record == expected[place], "record {place} is not as it was sent");
                taken + 1
            });
            assert!(batch > 0, "poll knows of a record that there is not");
            decoder.advance(batch);
            decoded += batch;
        }
        assert!(decoder.space().len() >= MAX_LENGTH + 8, "no room for the rest of a record");
        if bytes.is_empty() {
            return (decoded, if decoder.is_between_records() { End::Between } else { End::Partial });
        }
    }
}

/// Checks that the decoder makes of `bytes` what the model does, at this pace, and returns how the stream ended.
/// `decoder` may come from another connection.
pub(crate) fn agrees(decoder: &mut Decoder, bytes: &[u8], pace: &Pace) -> (usize, End) {
    let framing = decoder.framing();
    let unannounced = match framing.unannounced {
        _ if framing.vnet_hdr => (usize::MAX, 0),
        Unannounced::Len(len) => (0, len),
        Unannounced::Recognise => recognised(decoder, bytes),
    };
    let model = naive(framing, unannounced, bytes);
    decoder.reset();
    let (decoded, end) = decode(decoder, bytes, pace, &model.records);
    match end {
        End::Wrong(FramingError::PeerSendsVnetHeaders | FramingError::PeerSendsNoVnetHeaders) => {
            assert!(blame_is_possible(framing, bytes, &model, decoded), "blames the peer without a reason");
            decoder.reset();
            let at_once = decode(decoder, bytes, &Pace::at_once(), &model.records);
            assert_eq!(at_once, (decoded, end), "the verdict depends on how the bytes came");
        }
        _ => assert_eq!((decoded, end), (model.records.len(), model.end)),
    }
    (decoded, end)
}

/// From which record on, and in what length, the decoder finds headers that nothing announces; checked for what no
/// reading of the bytes allows. That nothing changes afterwards is for the comparison to show.
fn recognised(decoder: &mut Decoder, mut bytes: &[u8]) -> (usize, usize) {
    let mut place = 0;
    decoder.reset();
    loop {
        let space = decoder.space();
        let read = bytes.len().min(space.len());
        space[..read].copy_from_slice(&bytes[..read]);
        decoder.filled(read);
        bytes = &bytes[read..];
        let mut taken = 0;
        for Record { vnet_hdr, frame } in decoder.records() {
            if !vnet_hdr.is_empty() {
                let record = [vnet_hdr, frame].concat();
                assert!(may_begin_with_header(&record, vnet_hdr.len()), "a header where there is none");
                return (place + taken, vnet_hdr.len());
            }
            taken += 1;
            if is_surely_a_frame(frame) {
                return (usize::MAX, 0);
            }
        }
        if taken == 0 {
            return (usize::MAX, 0);
        }
        decoder.advance(taken);
        place += taken;
    }
}

/// Whether the peer's vnet_hdr_support may be blamed after that many records: for the first that has anything in it,
/// or for what comes after that one.
fn blame_is_possible(framing: Framing, bytes: &[u8], model: &Outcome<'_>, decoded: usize) -> bool {
    let is_empty = |record: &Record<'_>| record.vnet_hdr.is_empty() && record.frame.is_empty();
    let wrong_here = matches!(model.end, End::Wrong(_)) && model.records.len() == decoded;
    match model.records[..decoded].iter().filter(|record| !is_empty(record)).count() {
        0 if wrong_here => framing.vnet_hdr,
        0 => {
            let vnet_hdr_len = &bytes[decoded * framing.prefix_len() + 4..][..4];
            vnet_hdr_len[..3] == [0, 0, 0] && VNET_HDR_LENGTHS.contains(&usize::from(vnet_hdr_len[3]))
        }
        1 => wrong_here || model.records.get(decoded).map_or(model.end == End::Partial, is_empty),
        _ => false,
    }
}
