//! What the kernel takes of what we send, and what it refuses.

mod support;

use support::{
    BOTH, Capture, MARK, PATIENCE, QUIET, inject, injector, numbers, outgoing, plain, state, tap, tap_with,
};
use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;
use tapferry_sys::Errno;
use tapferry_sys::filter::Direction;
use tapferry_sys::inject::{BATCH, Injector, Outgoing};
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::{Probe, Tag};
use tapferry_testbed::reader::Reader;
use tapferry_testbed::tap::TapOptions;

const TAG: VlanTag = VlanTag { tpid: 0x8100, tci: 0x2064 };

#[test]
fn a_batch_arrives_once_and_in_order() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    let frames: Vec<_> = Probe::default().frames(64, 0..1000).collect();
    let frames: Vec<_> = frames.iter().map(|frame| plain(frame)).collect();
    inject(&mut injector("tapB"), &frames);
    let tally = guest.wait_for(1000, PATIENCE);
    assert_eq!(tally.ranges(0), [(0, 999)]);
    assert_eq!((tally.frames, tally.flow(0).out_of_order, tally.flow(0).damaged), (1000, 0, 0));
}

#[test]
fn one_call_sends_a_batch_at_most() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    let frame = Probe::default().build(0, 64);
    let mut injector = injector("tapB");
    assert_eq!(injector.send(&[]), Ok(0));
    assert_eq!(injector.send(&vec![plain(&frame); BATCH + 10]), Ok(BATCH));
    assert_eq!(guest.wait_for(64, PATIENCE).frames, 64);
}

#[test]
fn a_batch_ends_before_a_refused_frame_and_the_next_call_tells_why() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    let (good, long) = (Probe::default().build(0, 64), Probe::default().build(1, 1519));
    let frames = [plain(&good), plain(&good), plain(&long), plain(&good)];
    let mut injector = injector("tapB");
    assert_eq!(injector.send(&frames), Ok(2));
    assert_eq!(injector.send(&frames[2..]), Err(Errno::MSGSIZE));
    assert_eq!(injector.send(&frames[3..]), Ok(1));
    assert_eq!(guest.wait_for(3, PATIENCE).frames, 3);
}

#[test]
fn frames_up_to_the_mtu_are_taken_and_one_byte_more_is_refused() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for mtu in [576, 1500, 9000] {
        let guest = Reader::on_tap(tap_with("tapB", &TapOptions { mtu, ..TapOptions::like_qemu() }));
        let mut injector = injector("tapB");
        let mut send = |tags: &[Tag], length: usize| {
            let frame = Probe { tags: tags.to_vec(), ..Probe::default() }.build(0, length);
            injector.send(&[plain(&frame)])
        };
        let untagged = usize::try_from(mtu).unwrap() + 14;
        assert_eq!(send(&[], untagged), Ok(1), "{mtu}");
        assert_eq!(send(&[], untagged + 1), Err(Errno::MSGSIZE), "{mtu}");
        // An 802.1Q tag is not counted; an 802.1ad tag is, and so is a second tag.
        assert_eq!(send(&[Tag::dot1q(1)], untagged + 4), Ok(1), "{mtu}");
        assert_eq!(send(&[Tag::dot1q(1)], untagged + 5), Err(Errno::MSGSIZE), "{mtu}");
        let service = Tag { tpid: 0x88a8, tci: 1 };
        assert_eq!(send(&[service], untagged), Ok(1), "{mtu}");
        assert_eq!(send(&[service], untagged + 4), Err(Errno::MSGSIZE), "{mtu}");
        assert_eq!(send(&[Tag::dot1q(1), Tag::dot1q(2)], untagged + 4), Ok(1), "{mtu}");
        assert_eq!(send(&[Tag::dot1q(1), Tag::dot1q(2)], untagged + 8), Err(Errno::MSGSIZE), "{mtu}");
        let tally = guest.wait_for(4, PATIENCE);
        assert_eq!((tally.frames, tally.max_length), (4, untagged + 4), "{mtu}");
    }
}

#[test]
fn a_partial_checksum_does_not_move_the_limit() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    let packet = Packet::new(Ip::V4, Checksum::Partial);
    let mut injector = injector("tapB");
    assert_eq!(injector.send(&[outgoing(&packet.udp(0, 1514))]), Ok(1));
    assert_eq!(injector.send(&[outgoing(&packet.udp(1, 1515))]), Err(Errno::MSGSIZE));
    assert_eq!(guest.wait_for(1, PATIENCE).ranges(0), [(0, 0)]);
}

#[test]
fn a_tag_beside_a_frame_is_woven_in_at_every_length() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    guest.keep_frames();
    let probe = Probe::default();
    let lengths = [30, 31, 64, 1000, 1513, 1514];
    let frames: Vec<_> = lengths.map(|length| probe.build(3, length)).into();
    let tagged: Vec<_> = frames.iter().map(|frame| Outgoing { beside: Some(TAG), ..plain(frame) }).collect();
    inject(&mut injector("tapB"), &tagged);
    guest.wait_for(6, PATIENCE);
    let expected = Probe { tags: vec![Tag::dot1q(TAG.tci)], ..probe };
    let read: Vec<_> = guest.take_frames().into_iter().map(|frame| frame.bytes).collect();
    assert_eq!(read, lengths.map(|length| expected.build(3, length + 4)));
}

#[test]
fn tagged_and_untagged_frames_share_a_batch() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    let frames: Vec<_> = Probe::default().frames(64, 0..64).collect();
    let mut injector = injector("tapB");
    // Twice, and the other way round: nothing of the batch before may be left.
    for odd_ones in [true, false] {
        let beside = |index: usize| ((index % 2 == 1) == odd_ones).then_some(TAG);
        let mixed: Vec<_> = frames
            .iter()
            .enumerate()
            .map(|(index, frame)| Outgoing { beside: beside(index), ..plain(frame) })
            .collect();
        guest.clear();
        inject(&mut injector, &mixed);
        let tally = guest.wait_for(64, PATIENCE);
        assert_eq!(tally.ranges(0), [(0, 63)]);
        assert_eq!((tally.tagged, tally.flow(0).damaged), (32, 0));
    }
}

#[test]
fn the_shortest_frame_is_a_bare_header() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    guest.keep_frames();
    let frame = Probe::default().build(0, 64);
    let mut injector = injector("tapB");
    assert_eq!(injector.send(&[plain(&frame[..14])]), Ok(1));
    let tagged = Outgoing { beside: Some(TAG), ..plain(&frame[..14]) };
    assert_eq!(injector.send(&[tagged]), Ok(1));
    assert_eq!(injector.send(&[plain(&frame[..13])]), Err(Errno::INVAL));
    assert_eq!(injector.send(&[Outgoing { beside: Some(TAG), ..plain(&frame[..11]) }]), Err(Errno::INVAL));
    guest.wait_until(PATIENCE, |tally| tally.frames >= 2);
    let read: Vec<_> = guest.take_frames().iter().map(|frame| frame.bytes.len()).collect();
    assert_eq!(read, [14, 18]);
}

#[test]
fn a_full_tap_takes_every_frame_and_drops_without_a_word() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let stopped = tap("tapB");
    let frames: Vec<_> = Probe::default().frames(64, 0..3000).collect();
    let mut injector = injector("tapB");
    for batch in frames.chunks(50) {
        let batch: Vec<_> = batch.iter().map(|frame| plain(frame)).collect();
        assert_eq!(injector.send(&batch), Ok(50));
    }
    assert_eq!(state("tapB").tx_dropped, 2000, "the only trace");
    assert_eq!(stopped.read_all(QUIET).unwrap().len(), 1000);
}

#[test]
fn what_we_send_bears_our_mark_and_other_captures_see_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapB"));
    for way in BOTH {
        let ours = Capture::open(way, "tapB");
        let mut others = Capture::with(way, "tapB", Direction::Outgoing, MARK + 1);
        let frame = Probe::default().build(9, 64);
        inject(&mut injector("tapB"), &[plain(&frame)]);
        assert_eq!(numbers(&others.take(1)), [9], "{way:?}");
        assert_eq!(ours.packets(), 0, "{way:?}");
    }
}

#[test]
fn an_injector_works_in_the_thread_it_was_moved_to() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapB"));
    let frame = Probe::default().build(0, 64);
    let mut injector: Injector = injector("tapB");
    injector.send(&[plain(&frame)]).unwrap();
    std::thread::spawn(move || injector.send(&[Outgoing { vnet: VnetHeader::default(), ..plain(&frame) }]))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(guest.wait_for(2, PATIENCE).frames, 2);
}
