//! What rtnetlink tells of interfaces, and when.

mod support;

use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use support::{PATIENCE, QUIET, events, events_now, ifindex, name, send, tap};
use tapferry_sys::link::{Link, LinkChange, LinkWatch, Links, Overrun};
use tapferry_sys::netdev::{IfIndex, MacAddress};
use tapferry_sys::{Errno, queue_length};
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::tap::{Tap, TapOptions};

/// Reads changes until one of them is what the test waits for.
fn wait_for(watch: &mut LinkWatch, what: &str, wanted: impl Fn(&LinkChange) -> bool) -> LinkChange {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = None;
        watch
            .read(|change| found = found.take().or(wanted(&change).then_some(change)))
            .expect("none is lost");
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < deadline, "netlink did not tell of {what}");
        events(&*watch, Duration::from_millis(100));
    }
}

fn wait_for_state(watch: &mut LinkWatch, what: &str, wanted: impl Fn(&Link) -> bool) -> Link {
    match wait_for(watch, what, |change| matches!(change, LinkChange::Present(link) if wanted(link))) {
        LinkChange::Present(link) => link,
        LinkChange::Gone(_) => unreachable!("only present links are wanted"),
    }
}

/// Both ways to ask must agree.
fn ask(interface: &str) -> Option<Link> {
    let mut links = Links::open().expect("a netlink socket");
    let by_name = links.by_name(&name(interface)).expect("an answer")?;
    assert_eq!(links.by_index(by_name.ifindex).expect("an answer").as_ref(), Some(&by_name));
    Some(by_name)
}

#[test]
fn a_tap_is_described_as_it_is() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _tap = support::tap_with("tapA", &TapOptions { mtu: 9000, ..TapOptions::like_qemu() });
    let expected = Link {
        ifindex: ifindex("tapA"),
        name: "tapA".into(),
        up: true,
        carrier: true,
        mtu: 9000,
        is_ethernet: true,
        is_tap: true,
        vnet_header: Some(true),
        mac: Some(MacAddress(link::mac("tapA").unwrap())),
        tx_queue_length: 1000,
        tx_packets: 0,
        rx_packets: 0,
        tx_dropped: 0,
    };
    assert_eq!(ask("tapA"), Some(expected));
}

#[test]
fn other_kinds_of_interfaces_are_told_apart() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").unwrap();
    link::bridge("br0", &["vethB"]).unwrap();
    link::ip("tuntap add dev tun0 mode tun").unwrap();
    let kinds = ["lo", "vethA", "br0", "tun0"].map(|name| {
        let link = ask(name).expect("it exists");
        (link.is_ethernet, link.is_tap)
    });
    assert_eq!(kinds, [(true, false), (true, false), (true, false), (false, true)]);
}

#[test]
fn a_missing_interface_is_none_and_no_error() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let mut links = Links::open().unwrap();
    assert_eq!(links.by_name(&name("tapX")), Ok(None));
    assert_eq!(links.by_index(IfIndex::from_netlink(4711).unwrap()), Ok(None));
    let _tap = tap("tapX");
    assert!(links.by_name(&name("tapX")).unwrap().is_some(), "and the next question is answered");
}

#[test]
fn an_interface_that_is_made_changed_and_deleted_is_told_of() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let mut watch = LinkWatch::open().unwrap();
    let tap = support::tap_with("tapA", &TapOptions { up: false, ..TapOptions::like_qemu() });
    let index = ifindex("tapA");
    let this = move |link: &Link| link.ifindex == index;
    let made = wait_for_state(&mut watch, "its coming", this);
    assert!((made.name == "tapA", made.up, made.is_tap, made.is_ethernet) == (true, false, true, true));

    link::set_up("tapA").unwrap();
    wait_for_state(&mut watch, "up", |link| this(link) && link.up && link.carrier);
    link::set_mtu("tapA", 1400).unwrap();
    wait_for_state(&mut watch, "the MTU", |link| this(link) && link.mtu == 1400);
    tap.set_carrier(false).unwrap();
    wait_for_state(&mut watch, "the lost carrier", |link| this(link) && link.up && !link.carrier);
    tap.set_carrier(true).unwrap();
    wait_for_state(&mut watch, "the carrier", |link| this(link) && link.carrier);
    link::set_down("tapA").unwrap();
    wait_for_state(&mut watch, "down", |link| this(link) && !link.up);
    link::ip("link set tapA name tapB").unwrap();
    wait_for_state(&mut watch, "the new name", |link| this(link) && link.name == "tapB");
    drop(tap);
    wait_for(&mut watch, "its going", |change| *change == LinkChange::Gone(index));

    let _again = support::tap("tapA");
    let again = wait_for_state(&mut watch, "another of the same name", |link| link.name == "tapA" && link.up);
    assert_ne!(again.ifindex, index);
}

#[test]
fn an_interface_that_moves_to_another_namespace_is_gone() {
    let Some(here) = Namespace::enter_or_skip() else { return };
    let mut watch = LinkWatch::open().unwrap();
    link::veth("vethA", "vethB").unwrap();
    let index = ifindex("vethB");
    let there = Namespace::enter_new().unwrap();
    let opened = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&opened));
    {
        let _back = here.handle().enter().unwrap();
        link::ip(&format!("link set vethB netns {path}")).unwrap();
    }
    wait_for(&mut watch, "its going", |change| *change == LinkChange::Gone(index));
    drop(there);
}

#[test]
fn joining_and_leaving_a_bridge_is_not_taken_for_a_deletion() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let tap = tap("tapA");
    link::bridge("br0", &[]).unwrap();
    let index = ifindex("tapA");
    let mut watch = LinkWatch::open().unwrap();
    link::attach("tapA", "br0").unwrap();
    // The bridge reports its port's leaving as RTM_DELLINK, in messages of the family AF_BRIDGE.
    link::ip("link set tapA nomaster").unwrap();
    link::set_mtu("tapA", 1400).unwrap();
    drop(tap);
    let mut told = Vec::new();
    let last = LinkChange::Gone(index);
    let of_the_tap = |change: &LinkChange| match change {
        LinkChange::Present(link) => link.ifindex == index,
        LinkChange::Gone(gone) => *gone == index,
    };
    let deadline = Instant::now() + PATIENCE;
    while !told.contains(&last) || events_now(&watch).contains(PollFlags::IN) {
        assert!(Instant::now() < deadline, "{told:?}");
        watch.read(|change| told.extend(of_the_tap(&change).then_some(change))).unwrap();
    }
    let changed_after =
        told.iter().any(|change| matches!(change, LinkChange::Present(link) if link.mtu == 1400));
    assert!(changed_after, "{told:?}");
    assert_eq!(
        told.iter().position(|change| *change == last),
        Some(told.len() - 1),
        "once, at the end: {told:?}"
    );
    let whole = |change: &LinkChange| !matches!(change, LinkChange::Present(link) if !link.is_tap);
    assert!(told.iter().all(whole), "a TAP stays a TAP: {told:?}");
}

#[test]
fn frames_that_a_tap_drops_show_in_its_counter() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _stopped = tap("tapA");
    send("tapA", 0..1000);
    assert_eq!(ask("tapA").unwrap().tx_dropped, 0, "its queue holds 1000");
    send("tapA", 0..234);
    assert_eq!(ask("tapA").unwrap().tx_dropped, 234);
    assert_eq!(ask("tapA").unwrap().tx_dropped, 234, "asking does not clear it");
}

#[test]
fn a_longer_queue_takes_more_frames_and_keeps_those_that_wait() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let stopped = tap("tapA");
    send("tapA", 0..1000);
    queue_length::set(ifindex("tapA"), 3000).unwrap();
    assert_eq!(ask("tapA").unwrap().tx_queue_length, 3000);
    send("tapA", 1000..3000);
    assert_eq!(ask("tapA").unwrap().tx_dropped, 0);
    send("tapA", 3000..3001);
    assert_eq!(ask("tapA").unwrap().tx_dropped, 1);
    assert_eq!(ask("tapA").unwrap().tx_packets, 0, "nobody has read any");
    assert_eq!(stopped.read_all(QUIET).unwrap().len(), 3000);
    assert_eq!(ask("tapA").unwrap().tx_packets, 3000);
}

#[test]
fn the_queue_of_a_missing_interface_cannot_be_set() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let error = queue_length::set(IfIndex::from_netlink(4711).unwrap(), 10).unwrap_err();
    assert_eq!((error.errno, error.object.as_str()), (Errno::NODEV, "ifindex 4711"));
}

#[test]
fn more_changes_than_there_is_room_for_are_an_overrun_and_then_it_goes_on() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _tap = tap("tapA");
    let mut watch = LinkWatch::open().unwrap();
    for round in 0..1000 {
        link::set_mtu("tapA", 1400 + round % 2).unwrap();
    }
    let mut read = 0;
    let mut overruns = 0;
    while events_now(&watch).contains(PollFlags::IN) {
        overruns += u32::from(watch.read(|_| read += 1) == Err(Overrun));
    }
    assert_eq!(overruns, 1, "{read} were read");
    link::set_mtu("tapA", 1300).unwrap();
    wait_for_state(&mut watch, "what comes after", |link| link.mtu == 1300);
}

#[test]
fn a_watch_belongs_to_the_namespace_it_was_opened_in_and_answers_do() {
    let Some(_here) = Namespace::enter_or_skip() else { return };
    let (mut watch, mut links) = (LinkWatch::open().unwrap(), Links::open().unwrap());
    let elsewhere = Namespace::enter_new().unwrap();
    let _other = Tap::create("tapB", &TapOptions::default()).unwrap();
    assert_eq!(links.by_name(&name("tapB")), Ok(None));
    watch.read(|change| panic!("{change:?} is not of this namespace")).unwrap();
    drop(elsewhere);
    let _tap = tap("tapA");
    assert!(links.by_name(&name("tapA")).unwrap().is_some());
    wait_for_state(&mut watch, "its coming", |link| link.name == "tapA");
}
