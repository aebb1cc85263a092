//! The decoder gives back what was sent, however the bytes come, and judges what was not sent by anybody sane.

use proptest::collection::vec;
use proptest::prelude::*;
use tapferry_stream::{Decoder, Framing, FramingError, MAX_LENGTH, VNET_HDR_LENGTHS};

use crate::check::model::End;
use crate::check::pace::{Pace, agrees, decode};
use crate::wire::{HEADERS, PLAIN, encoded, raw};

/// A frame that nothing can be read into.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap() | 1).collect()
}

fn end_of(framing: Framing, bytes: &[u8], pace: &Pace) -> (usize, End) {
    agrees(&mut Decoder::new(framing), bytes, pace)
}

/// The error after this many complete records, in one read and byte by byte.
fn error_after(records: usize, framing: Framing, bytes: &[u8]) -> FramingError {
    let outcome = end_of(framing, bytes, &Pace::at_once());
    assert_eq!(outcome, end_of(framing, bytes, &Pace::reads(vec![1])));
    match outcome {
        (decoded, End::Wrong(error)) if decoded == records => error,
        other => panic!("no error after {records} records, but {other:?}"),
    }
}

#[test]
fn every_split_of_a_stream_into_three_reads_gives_the_same_records() {
    for framing in [PLAIN, HEADERS] {
        let header = if framing.vnet_hdr { &[0; 12][..] } else { &[] };
        let stream = [
            encoded(framing, header, &frame(14)),
            raw(framing, 0, 0, &[]),
            encoded(framing, header, &frame(5)),
        ]
        .concat();
        let mut decoder = Decoder::new(framing);
        for first in 0..stream.len() {
            for second in 0..stream.len() - first {
                let pace = Pace::reads(vec![first, second, usize::MAX]);
                assert_eq!(agrees(&mut decoder, &stream, &pace), (3, End::Between));
            }
        }
    }
}

#[test]
fn the_end_of_a_stream_is_seen_at_every_byte() {
    for framing in [PLAIN, HEADERS] {
        let record = encoded(framing, &[], &frame(20));
        let stream = [&record[..], &record].concat();
        for end in 0..=stream.len() {
            let expected = if end % record.len() == 0 { End::Between } else { End::Partial };
            let outcome = end_of(framing, &stream[..end], &Pace::at_once());
            assert_eq!(outcome, (end / record.len(), expected), "after {end} bytes");
        }
    }
}

#[test]
fn complete_records_that_wait_are_not_cut_by_a_close() {
    let mut decoder = Decoder::new(PLAIN);
    let record = encoded(PLAIN, &[], &frame(20));
    decoder.space()[..record.len()].copy_from_slice(&record);
    decoder.filled(record.len());
    assert_eq!(decoder.poll(), Ok(true));
    assert!(decoder.is_between_records());
}

#[test]
fn the_longest_record_passes_and_a_longer_one_is_refused_by_its_length_alone() {
    for framing in [PLAIN, HEADERS] {
        let longest = raw(framing, 69_632, 0, &frame(MAX_LENGTH));
        for pace in [Pace::at_once(), Pace::reads(vec![1]), Pace::reads(vec![4096])] {
            assert_eq!(end_of(framing, &longest, &pace), (1, End::Between));
        }
        for length in [69_633, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff_u32] {
            assert_eq!(error_after(0, framing, &length.to_be_bytes()), FramingError::Oversized { length });
            let after_records = [&longest[..], &longest, &length.to_be_bytes()].concat();
            let outcome = end_of(framing, &after_records, &Pace::reads(vec![65_536]));
            assert_eq!(outcome, (2, End::Wrong(FramingError::Oversized { length })));
        }
    }
}

#[test]
fn records_of_no_and_of_one_byte_are_in_step() {
    for framing in [PLAIN, HEADERS] {
        let stream = [
            raw(framing, 0, 0, &[]),
            raw(framing, 1, 0, b"x"),
            raw(framing, 0, 0, &[]),
            raw(framing, 0, 0, &[]),
            raw(framing, 1, 0, b"\0"),
        ]
        .concat();
        assert_eq!(end_of(framing, &stream, &Pace::at_once()), (5, End::Between));
        assert_eq!(end_of(framing, &stream, &Pace::reads(vec![1])), (5, End::Between));
    }
}

#[test]
fn a_virtio_net_header_is_taken_off_in_each_of_its_lengths() {
    for len in VNET_HDR_LENGTHS {
        let stream = encoded(HEADERS, &frame(len), &frame(60));
        let mut decoder = Decoder::new(HEADERS);
        decoder.space()[..stream.len()].copy_from_slice(&stream);
        decoder.filled(stream.len());
        let record = decoder.records().next().unwrap();
        assert_eq!((record.vnet_hdr, record.frame), (&frame(len)[..], &frame(60)[..]));
    }
}

#[test]
fn no_other_header_length_is_taken_and_eight_bytes_are_enough_to_say_so() {
    let sane = encoded(HEADERS, &[0; 12], &frame(60));
    let others = [1, 4, 8, 9, 11, 13, 16, 19, 21, 23, 25, 32, 60, 255, 256, 69_632, 0x7fff_ffff, u32::MAX];
    for length in others {
        let stream = [&sane[..], &sane, &raw(HEADERS, 60, length, &[])].concat();
        assert_eq!(error_after(2, HEADERS, &stream), FramingError::VnetHeaderLength { length });
        assert_eq!(end_of(HEADERS, &stream[..stream.len() - 1], &Pace::at_once()), (2, End::Partial));
    }
    let unknown = raw(HEADERS, 60, 32, &[]);
    assert_eq!(error_after(0, HEADERS, &unknown), FramingError::VnetHeaderLength { length: 32 });
}

#[test]
fn a_record_shorter_than_its_header_is_in_step_and_has_no_frame() {
    for length in [0, 1, 9, 11, 12] {
        let stream =
            [raw(HEADERS, length, 12, &frame(length as usize)), encoded(HEADERS, &[], &frame(60))].concat();
        let mut decoder = Decoder::new(HEADERS);
        decoder.space()[..stream.len()].copy_from_slice(&stream);
        decoder.filled(stream.len());
        let frames: Vec<usize> = decoder.records().map(|record| record.frame.len()).collect();
        assert_eq!(frames, [0, 60]);
        assert_eq!(end_of(HEADERS, &stream, &Pace::reads(vec![1])), (2, End::Between));
    }
}

#[test]
fn a_reset_forgets_the_part_of_a_record_and_an_error() {
    let record = encoded(HEADERS, &[0; 12], &frame(60));
    let mut decoder = Decoder::new(HEADERS);
    for before in [&record[..3], &record[..7], &record[..40], &[0xff; 4], &[0, 0, 0, 60, 0, 0, 0, 99]] {
        let (_, end) = decode(&mut decoder, before, &Pace::at_once(), &[]);
        assert_ne!(end, End::Between);
        assert!(!decoder.is_between_records());
        decoder.reset();
        assert!(decoder.is_between_records());
        assert_eq!(decoder.poll(), Ok(false));
        assert_eq!(agrees(&mut decoder, &record, &Pace::at_once()), (1, End::Between));
    }
}

#[test]
fn a_reader_that_takes_nothing_runs_out_of_room_and_nothing_else() {
    let record = encoded(PLAIN, &[], &frame(1514));
    let mut decoder = Decoder::new(PLAIN);
    let mut stream = record.iter().cycle();
    let mut read = 0;
    loop {
        let space = decoder.space();
        let bytes = space.len().min(4000);
        if bytes == 0 {
            break;
        }
        space[..bytes].fill_with(|| *stream.next().unwrap());
        decoder.filled(bytes);
        read += bytes;
        assert!(read <= 1 << 20, "the buffer grows");
    }
    assert_eq!(decoder.records().count(), read / record.len());
    decoder.advance(usize::MAX);
    assert_eq!(decoder.poll(), Ok(false));
    assert!(decoder.space().len() >= MAX_LENGTH + 8);
}

#[test]
fn more_is_never_filled_than_there_is_room() {
    let mut decoder = Decoder::new(PLAIN);
    decoder.filled(usize::MAX);
    assert!(decoder.space().is_empty());
    assert!(decoder.records().all(|record| record.frame.is_empty()), "the buffer begins as zeros");
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1_usize..200,
        4 => prop::sample::select(vec![1, 13, 14, 60, 1514, 4096, 65_535, 65_550, 69_608]),
        1 => 1_usize..=69_608,
    ]
}

/// Frames that begin with no length of a header and no zeros: a stream that is in step whatever one reads into it.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    (lengths(), any::<[u8; 16]>()).prop_map(|(len, seed)| {
        let mut frame: Vec<u8> = seed.iter().copied().cycle().take(len).collect();
        frame[0] |= 2;
        frame
    })
}

fn paces() -> impl Strategy<Value = Pace> {
    let read = prop_oneof![Just(1_usize), 1..16_usize, 1..3000_usize, 1..200_000_usize];
    let batch = prop_oneof![Just(usize::MAX), 1..5_usize];
    (vec(read, 1..8), batch, 1..4_usize).prop_map(|(reads, batch, reads_per_take)| Pace {
        reads,
        batch,
        reads_per_take,
    })
}

/// Fields of records as no peer sends them, and the bytes that go with them or do not.
fn oddities() -> impl Strategy<Value = (u32, u32, Vec<u8>)> {
    let length = prop_oneof![
        4 => 0..64_u32,
        2 => prop::sample::select(vec![0, 1, 69_632, 69_633, 0x7fff_ffff, 0xffff_ffff]),
        1 => any::<u32>(),
    ];
    let vnet_hdr_len = prop_oneof![4 => prop::sample::select(vec![0, 10, 12, 20, 24]), 1 => any::<u32>()];
    (length, vnet_hdr_len, vec(prop_oneof![Just(0_u8), any::<u8>()], 0..80)).prop_map(
        |(length, vnet_hdr_len, mut body)| {
            if body.len() % 4 != 0
                && let Ok(length) = usize::try_from(length)
                && length <= MAX_LENGTH
            {
                body.resize(length, 0x5a);
            }
            (length, vnet_hdr_len, body)
        },
    )
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(
        vnet_hdr: bool,
        records in vec((prop::sample::select(VNET_HDR_LENGTHS.to_vec()), frames()), 0..30),
        pace in paces(),
    ) {
        let framing = Framing { vnet_hdr, ..PLAIN };
        let stream: Vec<u8> = records.iter().flat_map(|(vnet_hdr_len, frame)| {
            encoded(framing, &[0; 24][..if vnet_hdr { *vnet_hdr_len } else { 0 }], frame)
        }).collect();
        let mut decoder = Decoder::new(framing);
        prop_assert_eq!(agrees(&mut decoder, &stream, &pace), (records.len(), End::Between));
        prop_assert_eq!(agrees(&mut decoder, &stream, &Pace::at_once()), (records.len(), End::Between));
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_gives_what_came_before(
        vnet_hdr: bool,
        frames in vec(frames(), 1..10),
        cut: prop::sample::Index,
        pace in paces(),
    ) {
        let framing = Framing { vnet_hdr, ..PLAIN };
        let stream: Vec<u8> = frames.iter().flat_map(|frame| encoded(framing, &[], frame)).collect();
        let (_, end) = agrees(&mut Decoder::new(framing), &stream[..cut.index(stream.len())], &pace);
        prop_assert!(!matches!(end, End::Wrong(_)), "{:?}", end);
    }

    #[test]
    fn odd_records_are_judged_as_the_model_judges_them(
        vnet_hdr: bool,
        records in vec(oddities(), 1..12),
        pace in paces(),
    ) {
        let framing = Framing { vnet_hdr, ..PLAIN };
        let stream: Vec<u8> = records.iter().flat_map(|(length, vnet_hdr_len, body)| {
            raw(framing, *length, *vnet_hdr_len, body)
        }).collect();
        agrees(&mut Decoder::new(framing), &stream, &pace);
    }

    #[test]
    fn bytes_that_are_no_stream_do_no_harm(bytes in vec(any::<u8>(), 0..600), vnet_hdr: bool, pace in paces()) {
        agrees(&mut Decoder::new(Framing { vnet_hdr, ..PLAIN }), &bytes, &pace);
    }
}
