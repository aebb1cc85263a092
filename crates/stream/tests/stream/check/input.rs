//! What a fuzz input means: how its stream is to be read, then the stream.

use tapferry_stream::{Decoder, Framing, Unannounced};

use super::pace::{Pace, agrees};

/// Bytes before the stream in a fuzz input.
const HEADER: usize = 8;

/// Bytes of a stream that is repeated, at most: enough to go round the buffer a few times.
const REPEATED: usize = 3 << 19;

/// The check of one fuzz input. Its first bytes say how the others are taken:
///
/// | byte | |
/// | --- | --- |
/// | 0 | bit 0: vnet_hdr; bits 1, 2: records in a batch, 0 for all; bits 3, 4: further reads before records are taken; bits 5 to 7: unannounced, 0: recognise, or a length |
/// | 1 | how often the stream is repeated; 0: it comes once |
/// | 2 to 7 | sizes of the reads, over and over: up to 127 as they are, above in steps of 600 bytes |
pub(crate) fn check(input: &[u8]) {
    let Some((&[mode, repeats, reads @ ..], stream)) = input.split_first_chunk::<HEADER>() else {
        return;
    };
    let repeats = 1 + usize::from(repeats).min(REPEATED / stream.len().max(1));
    let stream = stream.repeat(repeats);
    // A long stream in reads of a byte each would show nothing new, slowly.
    let scale = 1 + (stream.len() >> 14);
    let read = |size: u8| scale * if size < 128 { usize::from(size) } else { usize::from(size - 127) * 600 };
    let batch = usize::from(mode >> 1 & 3);
    let pace = Pace {
        batch: if batch == 0 { usize::MAX } else { batch },
        reads_per_take: 1 + usize::from(mode >> 3 & 3),
        ..Pace::reads(reads.iter().copied().map(read).collect())
    };
    let unannounced = match mode >> 5 {
        0 => Unannounced::Recognise,
        choice => Unannounced::Len([0, 10, 12, 20, 24, 1, usize::MAX][usize::from(choice - 1)]),
    };
    let framing = Framing { vnet_hdr: mode & 1 != 0, unannounced };
    agrees(&mut Decoder::new(framing), &stream, &pace);
}
