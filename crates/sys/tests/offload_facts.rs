//! Offloads: frames of 64 KiB and frames whose checksums are not complete, captured as they are and sent into
//! interfaces that take them and into those that do not.

mod support;

use support::{
    BOTH, Capture, PATIENCE, QUIET, Seen, Way, inject, injector, numbers, outgoing, plain, tap, tap_with,
    witness_header,
};
use tapferry_frame::vnet::{GSO_UDP_L4, GsoKind, VnetHeader};
use tapferry_sys::Errno;
use tapferry_sys::netdev::InterfaceName;
use tapferry_sys::offloads::Offloads;
use tapferry_testbed::craft::{Checksum, Frame, Ip, Packet, stream};
use tapferry_testbed::inspect::{Verdict, inspect};
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tally::Tally;
use tapferry_testbed::tap::{OFFLOADS_ALL, OFFLOADS_NONE, OFFLOADS_TCP, TapOptions};

const IPS: [Ip; 2] = [Ip::V4, Ip::V6];

/// The largest frame that the kernel hands to an interface whole, in bytes: its `gso_max_size` is 65536, the
/// Ethernet header counts, and a frame must be below it (netif_skb_features in net/core/dev.c).
const LARGEST: usize = 65_535;
/// The TCP payload of such a frame over IPv4.
const LARGEST_PAYLOAD: usize = LARGEST - 14 - 20 - 20;

fn all_offloads() -> TapOptions {
    TapOptions { offloads: OFFLOADS_ALL, ..TapOptions::like_qemu() }
}

/// TAPs that take no offloads, and what they have before their frames.
fn without_offloads() -> [TapOptions; 3] {
    [None, Some(10), Some(12)].map(|vnet_header| TapOptions {
        vnet_header,
        offloads: OFFLOADS_NONE,
        ..TapOptions::default()
    })
}

/// Sends frames into a TAP and returns what both ways of capture see of them, which must be the same.
fn captured_both_ways(tap: &str, frames: &[Frame]) -> Vec<Seen> {
    let [mut ring, mut receiver] = BOTH.map(|way| Capture::open(way, tap));
    let sender = Sender::with_vnet_header(tap).expect("a sender");
    for frame in frames {
        sender.send_frame(frame).expect("it is sent");
    }
    let (by_ring, by_receiver) = (ring.take(frames.len()), receiver.take(frames.len()));
    for (one, other) in by_ring.iter().zip(&by_receiver) {
        assert_eq!((one.vnet, &one.bytes, one.wire_len), (other.vnet, &other.bytes, other.wire_len));
    }
    by_ring
}

#[test]
fn a_tap_tells_which_offloads_its_holder_has_allowed() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let mut asked = Offloads::open().expect("offloads");
    for (number, offloads) in (0..).zip([OFFLOADS_NONE, OFFLOADS_TCP, OFFLOADS_ALL]) {
        let name = format!("tap{number}");
        let _tap = tap_with(&name, &TapOptions { offloads, ..TapOptions::like_qemu() });
        let flags = asked.tun_flags(&InterfaceName::new(&name).expect("a name")).expect("its offloads");
        assert_eq!(flags, offloads, "{name}");
    }
}

#[test]
fn a_tcp_frame_of_64_kib_is_captured_whole_with_its_header() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    guest.keep_frames();
    let frames = [
        Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, LARGEST_PAYLOAD, 1448),
        Packet::new(Ip::V6, Checksum::Partial).tcp_gso(0, 65_000, 1428),
    ];
    let seen = captured_both_ways("tapA", &frames);
    assert_eq!(seen[0].bytes.len(), LARGEST);
    assert!(seen.iter().all(|frame| !frame.is_truncated && frame.beside.is_none()));
    assert_eq!(seen.iter().map(Seen::frame).collect::<Vec<_>>(), frames);
    guest.wait_until(PATIENCE, |tally| tally.frames == 2);
    assert_eq!(guest.take_frames(), frames, "and so the guest gets it");
}

#[test]
fn a_frame_one_byte_larger_is_captured_after_segmentation() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, LARGEST_PAYLOAD + 1, 1448);
    let segments = (LARGEST_PAYLOAD + 1).div_ceil(1448);
    let mut captures = BOTH.map(|way| Capture::open(way, "tapA"));
    Sender::with_vnet_header("tapA").unwrap().send_frame(&frame).unwrap();
    for capture in &mut captures {
        let seen = capture.take(segments);
        assert_eq!(seen.len(), segments);
        assert!(seen.iter().all(|frame| frame.bytes.len() <= 1502 && frame.vnet.gso_kind().is_none()));
    }
}

#[test]
fn a_frame_beyond_64_kib_is_cut_by_the_receiver_and_it_shows() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // BIG TCP: interfaces that are not TAPs can be told to take GSO frames of more than 64 KiB.
    link::veth("vethA", "vethB").unwrap();
    link::ip("link set vethA gso_max_size 200000").unwrap();
    let mut frame = Packet::new(Ip::V6, Checksum::Partial).tcp_gso(0, 60_000, 1428);
    let headers = frame.bytes.len() - 60_000;
    frame.bytes.extend(stream(60_000).take(40_000));
    // A packet that has no room for its length has the length 0 (RFC 2675).
    frame.bytes[18..20].fill(0);
    for (way, cut) in [(Way::Ring, false), (Way::Receiver, true)] {
        let mut capture = Capture::open(way, "vethA");
        Sender::with_vnet_header("vethA").unwrap().send_frame(&frame).unwrap();
        let seen = capture.take(1);
        assert_eq!(seen[0].wire_len, u32::try_from(headers + 100_000).unwrap(), "{way:?}");
        assert_eq!(seen[0].is_truncated, cut, "{way:?}");
        assert!(frame.bytes.starts_with(&seen[0].bytes));
    }
}

#[test]
fn a_frame_for_udp_segmentation_is_captured_whole_with_its_header() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap_with("tapA", &all_offloads()));
    let frames = IPS.map(|ip| Packet::new(ip, Checksum::Partial).udp_gso(0, 50, 1200));
    let seen = captured_both_ways("tapA", &frames);
    assert!(seen.iter().all(|frame| frame.vnet.gso_type == GSO_UDP_L4 && !frame.is_truncated));
    assert_eq!(seen.iter().map(Seen::frame).collect::<Vec<_>>(), frames);
}

#[test]
fn an_interface_without_offloads_is_captured_after_segmentation() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap_with("tapA", &TapOptions::default()));
    let frame = Packet::new(Ip::V4, Checksum::Partial).udp_gso(0, 40, 1200);
    let mut captures = BOTH.map(|way| Capture::open(way, "tapA"));
    Sender::with_vnet_header("tapA").unwrap().send_frame(&frame).unwrap();
    for capture in &mut captures {
        let seen = capture.take(40);
        assert_eq!(numbers(&seen), (0..40).collect::<Vec<_>>());
        assert!(seen.iter().all(|frame| frame.vnet.gso_kind().is_none()));
    }
}

#[test]
fn a_partial_checksum_is_captured_as_such() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let frames = IPS.map(|ip| Packet::new(ip, Checksum::Partial).udp(0, 1054));
    for seen in captured_both_ways("tapA", &frames) {
        assert!(seen.vnet.needs_checksum());
        let inspection = inspect(Some(&witness_header(seen.vnet)), &seen.bytes);
        assert_eq!(inspection.checksum, Verdict::Partial);
        // Without its header the very same frame is a bad one: why PACKET_VNET_HDR is always on.
        assert_eq!(inspect(None, &seen.bytes).checksum, Verdict::Bad);
    }
}

#[test]
fn a_block_of_64_kib_cuts_the_largest_frames_and_it_shows() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, LARGEST_PAYLOAD, 1448);
    for (block, cut) in [(64 * 1024, true), (128 * 1024, false)] {
        let mut ring = Capture::ring("tapA", block, 8);
        Sender::with_vnet_header("tapA").unwrap().send_frame(&frame).unwrap();
        let seen = ring.take(1);
        assert_eq!(seen[0].wire_len, u32::try_from(LARGEST).unwrap());
        assert_eq!(seen[0].is_truncated, cut, "{block}");
        assert_eq!(seen[0].bytes.len() < LARGEST, cut, "{block}");
        assert!(frame.bytes.starts_with(&seen[0].bytes));
        assert_eq!(ring.socket().take_counts().unwrap().drops, 0, "the kernel counts no loss");
    }
}

/// Sends a frame with its header into a TAP and returns what its guest has read when all of it has come.
fn injected(options: &TapOptions, frame: &Frame, all: impl Fn(&Tally) -> bool) -> (Tally, Vec<Frame>) {
    let guest = Reader::on_tap(tap_with("tapB", options));
    guest.keep_frames();
    inject(&mut injector("tapB"), &[outgoing(frame)]);
    let tally = guest.wait_until(PATIENCE, all);
    (tally, guest.take_frames())
}

#[test]
fn a_gso_frame_passes_unchanged_into_a_tap_with_offloads() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for header_length in [10, 12] {
        let options = TapOptions { vnet_header: Some(header_length), ..all_offloads() };
        let packets = IPS.map(|ip| Packet::new(ip, Checksum::Partial));
        let frames =
            packets.iter().flat_map(|packet| [packet.tcp_gso(0, 60_000, 1428), packet.udp_gso(0, 40, 1200)]);
        for frame in frames {
            let (_, read) = injected(&options, &frame, |tally| tally.frames == 1);
            assert!(read == [frame], "header of {header_length}");
        }
    }
}

#[test]
fn a_gso_frame_comes_out_in_segments_of_a_tap_without_offloads() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for options in without_offloads() {
        for ip in IPS {
            let packet = Packet::new(ip, Checksum::Partial);
            let (tally, _) =
                injected(&options, &packet.tcp_gso(0, 60_000, 1428), |tally| tally.stream.bytes >= 60_000);
            assert_eq!((tally.stream.segments, tally.stream.bytes), (43, 60_000), "{options:?} {tally:?}");
            assert_eq!((tally.stream.jumps, tally.stream.damaged), (0, 0), "{options:?}");
            assert_eq!((tally.gso, tally.too_long), (0, 0), "{options:?}");
            assert_eq!((tally.bad_checksum, tally.partial_checksum), (0, 0), "{options:?}");

            let (tally, _) = injected(&options, &packet.udp_gso(0, 40, 1200), |tally| tally.numbered() >= 40);
            assert_eq!(tally.ranges(0), [(0, 39)], "{options:?} {tally:?}");
            assert_eq!((tally.frames, tally.flow(0).damaged, tally.too_long), (40, 0, 0), "{options:?}");
            assert_eq!((tally.bad_checksum, tally.partial_checksum), (0, 0), "{options:?}");
        }
    }
}

#[test]
fn udp_segmentation_is_done_by_the_kernel_for_a_tap_that_takes_only_tcp() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let options = TapOptions { offloads: OFFLOADS_TCP, ..TapOptions::like_qemu() };
    let frame = Packet::new(Ip::V4, Checksum::Partial).udp_gso(0, 40, 1200);
    let (tally, _) = injected(&options, &frame, |tally| tally.numbered() >= 40);
    assert_eq!(tally.ranges(0), [(0, 39)]);
    assert_eq!((tally.frames, tally.gso, tally.bad_checksum), (40, 0, 0));
}

#[test]
fn a_partial_checksum_is_complete_on_arrival_or_announced() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    for ip in IPS {
        let packet = Packet::new(ip, Checksum::Partial);
        for frame in [packet.udp(0, 1054), packet.tcp(0, 1000)] {
            for options in without_offloads() {
                let (tally, _) = injected(&options, &frame, |tally| tally.frames == 1);
                assert_eq!((tally.bad_checksum, tally.partial_checksum), (0, 0), "{options:?}");
            }
            let (_, read) = injected(&all_offloads(), &frame, |tally| tally.frames == 1);
            assert!(read == std::slice::from_ref(&frame));
        }
    }
}

#[test]
fn the_kernel_sends_segments_longer_than_the_mtu() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // 8948 bytes of payload and 54 of headers: what a sender with an MTU of 9000 makes. Nothing but us keeps
    // it out of an interface whose MTU is 1500.
    let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 8948);
    for options in without_offloads() {
        let (tally, _) = injected(&options, &frame, |tally| tally.stream.bytes >= 60_000);
        assert_eq!((tally.max_length, tally.stream.segments), (9002, 7), "{options:?}");
        assert_eq!(tally.too_long, 7, "{options:?}");
    }
}

#[test]
fn a_gso_frame_without_its_header_is_refused_as_too_long() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap_with("tapB", &all_offloads()));
    let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 60_000, 1448);
    assert_eq!(injector("tapB").send(&[plain(&frame.bytes)]), Err(Errno::MSGSIZE));
    assert_eq!(guest.settle(QUIET).frames, 0);
}

#[test]
fn a_header_that_does_not_fit_its_frame_is_refused_as_invalid() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap_with("tapB", &all_offloads()));
    let frame = Packet::new(Ip::V4, Checksum::Partial).udp(0, 100);
    let good = outgoing(&frame);
    let mut injector = injector("tapB");
    for vnet in [
        VnetHeader { csum_start: 200, ..good.vnet },
        VnetHeader { gso_type: 0x7f, gso_size: 10, ..good.vnet },
        VnetHeader { gso_type: GSO_UDP_L4, gso_size: 0, ..good.vnet },
    ] {
        let bad = tapferry_sys::inject::Outgoing { vnet, ..good };
        assert_eq!(injector.send(&[bad]), Err(Errno::INVAL), "{vnet:?}");
    }
    assert_eq!(injector.send(&[good]), Ok(1), "and the next good one is sent");
    assert_eq!(guest.wait_for(1, PATIENCE).frames, 1);
}

#[test]
fn a_gso_frame_inside_a_tunnel_gets_a_header_that_the_kernel_cannot_segment() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // A veth takes VXLAN frames for segmentation whole. Their header tells of the TCP inside and not of the UDP
    // around it, so what is sent with it is accepted and then lost in a TAP without offloads.
    link::veth("vethA", "vethB").unwrap();
    link::ip("address add 198.51.100.1/24 dev vethA").unwrap();
    link::ip("neighbour add 198.51.100.2 lladdr 02:00:00:00:00:02 dev vethA nud permanent").unwrap();
    let tunnel = "link add vx0 type vxlan id 5 local 198.51.100.1 remote 198.51.100.2 dev vethA dstport 4789";
    if let Err(error) = link::ip(tunnel) {
        Skip(error.to_string()).announce();
        return;
    }
    link::set_up("vx0").unwrap();
    let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 6000, 1300);
    for way in BOTH {
        let mut capture = Capture::open(way, "vethA");
        Sender::with_vnet_header("vx0").unwrap().send_frame(&frame).unwrap();
        let seen = capture.take(1);
        assert_eq!(seen[0].bytes.len(), frame.bytes.len() + 50, "{way:?}: whole, in its tunnel");
        assert_eq!(seen[0].vnet.gso_kind(), Some(GsoKind::Tcp4), "{way:?}");
        assert_eq!(seen[0].vnet.csum_start, 34 + 50, "{way:?}: the inner TCP header");
        assert_eq!(seen[0].bytes[23], 17, "{way:?}: the outer protocol is UDP");

        let guest = Reader::on_tap(tap_with("tapB", &TapOptions::default()));
        assert_eq!(injector("tapB").send(&[seen[0].outgoing()]), Ok(1), "{way:?}");
        assert_eq!(guest.settle(QUIET).frames, 0, "{way:?}");
        assert_eq!(support::state("tapB").tx_dropped, 1, "{way:?}: the only trace");
    }
}

#[test]
fn a_tap_that_takes_no_tunnels_is_captured_after_segmentation() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap_with("tapA", &all_offloads()));
    link::ip("address add 198.51.100.1/24 dev tapA").unwrap();
    link::ip("neighbour add 198.51.100.2 lladdr 02:00:00:00:00:02 dev tapA nud permanent").unwrap();
    let tunnel = "link add vx0 type vxlan id 5 local 198.51.100.1 remote 198.51.100.2 dev tapA dstport 4789";
    if let Err(error) = link::ip(tunnel) {
        Skip(error.to_string()).announce();
        return;
    }
    link::set_up("vx0").unwrap();
    let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 6000, 1300);
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        Sender::with_vnet_header("vx0").unwrap().send_frame(&frame).unwrap();
        let seen = capture.take(5);
        assert_eq!(seen.len(), 5, "{way:?}");
        assert!(seen.iter().all(|frame| frame.vnet.gso_kind().is_none() && frame.vnet.csum_start == 84));
    }
}
