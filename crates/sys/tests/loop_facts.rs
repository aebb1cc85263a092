//! What keeps tapferry from capturing its own frames, in one process, in two, and how far the mark reaches.

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;

use support::{BOTH, Capture, MARK, inject, injector, numbers, send, tap, wait_until};
use tapferry_sys::filter::Direction;
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::{Sender, SenderOptions};

fn send_marked(interface: &str, mark: u32, sequences: std::ops::Range<u64>) {
    let options = SenderOptions { mark: Some(mark), ..SenderOptions::default() };
    Sender::with(interface, options)
        .and_then(|sender| sender.send_probes(&Probe::default(), 64, sequences))
        .expect("all are sent");
}

#[test]
fn without_the_mark_a_frame_sent_on_would_be_captured_again() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        let mut careless = Capture::with(way, "tapA", Direction::Outgoing, MARK + 1);
        let careful = Capture::open(way, "tapA");
        send("tapA", 5..6);
        let mut injector = injector("tapA");
        for _ in 0..10 {
            let seen = careless.take(1);
            assert_eq!(numbers(&seen), [5], "{way:?}: and round it goes");
            inject(&mut injector, &[seen[0].outgoing()]);
        }
        assert_eq!(careful.packets(), 1, "{way:?}");
    }
}

#[test]
fn a_capture_refuses_its_own_mark_and_takes_every_other() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    for way in BOTH {
        for direction in [Direction::Outgoing, Direction::Both] {
            let mut capture = Capture::with(way, "tapA", direction, MARK);
            send_marked("tapA", MARK, 0..10);
            send_marked("tapA", MARK + 1, 10..20);
            send_marked("tapA", MARK | 0x8000_0000, 20..30);
            send("tapA", 30..40);
            assert_eq!(numbers(&capture.take(30)), (10..40).collect::<Vec<_>>(), "{way:?} {direction:?}");
            assert_eq!(capture.packets(), 30, "what is refused is not counted");
        }
    }
}

#[test]
fn the_mark_survives_a_veth_inside_one_namespace() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").unwrap();
    for way in BOTH {
        let mut capture = Capture::with(way, "vethB", Direction::Incoming, MARK);
        send_marked("vethA", MARK, 0..10);
        send("vethA", 10..20);
        assert_eq!(numbers(&capture.take(10)), (10..20).collect::<Vec<_>>(), "{way:?}");
        assert_eq!(capture.packets(), 10, "{way:?}");
    }
}

#[test]
fn the_mark_survives_a_bridge() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    link::veth("vethA", "vethB").unwrap();
    link::bridge("br0", &["vethB", "tapA"]).unwrap();
    for way in BOTH {
        let mut capture = Capture::open(way, "tapA");
        send_marked("vethA", MARK, 0..10);
        send("vethA", 10..20);
        assert_eq!(numbers(&capture.take(10)), (10..20).collect::<Vec<_>>(), "{way:?}");
    }
}

#[test]
fn the_mark_is_scrubbed_on_the_way_into_another_namespace() {
    let Some(here) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").unwrap();
    let there = Namespace::enter_new().unwrap();
    let opened = File::open("/proc/thread-self/ns/net").unwrap();
    {
        let _back = here.handle().enter().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
        link::ip(&format!("link set vethB netns {path}")).unwrap();
    }
    // Not by the testbed: it would look for the peer in this namespace.
    link::ip("link set vethB up").unwrap();
    for way in BOTH {
        let mut capture = Capture::with(way, "vethB", Direction::Incoming, MARK);
        let _back = here.handle().enter().unwrap();
        // The queueing discipline may not be there yet.
        wait_until("the first frame", || {
            send("vethA", 0..1);
            capture.packets() > 0
        });
        send_marked("vethA", MARK, 1..10);
        let seen = numbers(&capture.take(10));
        assert_eq!(
            seen[seen.len() - 9..],
            (1..10).collect::<Vec<_>>(),
            "{way:?}: a loop through here is not seen"
        );
    }
    drop(there);
}
