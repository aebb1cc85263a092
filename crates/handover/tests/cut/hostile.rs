//! Memory of a guest that holds anything at all.

use std::io;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tapferry_handover::cut::{
    Calibration, Evidence, GuestMemory, QueueError, RamBlock, Receive, Resumed, RingLocation, Sample, Seen,
    find, give_back, used_index,
};

/// Bytes that go on for ever, from `fails_from` on unreadable.
struct Garbage {
    bytes: Vec<u8>,
    fails_from: u64,
}

impl GuestMemory for Garbage {
    fn read(&self, host_address: u64, buffer: &mut [u8]) -> io::Result<()> {
        if host_address >= self.fails_from {
            return Err(io::Error::from_raw_os_error(5));
        }
        let skip = usize::try_from(host_address % 1000).unwrap() % self.bytes.len();
        for (to, from) in buffer.iter_mut().zip(self.bytes.iter().cycle().skip(skip)) {
            *to = *from;
        }
        Ok(())
    }
}

fn location(queue_size: u16, header_len: usize, mergeable: bool) -> RingLocation {
    RingLocation {
        queue_size,
        desc_host: 0,
        avail_host: Some(1003),
        used_host: 2007,
        header_len,
        mergeable,
        ram: vec![
            RamBlock { guest: 0, host: 0, len: u64::MAX },
            RamBlock { guest: u64::MAX, host: u64::MAX, len: u64::MAX },
        ],
    }
}

proptest! {
    #[test]
    fn nothing_in_memory_panics(
        bytes in vec(prop_oneof![3 => 0u8..8, 1 => any::<u8>()], 1..400),
        fails_from in prop_oneof![Just(u64::MAX), any::<u64>(), 0u64..5000],
        queue_bits in 0u32..9,
        header_len in proptest::sample::select(vec![10usize, 12, 20]),
        mergeable in any::<bool>(),
        lengths in vec(0usize..600, 0..50),
        counters in vec((any::<u64>(), any::<u64>(), any::<Option<u16>>()), 0..20),
        first in prop_oneof![Just(0), Just(u64::MAX - 20), any::<u64>()],
        captured in any::<u64>(),
    ) {
        let memory = Garbage { bytes, fails_from };
        let location = location(1 << queue_bits, header_len, mergeable);
        let _ = used_index(&memory, &location);
        let receive = Receive::read(&memory, &location).ok();
        let contents = vec![1; 600];
        let frames: Vec<Seen<'_>> = lengths
            .iter()
            .zip(first..=u64::MAX)
            .map(|(len, index)| Seen { index, timestamp_ns: index, beside: None, bytes: &contents[..*len] })
            .collect();
        let mut calibration = Calibration::new();
        let samples: Vec<Sample> = counters
            .iter()
            .map(|(captured, tx_packets, used)| Sample { captured: *captured, tx_packets: *tx_packets, used: *used })
            .collect();
        for sample in &samples {
            calibration.push(*sample);
        }
        let cut = find(&Evidence {
            captured,
            frames: &frames,
            counts: calibration.counts(captured, Some(3)),
            receive: receive.as_ref(),
            told: Some(2),
            stopped_at_ns: 10,
        });
        let newest = frames.last().map_or(0, |frame| frame.index.saturating_add(1));
        prop_assert!(cut.index <= captured.max(newest));
        let given = give_back(&Resumed {
            cut: first,
            used_at_stop: 0,
            frames: &frames,
            receive: receive.as_ref(),
            before: &calibration,
            since: &samples,
        });
        prop_assert!(given.frames <= 4);
    }
}

#[test]
fn a_circle_of_descriptors_comes_to_an_end() {
    // Every number is 1: descriptor 257 goes on at 257, each of 0x01010101 bytes.
    let memory = Garbage { bytes: vec![1], fails_from: u64::MAX };
    let location = location(512, 12, true);
    let receive = Receive::read(&memory, &location).unwrap();
    let frame = vec![1; 0x0101_0101 - 12];
    let frames = [Seen { index: 0, timestamp_ns: 0, beside: None, bytes: &frame }];
    let start = Instant::now();
    let evidence = Evidence {
        captured: 1,
        frames: &frames,
        counts: None,
        receive: Some(&receive),
        told: None,
        stopped_at_ns: 0,
    };
    assert!(find(&evidence).index <= 1);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_queue_that_cannot_be_is_refused() {
    let memory = Garbage { bytes: vec![0], fails_from: 2000 };
    for size in [0, 3, 65_535] {
        let location = location(size, 12, true);
        assert!(
            matches!(Receive::read(&memory, &location), Err(QueueError::QueueSize(refused)) if refused == size)
        );
    }
    let location_11 = location(256, 11, true);
    assert!(matches!(Receive::read(&memory, &location_11), Err(QueueError::HeaderLength(11))));
    let location_12 = location(256, 12, true);
    let error = Receive::read(&memory, &location_12).err().unwrap().to_string();
    assert!(error.starts_with("cannot read the used ring at 0x7d7 of the QEMU process:"), "{error}");
}
