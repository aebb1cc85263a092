//! Timestamps: CLOCK_REALTIME at the moment the kernel hands the frame to the driver, in both ways of capture.

mod support;

use std::sync::atomic::AtomicBool;

use rustix::event::PollFlags;
use support::{BOTH, Capture, MARK, Way, events_now, send, tap, wait_until};
use tapferry_sys::clock::{StepWatch, monotonic_ns, realtime_ns};
use tapferry_sys::filter::Direction;
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::{Pace, Sender};
use tapferry_testbed::vnet::VnetHeader;

/// Waits until the kernel stamps frames, which it does for as long as the result lives.
fn keep_stamping(interface: &str) -> Capture {
    let mut capture = Capture::open(Way::Receiver, interface);
    wait_until("stamping", || {
        let before = realtime_ns();
        send(interface, 0..1);
        capture.take(1)[0].timestamp_ns >= before
    });
    capture
}

#[test]
fn an_outgoing_frame_is_stamped_during_the_sender_s_call() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let _stamping = keep_stamping("tapA");
    let sender = Sender::open("tapA").unwrap();
    for way in BOTH {
        for pace in [Pace::Burst, Pace::Even { rate: 5000 }] {
            let mut capture = Capture::open(way, "tapA");
            let probe = Probe::default();
            let sent = sender.pace(pace, 200, true, &AtomicBool::new(false), |index, send| {
                send(&VnetHeader::default(), &probe.build(index, 64))
            });
            for (stamp, seen) in sent.stamps.iter().zip(capture.take(200)) {
                let during = stamp.before..=stamp.after;
                assert!(
                    during.contains(&seen.timestamp_ns),
                    "{way:?} {pace:?}: {stamp:?} {}",
                    seen.timestamp_ns
                );
            }
        }
    }
}

#[test]
fn the_timestamps_of_one_sender_never_go_back() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        let mut stamps = Vec::new();
        for _ in 0..25 {
            send("tapA", 0..200);
            stamps.extend(capture.take(200).iter().map(|frame| frame.timestamp_ns));
        }
        assert!(stamps.is_sorted(), "{way:?}");
    }
}

#[test]
fn an_incoming_frame_is_stamped_between_sending_and_reading() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = tap("tapA");
    let _stamping = keep_stamping("tapA");
    for way in BOTH {
        let mut capture = Capture::with(way, "tapA", Direction::Incoming, MARK);
        let before = realtime_ns();
        for frame in Probe::default().frames(64, 0..100) {
            guest.write_plain(&frame).unwrap();
        }
        let after = realtime_ns();
        let stamps: Vec<_> = capture.take(100).iter().map(|frame| frame.timestamp_ns).collect();
        assert!(stamps.iter().all(|stamp| (before..=after).contains(stamp)), "{way:?}");
        assert!(stamps.is_sorted());
    }
}

#[test]
fn the_timestamp_is_taken_behind_the_queueing_discipline() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let _stamping = keep_stamping("tapA");
    // A byte a millisecond, after the first hundred.
    let slow = "qdisc replace dev tapA root tbf rate 8kbit burst 100b limit 10000";
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        if let Err(error) = link::tc(slow) {
            Skip(error.to_string()).announce();
            return;
        }
        let before = realtime_ns();
        send("tapA", 0..3);
        let seen: Vec<_> = capture.take(3).iter().map(|frame| frame.timestamp_ns - before).collect();
        assert!(seen[1] > 20_000_000 && seen[2] > 80_000_000, "{way:?}: {seen:?}");
        link::tc("qdisc delete dev tapA root").unwrap();
    }
}

#[test]
fn both_clocks_go_forward() {
    let (real, monotonic) = (realtime_ns(), monotonic_ns());
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert!(realtime_ns() >= real + 1_000_000);
    assert!(monotonic_ns() >= monotonic + 1_000_000);
}

#[test]
fn a_clock_that_nobody_sets_does_not_step() {
    let watch = StepWatch::new().unwrap();
    assert!(!watch.stepped());
    assert_eq!(events_now(&watch), PollFlags::empty(), "and wakes nobody");
}
