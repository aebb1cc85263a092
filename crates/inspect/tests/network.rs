//! A network namespace as it is, against interfaces, filters, rules and sockets that are really there.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use rustix::process::getuid;
use tapferry_inspect::{HostInterface, NetworkView, network};
use tapferry_sys::interfaces::{PortState, Tun};
use tapferry_sys::namespace::Namespace as Visited;
use tapferry_sys::netdev::{self, InterfaceName};
use tapferry_sys::packet::{Binding, PacketSocket};
use tapferry_sys::rules::MarkRule;
use tapferry_sys::traffic_control::{Direction, Filter};
use tapferry_testbed::link;
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::tap::{OFFLOADS_TCP, Tap, TapOptions};

fn look() -> NetworkView {
    network(None).expect("a view")
}

fn interface(name: &str) -> HostInterface {
    find(look(), name)
}

fn find(view: NetworkView, name: &str) -> HostInterface {
    view.interfaces.into_iter().find(|host| host.interface.name == name).expect("it is listed")
}

fn tap(name: &str, options: &TapOptions) -> Tap {
    Tap::create(name, options).expect("a TAP")
}

/// Runs a command that a machine may lack, or whose kernel may lack the module for it.
fn run_or_skip(program: &str, arguments: &str) -> Option<()> {
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    link::run(program, &arguments).map_err(|error| Skip(error.to_string()).announce()).ok().map(drop)
}

#[test]
fn a_namespace_is_named_as_the_kernel_names_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let name = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_eq!(Some(look().namespace.to_string().as_str()), name.to_str());
}

#[test]
fn the_loopback_interface_has_no_kind() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let lo = interface("lo").interface;
    assert_eq!((lo.kind.as_str(), lo.is_ethernet, lo.up, lo.carrier), ("", true, true, true));
    assert_eq!((lo.tun, lo.controller, lo.link, lo.link_elsewhere), (None, None, None, false));
}

#[test]
fn a_tap_with_queues_and_a_virtio_net_header_is_described_as_it_is() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let options = TapOptions { queues: 3, mtu: 9000, queue_length: 500, ..TapOptions::like_qemu() };
    let _tap = tap("tapA", &options);
    link::ip("link property add dev tapA altname a-name-longer-than-fifteen").unwrap();
    let host = interface("tapA");
    let seen = host.interface;
    let expected = Tun {
        tap: true,
        vnet_header: true,
        persistent: false,
        multi_queue: true,
        queues: 3,
        disabled_queues: 0,
        owner: None,
        group: None,
    };
    assert_eq!(seen.tun, Some(expected));
    assert_eq!((seen.kind.as_str(), seen.is_ethernet, seen.up, seen.carrier), ("tun", true, true, true));
    assert_eq!((seen.mtu, seen.tx_queue_length, seen.gso_max_size), (9000, 500, 65536));
    assert_eq!(seen.alt_names, ["a-name-longer-than-fifteen"]);
    assert_eq!(seen.mac.map(|mac| mac.0), Some(link::mac("tapA").unwrap()));
    assert_eq!(seen.ifindex.get(), link::index("tapA").unwrap());
    assert!(seen.tx_queues >= 3, "{seen:?}");
    assert_eq!(host.filters, []);
}

#[test]
fn a_tap_that_nobody_holds_has_no_carrier_and_tells_who_may_open_it() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    link::ip("tuntap add dev tapA mode tap user 0 group 0").unwrap();
    link::ip("tuntap add dev tun0 mode tun multi_queue").unwrap();
    link::set_up("tapA").unwrap();
    let tap = interface("tapA").interface;
    assert_eq!((tap.up, tap.carrier), (true, false));
    let expected = Tun { tap: true, persistent: true, queues: 1, ..Tun::default() };
    assert_eq!(tap.tun, Some(Tun { owner: Some(0), group: Some(0), ..expected }));
    let tun = interface("tun0").interface;
    assert_eq!((tun.is_ethernet, tun.mac), (false, None));
    let expected = Tun { persistent: true, multi_queue: true, ..Tun::default() };
    assert_eq!(tun.tun, Some(expected), "no queue of it is held");
}

#[test]
fn a_veth_tells_where_its_peer_is() {
    let Some(here) = Namespace::enter_or_skip() else { return };
    link::veth("vethA", "vethB").unwrap();
    let (a, b) = (interface("vethA").interface, interface("vethB").interface);
    assert_eq!((a.link, a.link_elsewhere), (Some(b.ifindex), false));
    assert_eq!((b.link, b.link_elsewhere), (Some(a.ifindex), false));

    let there = Namespace::enter_new().unwrap();
    let elsewhere = Visited::own().unwrap();
    let opened = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
    let _back = here.handle().enter().unwrap();
    link::ip(&format!("link set vethB netns {path}")).unwrap();
    let a = interface("vethA").interface;
    assert!(a.link_elsewhere && a.link.is_some(), "{a:?}");
    let view = network(Some(&elsewhere)).unwrap();
    assert_eq!(view.namespace, elsewhere.id());
    let moved = find(view, "vethB").interface;
    assert!(moved.link_elsewhere, "{moved:?}");
    assert!(
        look().interfaces.iter().all(|host| host.interface.name != "vethB"),
        "this thread is where it was"
    );
    drop(there);
}

#[test]
fn a_bridge_port_tells_its_bridge_and_whether_frames_pass() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _tap = tap("tapA", &TapOptions::default());
    let _alone = tap("tapB", &TapOptions::default());
    link::bridge("br0", &["tapA"]).unwrap();
    let port = interface("tapA").interface;
    assert_eq!(port.controller, Some(interface("br0").interface.ifindex));
    assert_eq!(port.bridge_port, Some(PortState::Forwarding));
    let alone = interface("tapB").interface;
    assert_eq!((alone.controller, alone.bridge_port), (None, None));
    for (number, state) in [
        (1, PortState::Listening),
        (2, PortState::Learning),
        (0, PortState::Disabled),
        (3, PortState::Forwarding),
    ] {
        let Some(()) = run_or_skip("bridge", &format!("link set dev tapA state {number}")) else { return };
        assert_eq!(interface("tapA").interface.bridge_port, Some(state));
    }
    link::set_down("tapA").unwrap();
    assert_eq!(interface("tapA").interface.bridge_port, Some(PortState::Disabled));
}

#[test]
fn a_port_that_spanning_tree_has_closed_against_a_loop_is_told() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let setup = "link add br0 type bridge stp_state 1
        link add br1 type bridge stp_state 1
        link add a1 type veth peer name b1
        link add a2 type veth peer name b2";
    setup.lines().for_each(|line| drop(link::ip(line).unwrap()));
    for (port, bridge) in [("a1", "br0"), ("a2", "br0"), ("b1", "br1"), ("b2", "br1")] {
        link::attach(port, bridge).unwrap();
        link::ip(&format!("link set {port} up")).unwrap();
    }
    for bridge in ["br0", "br1"] {
        link::ip(&format!("link set {bridge} up")).unwrap();
    }
    let blocking =
        || look().interfaces.iter().any(|host| host.interface.bridge_port == Some(PortState::Blocking));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !blocking() {
        assert!(Instant::now() < deadline, "the bridges do not see their loop");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn offloads_are_those_that_the_holder_of_the_tap_accepts() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _plain = tap("tapA", &TapOptions::default());
    let _like_qemu = tap("tapB", &TapOptions { offloads: OFFLOADS_TCP, ..TapOptions::like_qemu() });
    let has = |name: &str, offload: &str| interface(name).offloads.iter().any(|active| active == offload);
    for offload in ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation"] {
        assert!(!has("tapA", offload), "{offload}");
        assert!(has("tapB", offload), "{offload}");
    }
    assert!(!has("tapB", "tx-udp-segmentation"), "it was not asked for");
    assert!(has("tapA", "rx-gro") && has("tapB", "rx-gro"));

    let Some(()) = run_or_skip("ethtool", "-K tapB gro off tx-tcp-segmentation off") else { return };
    assert!(!has("tapB", "rx-gro") && !has("tapB", "tx-tcp-segmentation"));
    assert!(has("tapB", "tx-tcp6-segmentation"));
}

fn filter(
    direction: Direction,
    kind: &str,
    priority: u16,
    protocol: u16,
    handle: u32,
    action: &str,
) -> Filter {
    let actions = vec![action.to_owned()];
    let kind = kind.into();
    Filter { direction, kind, priority, protocol, handle, actions, program_id: None, program_name: None }
}

#[test]
fn filters_are_told_by_direction_kind_place_and_actions() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _taps = [tap("tapA", &TapOptions::default()), tap("tapB", &TapOptions::default())];
    let Some(()) = run_or_skip("tc", "qdisc add dev tapA clsact") else { return };
    assert_eq!(interface("tapA").filters, [], "a hook without filters");

    let mirror = "action mirred egress mirror dev tapB";
    link::tc(&format!("filter add dev tapA egress prio 7 protocol all u32 match u32 0 0 {mirror} {mirror}"))
        .unwrap();
    link::tc(&format!("filter add dev tapA ingress prio 9 protocol ip u32 match ip dst 10.0.0.1 {mirror}"))
        .unwrap();
    let classic = ["bytecode", "1,6 0 0 4294967295"];
    let bpf = "filter add dev tapA ingress prio 3 protocol all bpf";
    let command: Vec<_> = bpf.split(' ').chain(classic).chain(mirror.split(' ')).collect();
    link::run("tc", &command).unwrap();

    // The number of its hash table is above, and the kernel's choice.
    let first = 0x800;
    let mut both = filter(Direction::Egress, "u32", 7, 3, first, "mirred");
    both.actions.push("mirred".into());
    let expected = [
        filter(Direction::Ingress, "bpf", 3, 3, 1, "mirred"),
        filter(Direction::Ingress, "u32", 9, 0x0800, first, "mirred"),
        both,
    ];
    let mut seen = interface("tapA").filters;
    seen.iter_mut().for_each(|filter| filter.handle &= 0xfff);
    assert_eq!(seen, expected);
    assert_eq!(interface("tapB").filters, []);
}

#[test]
fn the_actions_of_every_classifier_that_this_kernel_has_are_told() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _taps = [tap("tapA", &TapOptions::default()), tap("tapB", &TapOptions::default())];
    let Some(()) = run_or_skip("tc", "qdisc add dev tapA clsact") else { return };
    let mut expected = Vec::new();
    for (kind, what) in [
        ("u32", "u32 match u32 0 0"),
        ("matchall", "matchall"),
        ("flower", "flower"),
        ("basic", "basic"),
        ("fw", "handle 16 fw"),
        ("cgroup", "handle 1 cgroup"),
    ] {
        let priority = expected.len() + 1;
        let place = format!("filter add dev tapA egress prio {priority} protocol all");
        if link::tc(&format!("{place} {what} action mirred egress mirror dev tapB")).is_ok() {
            expected.push((kind.to_owned(), vec!["mirred".to_owned()]));
        }
    }
    assert!(!expected.is_empty(), "every kernel with clsact and mirred has a classifier");
    let seen: Vec<_> =
        interface("tapA").filters.into_iter().map(|filter| (filter.kind, filter.actions)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn filters_of_an_ingress_qdisc_are_not_told_twice() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _taps = [tap("tapA", &TapOptions::default()), tap("tapB", &TapOptions::default())];
    let Some(()) = run_or_skip("tc", "qdisc add dev tapA ingress") else { return };
    let mirror = "action mirred egress mirror dev tapB";
    link::tc(&format!("filter add dev tapA ingress protocol all u32 match u32 0 0 {mirror}")).unwrap();
    let directions: Vec<_> = interface("tapA").filters.iter().map(|filter| filter.direction).collect();
    assert_eq!(directions, [Direction::Ingress]);
}

#[test]
fn rules_that_look_at_the_mark_are_listed_and_no_others() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    assert_eq!(look().mark_rules, []);
    link::ip("rule add fwmark 0x3074 table 100 priority 50").unwrap();
    link::ip("rule add fwmark 0x10/0xf0 lookup 4711 priority 60").unwrap();
    link::ip("rule add from 10.0.0.0/8 table 200 priority 70").unwrap();
    let all = MarkRule { priority: 50, mark: 0x3074, mask: u32::MAX, table: 100, ipv6: false };
    let some = MarkRule { priority: 60, mark: 0x10, mask: 0xf0, table: 4711, ipv6: false };
    assert_eq!(look().mark_rules, [all, some]);
    let Some(()) = run_or_skip("ip", "-6 rule add fwmark 0x1/0x1 table 5 priority 40") else { return };
    let six = MarkRule { priority: 40, mark: 1, mask: 1, table: 5, ipv6: true };
    assert_eq!(look().mark_rules, [all, some, six]);
}

#[test]
fn packet_sockets_are_told_with_what_they_are_bound_to() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _tap = tap("tapA", &TapOptions::default());
    assert_eq!(look().packet_sockets, [], "looking opens none");

    let name = InterfaceName::new("tapA").unwrap();
    let capturing = PacketSocket::open().unwrap();
    let ifindex = netdev::ifindex(&capturing, &name).unwrap();
    capturing.bind(ifindex, Binding::Capture).unwrap();
    let sockets = look().packet_sockets;
    assert_eq!(sockets.len(), 1);
    let seen = sockets[0];
    assert_eq!((seen.ifindex, seen.protocol, seen.running), (ifindex.get(), 3, true));
    assert_eq!(seen.uid, getuid().as_raw());
    let descriptor = capturing.as_fd().as_raw_fd();
    let link = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
    assert_eq!(link.to_str(), Some(format!("socket:[{}]", seen.inode).as_str()));

    drop(capturing);
    let sending = PacketSocket::open().unwrap();
    sending.bind(ifindex, Binding::SendOnly).unwrap();
    let seen = look().packet_sockets[0];
    assert_eq!((seen.ifindex, seen.protocol, seen.running), (ifindex.get(), 0, false));
    drop(sending);
    assert_eq!(look().packet_sockets, []);
}

#[test]
fn more_interfaces_than_one_answer_holds_are_all_there_in_order() {
    const COUNT: usize = 300;
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let batch = format!("for i in $(seq {COUNT}); do echo link add br$i type bridge; done | ip -batch -");
    link::run("sh", &["-c", &batch]).unwrap();
    let indexes: Vec<_> = look().interfaces.iter().map(|host| host.interface.ifindex.get()).collect();
    assert_eq!(indexes.len(), COUNT + 1, "and lo");
    assert!(indexes.is_sorted());
}
