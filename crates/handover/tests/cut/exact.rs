//! The cut at the stop.

use proptest::collection::vec;
use proptest::prelude::*;
use tapferry_handover::cut::{Counts, Cut, Evidence, Instability, Reason, Receive, Seen, find};
use tapferry_handover::wire::Method;

use crate::model::{Driver, Layout, Model};

/// A frame on its way: its length, and whether it equals the one before it.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) len: usize,
    pub(crate) repeats: bool,
}

pub(crate) fn frames(traffic: &[Traffic]) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for (number, frame) in traffic.iter().enumerate() {
        match frames.last() {
            Some(last) if frame.repeats => frames.push(last.clone()),
            _ => {
                let mut bytes = vec![0x5a; frame.len];
                let at = (frame.len / 2).min(700);
                bytes[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
                frames.push(bytes);
            }
        }
    }
    frames
}

/// Equal lengths, mixed ones, or mixed ones and now and then the longest frame there is.
pub(crate) fn traffic(repeats: bool) -> impl Strategy<Value = Vec<Traffic>> {
    let len = prop_oneof![
        Just(0usize).prop_map(|_| vec![142]),
        Just(vec![60, 142, 590, 1514]),
        Just(vec![66, 66, 66, 1514, 1514, 9014, 65_226]),
    ];
    len.prop_flat_map(move |lengths| {
        let repeats = if repeats { 0.4 } else { 0.0 };
        let one = (proptest::sample::select(lengths), proptest::bool::weighted(repeats));
        vec(one.prop_map(|(len, repeats)| Traffic { len, repeats }), 12..150)
    })
}

pub(crate) fn driver() -> impl Strategy<Value = Driver> {
    let layout = proptest::sample::select(vec![
        Layout::Mergeable,
        Layout::Mergeable,
        Layout::Single,
        Layout::Chained,
        Layout::Indirect,
    ]);
    let header_len = proptest::sample::select(vec![10, 12, 20]);
    (layout, header_len, 1usize..33, any::<bool>(), any::<bool>()).prop_map(
        |(layout, header_len, refill_at, avail_known, scribbles)| Driver {
            layout,
            header_len,
            refill_at: if layout == Layout::Chained { refill_at.min(16) } else { refill_at },
            avail_known,
            scribbles,
        },
    )
}

/// Runs the frames through the model in `bursts`; `read` more are read by QEMU at the stop and `unread` are not.
pub(crate) fn stopped(
    driver: Driver,
    frames: &[Vec<u8>],
    bursts: &[usize],
    read: usize,
    unread: usize,
) -> Model {
    let mut model = Model::new(driver, 77);
    for _ in 0..10 {
        model.sample();
    }
    let until_stop = frames.len() - read - unread;
    let mut left = &frames[..until_stop];
    let mut bursts = bursts.iter().cycle();
    while !left.is_empty() {
        let (burst, rest) = left.split_at((*bursts.next().unwrap()).clamp(1, left.len()));
        left = rest;
        for frame in burst {
            model.capture(frame.clone());
        }
        model.run();
        if !left.is_empty() || burst.len() % 2 == 0 {
            model.guest_runs();
        }
        model.sample();
    }
    for frame in &frames[until_stop..] {
        model.capture(frame.clone());
    }
    for _ in 0..read {
        model.read();
    }
    model
}

pub(crate) fn cut_of(model: &Model, first: usize) -> Cut {
    let location = model.location();
    let receive = Receive::read(&model.memory, &location).unwrap();
    find(&Evidence {
        captured: u64::try_from(model.captured.len()).unwrap(),
        frames: &model.seen_from(first),
        counts: model.calibration().counts(model.tx_packets, Some(receive.index())),
        receive: Some(&receive),
        told: None,
        stopped_at_ns: 0,
    })
}

const PLAIN: Driver =
    Driver { layout: Layout::Mergeable, header_len: 12, refill_at: 32, avail_known: true, scribbles: false };

fn same(len: usize, count: usize) -> Vec<Vec<u8>> {
    vec![vec![0x5a; len]; count]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_that_is_called_sure_is_exact(
        driver in driver(),
        traffic in traffic(false),
        bursts in vec(1usize..12, 1..6),
        read in 0usize..4,
        unread in 0usize..6,
        forgotten in 0usize..100,
    ) {
        let model = stopped(driver, &frames(&traffic), &bursts, read, unread);
        let first = forgotten.min(model.delivered.len() - 1);
        let cut = cut_of(&model, first);
        if cut.why_not_better.is_none() {
            prop_assert_eq!(cut.index, model.true_cut(), "{:?} {:?}", cut, driver);
        } else {
            prop_assert_eq!(cut.why_not_better, Some(Reason::Ambiguous));
            prop_assert!(cut.index >= model.true_cut());
            prop_assert!(cut.index <= model.true_cut() + 3);
        }
    }

    #[test]
    fn frames_that_are_still_in_their_buffers_make_it_sure(
        mut driver in driver(),
        traffic in traffic(false),
        bursts in vec(1usize..12, 1..6),
        read in 0usize..4,
        unread in 0usize..6,
    ) {
        (driver.refill_at, driver.scribbles, driver.avail_known) = (usize::MAX, false, true);
        let model = stopped(driver, &frames(&traffic), &bursts, read, unread);
        let cut = cut_of(&model, 0);
        prop_assert_eq!(cut.index, model.true_cut(), "{:?} {:?}", cut, driver);
        prop_assert_eq!((cut.method, cut.why_not_better), (Method::UsedRing, None));
    }

    #[test]
    fn equal_frames_are_told_apart_by_counts(
        mut driver in driver(),
        traffic in traffic(true),
        bursts in vec(1usize..12, 1..6),
        read in 0usize..4,
        unread in 0usize..6,
    ) {
        if driver.layout == Layout::Mergeable {
            driver.layout = Layout::Single;
        }
        let model = stopped(driver, &frames(&traffic), &bursts, read, unread);
        let cut = cut_of(&model, 0);
        prop_assert_eq!(cut.index, model.true_cut(), "{:?} {:?}", cut, driver);
    }

    #[test]
    fn frames_lost_in_the_tap_do_not_mislead(
        mut driver in driver(),
        traffic in traffic(false),
        lost_at in vec(0usize..60, 1..4),
        read in 0usize..4,
    ) {
        (driver.refill_at, driver.scribbles, driver.avail_known) = (usize::MAX, false, true);
        let frames = frames(&traffic);
        let mut model = Model::new(driver, 5);
        for (number, frame) in frames.iter().enumerate().take(frames.len() - read) {
            model.capture(frame.clone());
            if lost_at.contains(&number) {
                model.lose_newest();
            }
            model.run();
            model.guest_runs();
            model.sample();
        }
        for frame in &frames[frames.len() - read..] {
            model.capture(frame.clone());
            model.read();
        }
        let cut = cut_of(&model, 0);
        // A frame lost right at the cut belongs to neither side.
        let true_cut = model.true_cut();
        let lost = lost_at.iter().filter(|lost| u64::try_from(**lost).unwrap() >= true_cut).count();
        prop_assert!((true_cut..=true_cut + u64::try_from(lost).unwrap()).contains(&cut.index), "{cut:?} {true_cut}");
    }
}

#[test]
fn a_guest_that_got_nothing_yet_lacks_the_first_frame() {
    for read in 0..4 {
        let model = stopped(PLAIN, &same(100, 5), &[1], read, 5 - read);
        let cut = cut_of(&model, 0);
        assert_eq!((cut.index, cut.method), (0, Method::UsedIndex), "{read}");
    }
}

#[test]
fn long_silence_before_the_stop_is_no_trouble() {
    let mut model = stopped(PLAIN, &same(100, 40), &[3], 0, 0);
    for _ in 0..500 {
        model.sample();
    }
    let cut = cut_of(&model, 0);
    assert_eq!((cut.index, cut.method, cut.why_not_better), (40, Method::UsedRing, None));
}

#[test]
fn a_gap_in_the_capture_ends_what_is_known_but_not_the_cut() {
    let traffic: Vec<Traffic> = (0..60).map(|at| Traffic { len: 100 + at % 7, repeats: false }).collect();
    let model = stopped(PLAIN, &frames(&traffic), &[2], 2, 3);
    let location = model.location();
    let receive = Receive::read(&model.memory, &location).unwrap();
    let mut seen = model.seen_from(0);
    seen.drain(20..40);
    let cut = find(&Evidence {
        captured: 60,
        frames: &seen,
        counts: model.calibration().counts(model.tx_packets, Some(receive.index())),
        receive: Some(&receive),
        told: None,
        stopped_at_ns: 0,
    });
    assert_eq!((cut.index, cut.method), (55, Method::UsedRing));
}

#[test]
fn without_the_queue_counts_say_and_without_them_the_timestamp() {
    let model = stopped(PLAIN, &same(100, 40), &[1], 1, 3);
    let seen = model.seen_from(0);
    let evidence = |counts, told| Evidence {
        captured: 40,
        frames: &seen,
        counts,
        receive: None,
        told,
        stopped_at_ns: 38,
    };
    let calibration = model.calibration();
    let cut = find(&evidence(calibration.counts(model.tx_packets, Some(model.used)), Some(37)));
    assert_eq!((cut.index, cut.method, cut.why_not_better), (36, Method::UsedIndex, Some(Reason::NoQueue)));
    let by_counter = calibration.counts(model.tx_packets, None);
    let cut = find(&evidence(by_counter, Some(36)));
    assert_eq!((cut.index, cut.method, cut.why_not_better), (36, Method::QueueStatus, Some(Reason::NoQueue)));
    let cut = find(&evidence(by_counter, None));
    assert_eq!((cut.index, cut.method, cut.why_not_better), (37, Method::TxPackets, Some(Reason::NoQueue)));
    let cut = find(&evidence(None, Some(36)));
    assert_eq!((cut.index, cut.method, cut.why_not_better), (38, Method::Timestamp, Some(Reason::NoSamples)));
}

/// Frames of many lengths, all of them delivered one by one but those that `dropped` names.
fn delivered_without(dropped: &[usize], driver: Driver) -> Model {
    let traffic: Vec<Traffic> =
        (0..60).map(|at| Traffic { len: 100 + at * 7 % 31, repeats: false }).collect();
    let mut model = Model::new(driver, 9);
    for (number, frame) in frames(&traffic).into_iter().enumerate() {
        model.capture(frame);
        if dropped.contains(&number) {
            model.read();
            model.purge();
        }
        model.run();
        model.guest_runs();
        model.sample();
    }
    model
}

#[test]
fn multicast_frames_that_qemu_keeps_from_the_guest_are_passed_over() {
    let offered_at_once = Driver { refill_at: 1, ..PLAIN };
    for driver in [PLAIN, offered_at_once] {
        let model = delivered_without(&[20, 33, 34, 50, 57], driver);
        let cut = cut_of(&model, 0);
        assert_eq!((cut.index, cut.method, cut.why_not_better), (60, Method::UsedRing, None));
    }
}

#[test]
fn a_queue_with_other_frames_in_it_leaves_it_to_the_counts() {
    let model = delivered_without(&[], PLAIN);
    let location = model.location();
    let receive = Receive::read(&model.memory, &location).unwrap();
    let other: Vec<Vec<u8>> = (0..60).map(|_| vec![1; 2000]).collect();
    let seen: Vec<Seen<'_>> = other
        .iter()
        .zip(0..)
        .map(|(bytes, index)| Seen { index, timestamp_ns: 0, beside: None, bytes })
        .collect();
    let cut = |got| {
        find(&Evidence {
            captured: 60,
            frames: &seen,
            counts: Some(Counts { read: 58, got }),
            receive: Some(&receive),
            told: None,
            stopped_at_ns: 0,
        })
    };
    let drifting = cut(Err(Instability::Drifting));
    assert_eq!((drifting.index, drifting.method), (58, Method::TxPackets));
    assert_eq!(drifting.why_not_better, Some(Reason::NoMatch));
    let still = cut(Err(Instability::StandsStill));
    assert_eq!((still.index, still.method), (58, Method::TxPackets));
    assert_eq!(still.why_not_better, Some(Reason::OtherQueue));
    assert_eq!(cut(Ok(57)).method, Method::UsedIndex);
}
