//! Counters sampled while the VM runs.

use tapferry_handover::cut::{Calibration, Counts, Instability, Sample};

fn calibrated(samples: impl IntoIterator<Item = (u64, u64, u16)>) -> Calibration {
    let mut calibration = Calibration::new();
    for (captured, tx_packets, used) in samples {
        calibration.push(Sample { captured, tx_packets, used: Some(used) });
    }
    calibration
}

#[test]
fn a_used_index_that_wraps_counts_on() {
    let samples =
        (0..300u64).map(|at| (at * 600, 1_000 + at * 600, u16::try_from(at * 600 % 65_536).unwrap()));
    let calibration = calibrated(samples);
    assert_eq!(calibration.instability(), None);
    let used = u16::try_from((299 * 600 + 5) % 65_536).unwrap();
    let counts = calibration.counts(1_000 + 299 * 600 + 7, Some(used));
    assert_eq!(counts, Some(Counts { read: 299 * 600 + 7, got: Ok(299 * 600 + 5) }));
}

#[test]
fn what_waits_on_its_way_does_not_change_the_offsets() {
    let calibration = calibrated((0..100u64).map(|at| {
        let (queued, held) = (at % 9, at % 3);
        (10 * at + queued + held, 500 + 10 * at + held, u16::try_from(10 * at).unwrap())
    }));
    assert_eq!(calibration.waiting_spread(), Some(8));
    assert_eq!(calibration.used_spread(), Some(2));
    assert_eq!(calibration.counts(1_500, Some(999)), Some(Counts { read: 1_000, got: Ok(999) }));
}

#[test]
fn frames_of_many_buffers_are_told() {
    let calibration = calibrated((0..100u16).map(|at| (u64::from(at), u64::from(at), at * 15)));
    assert_eq!(calibration.instability(), Some(Instability::Drifting));
    let counts = calibration.counts(100, Some(1_500)).unwrap();
    assert_eq!(counts, Counts { read: 100, got: Err(Instability::Drifting) });
}

#[test]
fn a_queue_that_stands_still_is_told() {
    let calibration = calibrated((0..100).map(|at| (at, at, 7)));
    assert_eq!(calibration.instability(), Some(Instability::StandsStill));
}

#[test]
fn a_few_samples_are_not_enough_for_the_used_index() {
    let calibration = calibrated((0..4).map(|at| (at, at, 7)));
    assert_eq!(calibration.instability(), Some(Instability::TooFewSamples));
    assert_eq!(Calibration::new().counts(1, Some(1)), None);
}

#[test]
fn more_missing_than_qemu_ever_holds_is_not_believed() {
    let calibration = calibrated((0..100u16).map(|at| (u64::from(at), u64::from(at), at)));
    let counts = calibration.counts(99, Some(90)).unwrap();
    assert_eq!(counts.got, Err(Instability::Drifting));
}

#[test]
fn old_samples_are_forgotten() {
    let lost_ten = |at: u64| if at < 100 { 0 } else { 10 };
    let samples =
        (0..600).map(|at| (at, at - lost_ten(at).min(at), u16::try_from(at - lost_ten(at)).unwrap()));
    assert_eq!(calibrated(samples).counts(590, Some(590)).unwrap().read, 600);
}
