//! What an AF_PACKET socket on an interface sees, and what it does not.

mod support;

use std::fs;
use std::net::UdpSocket;

use support::{BOTH, Capture, MARK, Seen, numbers, send, state, tap, tap_with, wait_until};
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::packet::{Binding, PacketSocket};
use tapferry_testbed::craft::{Checksum, Ip, Packet};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::{Sender, SenderOptions};
use tapferry_testbed::tap::{Tap, TapOptions};
use tapferry_testbed::vnet::VnetHeader;

/// An outgoing and an incoming capture of tapA, and of what was sent by `act` exactly `expected` frames are
/// outgoing and none is incoming.
fn assert_outgoing(act: impl Fn(), expected: usize) {
    for way in BOTH {
        let mut outgoing = Capture::open(way, "tapA");
        let incoming = Capture::with(way, "tapA", Direction::Incoming, MARK);
        act();
        assert_eq!(outgoing.take(expected).len(), expected, "{way:?}");
        assert_eq!(outgoing.rest(), [], "{way:?}");
        assert_eq!(incoming.packets(), 0, "{way:?}");
    }
}

#[test]
fn what_a_packet_socket_sends_is_outgoing() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    assert_outgoing(|| send("tapA", 0..100), 100);
}

#[test]
fn what_the_host_itself_sends_by_ip_is_outgoing() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    link::ip("address add 192.0.2.254/24 dev tapA").unwrap();
    link::ip("neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tapA nud permanent").unwrap();
    let socket = UdpSocket::bind("192.0.2.254:0").unwrap();
    assert_outgoing(
        || {
            for _ in 0..100 {
                assert_eq!(socket.send_to(b"to the guest", "192.0.2.2:7654").unwrap(), 12);
            }
        },
        100,
    );
}

#[test]
fn what_the_host_routes_is_outgoing() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let (_guest, other) = (Reader::on_tap(tap("tapA")), tap("tapB"));
    for (setting, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/tapB/rp_filter", "0")] {
        fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).unwrap();
    }
    link::ip("address add 192.0.2.254/24 dev tapA").unwrap();
    link::ip("address add 198.51.100.1/24 dev tapB").unwrap();
    link::ip("neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tapA nud permanent").unwrap();
    let mut packet = Packet::new(Ip::V4, Checksum::Complete);
    packet.probe.destination = link::mac("tapB").unwrap();
    assert_outgoing(
        || {
            for sequence in 0..100 {
                other.write(&packet.udp(sequence, 200)).unwrap();
            }
        },
        100,
    );
}

#[test]
fn what_a_bridge_sends_is_outgoing() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    link::veth("vethA", "vethB").unwrap();
    link::bridge("br0", &["vethB", "tapA"]).unwrap();
    assert_outgoing(|| send("vethA", 0..100), 100);
}

#[test]
fn what_the_guest_sends_is_incoming_whoever_it_is_for() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = tap("tapA");
    let own = link::mac("tapA").unwrap();
    let destinations = [own, [0x02, 0, 0, 0, 0, 9], [0x01, 0, 0x5e, 0, 0, 1], [0xff; 6]];
    for way in BOTH {
        let mut incoming = Capture::with(way, "tapA", Direction::Incoming, MARK);
        let outgoing = Capture::open(way, "tapA");
        for (sequence, destination) in (0..).zip(destinations) {
            guest.write_plain(&Probe { destination, ..Probe::default() }.build(sequence, 64)).unwrap();
        }
        assert_eq!(numbers(&incoming.take(destinations.len())), [0, 1, 2, 3], "{way:?}");
        assert_eq!(outgoing.packets(), 0, "{way:?}");
    }
}

#[test]
fn a_capture_of_both_directions_sees_each_frame_once() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = tap("tapA");
    for way in BOTH {
        let mut both = Capture::with(way, "tapA", Direction::Both, MARK);
        send("tapA", 0..10);
        for frame in Probe::default().frames(64, 10..20) {
            guest.write_plain(&frame).unwrap();
        }
        assert_eq!(numbers(&both.take(20)), (0..20).collect::<Vec<_>>(), "{way:?}");
        assert_eq!(both.rest(), []);
    }
}

#[test]
fn a_sender_that_bypasses_the_queueing_discipline_is_invisible() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap("tapA"));
    let captures = BOTH.map(|way| Capture::open(way, "tapA"));
    let bypass = SenderOptions { qdisc_bypass: true, ..SenderOptions::default() };
    Sender::with("tapA", bypass).unwrap().send_probes(&Probe::default(), 64, 0..10).unwrap();
    assert_eq!(guest.wait_for(10, support::PATIENCE).ranges(0), [(0, 9)], "the guest gets them");
    assert_eq!(captures.map(|capture| capture.packets()), [0, 0]);
}

#[test]
fn a_tap_that_nobody_reads_is_captured_in_full_while_it_drops() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _stopped = tap("tapA");
    let mut captures = BOTH.map(|way| Capture::open(way, "tapA"));
    for round in 0..25 {
        let burst = round * 200..(round + 1) * 200;
        send("tapA", burst.clone());
        for capture in &mut captures {
            assert_eq!(numbers(&capture.take(200)), burst.clone().collect::<Vec<_>>());
        }
    }
    assert_eq!(state("tapA").tx_dropped, 4000, "its own queue holds 1000");
}

#[test]
fn a_tap_whose_descriptor_is_closed_has_no_carrier_and_captures_nothing() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    Tap::create_unheld("tapA", &TapOptions::like_qemu()).unwrap();
    // A command started by another test may hold a copy of the descriptor for a moment.
    wait_until("losing the carrier", || !state("tapA").carrier);
    let captures = BOTH.map(|way| Capture::open(way, "tapA"));
    send("tapA", 0..100);
    assert_eq!(captures.map(|capture| capture.packets()), [0, 0]);
    let link = state("tapA");
    assert!(link.up && link.is_tap);
    assert_eq!(link.tx_dropped, 100);
}

#[test]
fn what_was_sent_before_the_capture_was_opened_is_not_in_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    // Nobody reads: the early frames still wait in the TAP's queue.
    let _stopped = tap("tapA");
    send("tapA", 0..100);
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        send("tapA", 100..110);
        assert_eq!(numbers(&capture.take(10)), (100..110).collect::<Vec<_>>(), "{way:?}");
        assert_eq!(capture.rest(), []);
    }
}

#[test]
fn refusing_all_stops_a_capture_at_once_and_leaves_what_it_holds() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        send("tapA", 0..100);
        capture.socket().attach(&Program::refuse_all()).unwrap();
        send("tapA", 100..200);
        let mut frames = capture.take(100);
        frames.extend(capture.rest());
        assert_eq!(numbers(&frames), (0..100).collect::<Vec<_>>(), "{way:?}");
        assert_eq!(capture.packets(), 100, "what is refused is not counted");
    }
}

#[test]
fn a_filter_can_be_replaced_while_frames_flow() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        for _ in 0..20 {
            let sending = std::thread::spawn(|| send("tapA", 0..200));
            while !sending.is_finished() {
                capture.socket().attach(&Program::capture(Direction::Both, MARK)).unwrap();
                capture.socket().attach(&Program::capture(Direction::Outgoing, MARK)).unwrap();
            }
            sending.join().unwrap();
            assert_eq!(numbers(&capture.take(200)), (0..200).collect::<Vec<_>>(), "{way:?}");
        }
    }
}

#[test]
fn frames_of_all_queues_of_a_tap_are_captured() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let guest = Reader::on_tap(tap_with("tapA", &TapOptions { queues: 4, ..TapOptions::like_qemu() }));
    for way in BOTH {
        guest.clear();
        let mut capture = Capture::open(way, "tapA");
        // The queue is chosen by the flow.
        let sender = Sender::open("tapA").unwrap();
        for sequence in 0..200_u8 {
            let source = [0x02, 0, 0, 0, sequence, sequence.wrapping_mul(37)];
            let frame = Probe { source, ..Probe::default() }.build(sequence.into(), 64);
            sender.send(&VnetHeader::default(), &frame).unwrap();
        }
        assert_eq!(numbers(&capture.take(200)), (0..200).collect::<Vec<_>>(), "{way:?}");
        assert_eq!(guest.wait_for(200, support::PATIENCE).flow(0).count, 200);
    }
}

#[test]
fn jumbo_frames_are_captured_whole() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap_with("tapA", &TapOptions { mtu: 9000, ..TapOptions::like_qemu() }));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        let sender = Sender::open("tapA").unwrap();
        sender.send_probes(&Probe::default(), 9014, 0..100).unwrap();
        let frames = capture.take(100);
        assert!(frames.iter().all(|frame| frame.bytes.len() == 9014 && !frame.is_truncated), "{way:?}");
        assert_eq!(numbers(&frames), (0..100).collect::<Vec<_>>(), "{way:?}");
        assert!(sender.send_probes(&Probe::default(), 9015, 0..1).is_err());
    }
}

#[test]
fn frames_of_every_length_from_the_bare_header_on_are_captured_as_they_are() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        let sender = Sender::open("tapA").unwrap();
        let whole = Probe::default().build(7, 80);
        for length in 14..=80 {
            sender.send(&VnetHeader::default(), &whole[..length]).unwrap();
        }
        let frames = capture.take(67);
        for (length, Seen { bytes, wire_len, .. }) in (14..).zip(&frames) {
            assert_eq!((bytes.as_slice(), *wire_len), (&whole[..length], u32::try_from(length).unwrap()));
        }
    }
}

#[test]
fn a_socket_that_only_sends_is_not_hooked_into_the_interface() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let injector = support::injector("tapA");
    assert_eq!(hooked_sockets(), 0);
    send("tapA", 0..100);
    assert_eq!(injector.socket().take_counts().unwrap(), Default::default());

    let capture = PacketSocket::open().unwrap();
    capture.bind(support::ifindex("tapA"), Binding::Capture).unwrap();
    assert_eq!(hooked_sockets(), 1, "the witness tells the difference");
}

#[test]
fn a_closed_capture_is_unhooked() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let capture = Capture::open(way, "tapA");
        assert_eq!(hooked_sockets(), 1, "{way:?}");
        drop(capture);
        // A command started by another test may hold a copy of the descriptor for a moment.
        wait_until("unhooking", || hooked_sockets() == 0);
    }
}

#[test]
fn binding_a_capture_to_no_protocol_does_not_unhook_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        capture.socket().bind(support::ifindex("tapA"), Binding::SendOnly).unwrap();
        assert_eq!(hooked_sockets(), 1, "{way:?}");
        send("tapA", 0..10);
        assert_eq!(numbers(&capture.take(10)), (0..10).collect::<Vec<_>>(), "{way:?}");
        drop(capture);
        wait_until("unhooking", || hooked_sockets() == 0);
    }
}

/// Packet sockets of this namespace that are hooked into an interface, as the kernel lists them.
fn hooked_sockets() -> usize {
    let table = fs::read_to_string("/proc/thread-self/net/packet").expect("the kernel's list");
    let running = |line: &str| line.split_whitespace().nth(5) == Some("1");
    table.lines().skip(1).filter(|line| running(line)).count()
}
