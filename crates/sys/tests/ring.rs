//! Counts and capacity: what a ring and a receiver hold, what they lose, and that every frame is accounted for.

mod support;

use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use support::{BOTH, Capture, MARK, PATIENCE, Seen, Way, events, events_now, name, numbers, send, tap};
use tapferry_sys::Errno;
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::packet::KernelCounts;
use tapferry_sys::ring::{Geometry, Ring};
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;

const PAGE: u32 = 4096;

fn len(frames: &[Seen]) -> u32 {
    u32::try_from(frames.len()).expect("a few thousand")
}

#[test]
fn counts_are_cleared_when_they_are_taken() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        for round in 0..3 {
            send("tapA", 0..50 + round);
            let expected = KernelCounts { packets: 50 + u32::try_from(round).unwrap(), drops: 0 };
            assert_eq!(capture.socket().take_counts(), Ok(expected), "{way:?}: before they are read");
            assert_eq!(capture.socket().take_counts(), Ok(KernelCounts::default()), "{way:?}");
        }
        assert_eq!(capture.take(153).len(), 153);
        assert_eq!(capture.socket().take_counts(), Ok(KernelCounts::default()), "{way:?}");
    }
}

#[test]
fn a_ring_that_overflows_counts_every_frame_it_lost() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut ring = Capture::ring("tapA", PAGE, 4);
    send("tapA", 0..1000);
    let seen = ring.rest();
    let counts = ring.socket().take_counts().unwrap();
    assert_eq!(counts.packets, 1000, "the lost ones among them");
    assert!(counts.drops > 0);
    assert_eq!(len(&seen) + counts.drops, 1000);
    assert_eq!(numbers(&seen), (0..u64::from(len(&seen))).collect::<Vec<_>>(), "the first ones are kept");

    send("tapA", 0..10);
    assert_eq!(numbers(&ring.take(10)), (0..10).collect::<Vec<_>>(), "it goes on");
    assert_eq!(ring.socket().take_counts(), Ok(KernelCounts { packets: 10, drops: 0 }));
}

#[test]
fn a_receiver_that_overflows_counts_every_frame_it_lost() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut receiver = Capture::open(Way::Receiver, "tapA");
    receiver.socket().set_receive_buffer(64 * 1024).unwrap();
    send("tapA", 0..1000);
    let seen = receiver.rest();
    let counts = receiver.socket().take_counts().unwrap();
    assert_eq!(counts.packets, 1000);
    assert!(counts.drops > 0);
    assert_eq!(len(&seen) + counts.drops, 1000);
}

#[test]
fn a_reader_slower_than_its_sender_accounts_for_every_frame() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut ring = Capture::ring("tapA", PAGE, 8);
    let sending = std::thread::spawn(|| {
        for round in 0..20 {
            send("tapA", round * 1000..(round + 1) * 1000);
        }
    });
    let mut seen = Vec::new();
    while !sending.is_finished() {
        seen.extend(ring.rest());
    }
    sending.join().unwrap();
    seen.extend(ring.rest());
    let counts = ring.socket().take_counts().unwrap();
    assert_eq!((counts.packets, len(&seen) + counts.drops), (20_000, 20_000));
    assert!(numbers(&seen).is_sorted());
}

#[test]
fn a_block_is_handed_over_a_moment_after_its_first_frame_and_wakes_the_reader() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut ring = Capture::open(Way::Ring, "tapA");
    for sequence in 0..20 {
        assert!(!ring.fill().unwrap());
        assert_eq!(events_now(ring.socket()), PollFlags::empty());
        send("tapA", sequence..sequence + 1);
        assert!(events(ring.socket(), PATIENCE).contains(PollFlags::IN));
        assert!(ring.fill().unwrap(), "what poll promises is there");
        assert_eq!(numbers(&ring.take(1)), [sequence]);
    }
}

#[test]
fn a_full_block_is_handed_over_at_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut ring = Capture::ring("tapA", PAGE, 400);
    send("tapA", 0..1000);
    // No waiting: all full blocks are ours already, and at most the last one is still being filled.
    assert!(ring.fill().unwrap());
}

#[test]
fn a_ring_is_drained_when_what_the_kernel_delivered_has_been_taken() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for (frames, blocks) in [(1, 400), (777, 400), (777, 4)] {
        let mut ring = Capture::ring("tapA", PAGE, blocks);
        send("tapA", 0..frames);
        ring.socket().attach(&Program::refuse_all()).unwrap();
        let counts = ring.socket().take_counts().unwrap();
        let delivered = counts.packets - counts.drops;
        // The last block is handed over by its timer, so all that was delivered comes, however long it takes.
        let seen = ring.take(usize::try_from(delivered).unwrap());
        assert_eq!(len(&seen), delivered);
        assert_eq!(ring.rest(), []);
    }
}

#[test]
fn a_ring_goes_round_many_times_with_frames_of_all_sizes() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let mut ring = Capture::ring("tapA", 2 * PAGE, 8);
    let sender = Sender::open("tapA").unwrap();
    for round in 0..200_u64 {
        let size = 30 + usize::try_from(round * 37 % 1484).unwrap();
        let first = round * 10;
        sender.send_probes(&Probe::default(), size, first..first + 10).unwrap();
        let seen = ring.take(10);
        assert!(seen.iter().all(|frame| frame.bytes.len() == size));
        assert_eq!(numbers(&seen), (first..first + 10).collect::<Vec<_>>());
    }
    assert_eq!(ring.socket().take_counts(), Ok(KernelCounts { packets: 2000, drops: 0 }));
}

#[test]
fn small_frames_and_frames_of_64_kib_share_a_block() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        let sender = Sender::with_vnet_header("tapA").unwrap();
        let packet = Packet::new(Ip::V4, Checksum::Partial);
        let frames: Vec<_> =
            (0..50).flat_map(|round| [packet.udp(round, 64), packet.tcp_gso(0, 60_000, 1448)]).collect();
        // A receiver has room for a few such frames only, where it may not go beyond net.core.rmem_max.
        let burst = if way == Way::Ring { frames.len() } else { 4 };
        for burst in frames.chunks(burst) {
            for frame in burst {
                sender.send_frame(frame).unwrap();
            }
            let seen: Vec<_> = capture.take(burst.len()).iter().map(Seen::frame).collect();
            assert!(seen == burst, "{way:?}");
        }
    }
}

#[test]
fn frames_can_be_looked_at_again_until_they_are_advanced_over() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let filter = Program::capture(Direction::Outgoing, MARK);
    let mut ring = Ring::open(&name("tapA"), &filter, Geometry::DEFAULT).unwrap();
    assert_eq!((ring.fill(), ring.frames().count()), (false, 0));
    ring.advance(5);
    send("tapA", 0..10);
    assert!(events(&ring, PATIENCE).contains(PollFlags::IN));
    let mut left = 10;
    while left > 0 {
        assert!(ring.fill());
        let at_hand = ring.frames().count();
        assert_eq!(ring.frames().count(), at_hand);
        let first = ring.frames().next().unwrap().bytes.to_vec();
        assert_eq!(first, Probe::default().build(10 - left, 64));
        ring.advance(1);
        left -= 1;
    }
    assert_eq!((ring.fill(), ring.frames().count()), (false, 0));
}

#[test]
fn a_stalled_reader_uses_up_a_block_for_each_lonely_frame() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    // There is room for thousands of such frames; but the timer closes a block after every one.
    let mut ring = Capture::ring("tapA", 128 * 1024, 8);
    for sequence in 0..20 {
        send("tapA", sequence..sequence + 1);
        std::thread::sleep(Duration::from_millis(6));
    }
    let seen = ring.rest();
    let counts = ring.socket().take_counts().unwrap();
    assert_eq!((counts.packets, len(&seen) + counts.drops), (20, 20));
    // Eight, or a few more where this machine's timer was late and two frames shared a block.
    assert!((8..16).contains(&len(&seen)), "{}: why a ring has hundreds of blocks", len(&seen));
}

#[test]
fn a_reader_may_stall_for_200_ms_of_fast_traffic() {
    // The ring has room for 320 ms; a sender that is descheduled may take longer than it is told to.
    const STALL: Duration = Duration::from_millis(200);
    const FRAMES: u32 = 20_000;
    const BURST: u32 = 32;
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let sender = Sender::open("tapA").unwrap();
    let Geometry { block_bytes, blocks } = Geometry::DEFAULT;
    let ring = Capture::ring("tapA", block_bytes, blocks);
    let start = Instant::now();
    let mut sent = 0;
    while sent < FRAMES && start.elapsed() < STALL {
        let burst = u64::from(sent)..u64::from(sent + BURST);
        sender.send_probes(&Probe::default(), 64, burst).unwrap();
        sent += BURST;
        std::thread::sleep((STALL * sent / FRAMES).saturating_sub(start.elapsed()));
    }
    assert_eq!(ring.socket().take_counts(), Ok(KernelCounts { packets: sent, drops: 0 }));
}

#[test]
fn a_geometry_that_the_kernel_cannot_use_is_an_error() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let filter = Program::capture(Direction::Outgoing, MARK);
    for geometry in [
        Geometry { block_bytes: 1000, blocks: 4 },
        Geometry { block_bytes: PAGE, blocks: 0 },
        Geometry { block_bytes: 0, blocks: 4 },
    ] {
        let error = Ring::open(&name("tapA"), &filter, geometry).map(drop).unwrap_err();
        assert_eq!((error.errno, error.object.as_str()), (Errno::INVAL, "tapA"), "{geometry:?}: {error}");
    }
}

#[test]
fn a_capture_works_in_the_thread_it_was_moved_to() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        send("tapA", 0..10);
        let seen = std::thread::spawn(move || capture.take(10)).join().unwrap();
        assert_eq!(numbers(&seen), (0..10).collect::<Vec<_>>(), "{way:?}");
    }
}
