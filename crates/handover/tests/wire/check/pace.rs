//! The decoder fed in pieces and compared with the model.

use tapferry_handover::wire::{Decoder, Message, encode};

use super::model::{Ending, naive};

/// Bytes of the longest message, with its length.
const LONGEST: usize = 4 + 69_664;

/// How the bytes reach the decoder.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Bytes of each read, over and over; a read of 0 counts as one byte.
    pub(crate) reads: Vec<usize>,
    /// Reads before messages are taken, while there is room.
    pub(crate) reads_per_take: usize,
}

impl Pace {
    /// Reads of these sizes, and all messages after each.
    pub(crate) fn reads(reads: Vec<usize>) -> Self {
        Self { reads, reads_per_take: 1 }
    }
}

/// Checks that the decoder makes of `bytes` what the model does, at this pace, and that what it makes encodes to the
/// same bytes. Returns the number of messages and how the bytes ended. `decoder` may come from another connection.
pub(crate) fn agrees(decoder: &mut Decoder, bytes: &[u8], pace: &Pace) -> (usize, Ending) {
    let (messages, ending) = naive(bytes);
    decoder.reset();
    let outcome = decode(decoder, bytes, pace, &messages);
    assert_eq!(outcome, (messages.len(), ending));

    let mut again = Vec::new();
    for message in &messages {
        assert_eq!(encode(message, &mut again), Ok(()), "what was received can be said");
    }
    assert!(bytes.starts_with(&again), "a message has another encoding");
    outcome
}

fn decode(decoder: &mut Decoder, mut bytes: &[u8], pace: &Pace, expected: &[Message<'_>]) -> (usize, Ending) {
    let mut decoded = 0;
    let mut reads = pace.reads.iter().cycle();
    let whole_buffer = decoder.room().len();
    loop {
        for _ in 0..pace.reads_per_take.max(1) {
            let room = decoder.room();
            assert!(room.len() <= whole_buffer, "the buffer has grown");
            let read = (*reads.next().unwrap_or(&1)).max(1).min(bytes.len()).min(room.len());
            room[..read].copy_from_slice(&bytes[..read]);
            decoder.filled(read);
            bytes = &bytes[read..];
        }
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    assert!(decoded < expected.len(), "more messages than there are");
                    assert!(message == expected[decoded], "message {decoded} is not as it was sent");
                    decoded += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_message(), Err(error), "an error stays");
                    let line = error.to_string();
                    assert!(!line.is_empty() && !line.contains(char::is_control), "not one line: {line:?}");
                    return (decoded, Ending::Wrong(error));
                }
            }
        }
        assert!(decoder.room().len() >= LONGEST, "no room for the rest of a message");
        if bytes.is_empty() {
            return (decoded, if decoder.is_between_messages() { Ending::Between } else { Ending::Partial });
        }
    }
}
