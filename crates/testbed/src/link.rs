//! Interfaces of the calling thread's network namespace.
//!
//! By rtnetlink, which works in a user namespace too, where older ioctls answer EPERM. Not by starting `ip`:
//! between its fork and its exec a command holds copies of every descriptor of this process, so that a TAP
//! which another test's thread has just closed is still there for a moment. [`run`] is for the rest.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::Serialize;

use crate::error::{Context, Error, Result};
use crate::netlink::{Route, named};

/// Runs a command in the calling thread's namespace and returns its standard output.
///
/// # Errors
/// The command line with its standard error, when it cannot be started or fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let failed =
        |reason: String| Error::Command { command: format!("{program} {}", arguments.join(" ")), reason };
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{} ({})", text.trim(), output.status)))
    }
}

/// `ip ...`, its arguments separated by spaces.
///
/// # Errors
/// As [`run`].
pub fn ip(arguments: &str) -> Result<String> {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// `tc ...`, its arguments separated by spaces.
///
/// # Errors
/// As [`run`].
pub fn tc(arguments: &str) -> Result<String> {
    run("tc", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Sets an interface up, and waits until frames can be sent into it; into its peer too, if it is a veth.
///
/// # Errors
/// ENODEV when there is none of that name, EPERM without CAP_NET_ADMIN; the same for all changes below.
pub fn set_up(name: &str) -> Result<()> {
    set_flag_up(name, LinkFlags::Up)?;
    let peer = attribute(&describe(name)?, |attribute| match attribute {
        LinkAttribute::Link(peer) if *peer != 0 => Some(*peer),
        _ => None,
    });
    if let Some(peer) = peer {
        let mut message = LinkMessage::default();
        message.header.index = peer;
        wait_until_usable(&named(name), name)?;
        wait_until_usable(&message, &format!("the peer of {name}"))?;
    }
    Ok(())
}

/// Waits for an interface whose carrier comes on after it was set up: a veth when its peer comes up, a bridge with
/// its first port. The kernel gives it its queueing discipline by a work queue; what is sent before that is lost
/// without a trace. The operational state tells when that is over. (Interfaces that have a carrier when they are set
/// up are usable at once, but their operational state may lag a second behind.)
fn wait_until_usable(which: &LinkMessage, name: &str) -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(2);
    let start = Instant::now();
    let route = Route::open().on("socket(NETLINK_ROUTE)", name)?;
    loop {
        let link = route.link(which.clone()).on("ask for the state", name)?;
        let has = |wanted: fn(&LinkAttribute) -> bool| link.attributes.iter().any(wanted);
        let running = link.header.flags.contains(LinkFlags::Up)
            && has(|attribute| matches!(attribute, LinkAttribute::Carrier(1)));
        let down = has(|attribute| {
            matches!(attribute, LinkAttribute::OperState(State::Down | State::LowerLayerDown))
        });
        if !(running && down) {
            return Ok(());
        }
        if start.elapsed() > LONGEST {
            return Err(Error::Invalid(format!("{name} is up and has a carrier, but stays unusable")));
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Sets an interface down.
///
/// # Errors
/// As [`set_up`].
pub fn set_down(name: &str) -> Result<()> {
    set_flag_up(name, LinkFlags::empty())
}

fn set_flag_up(name: &str, flags: LinkFlags) -> Result<()> {
    let mut message = named(name);
    message.header.flags = flags;
    message.header.change_mask = LinkFlags::Up;
    change("set the state", name, RouteNetlinkMessage::SetLink(message), 0)
}

/// Sets the MTU, in bytes without the Ethernet header.
///
/// # Errors
/// As [`set_up`]; EINVAL when the interface cannot have that MTU.
pub fn set_mtu(name: &str, mtu: u32) -> Result<()> {
    set("set the MTU", name, LinkAttribute::Mtu(mtu))
}

/// Sets the length of a TAP's own queue, in frames.
///
/// # Errors
/// As [`set_up`].
pub fn set_queue_length(name: &str, frames: u32) -> Result<()> {
    set("set the queue length", name, LinkAttribute::TxQueueLen(frames))
}

/// Gives an interface an IPv4 address, with a route to the network of that prefix length.
///
/// # Errors
/// As [`set_up`]; EEXIST when it has this address.
pub fn add_address(name: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index(name)?;
    message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
    change("add an address", name, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Deletes an interface; a TAP also while somebody holds it.
///
/// # Errors
/// As [`set_up`].
pub fn delete(name: &str) -> Result<()> {
    change("delete", name, RouteNetlinkMessage::DelLink(named(name)), 0)
}

/// Creates a pair of veth interfaces, both up.
///
/// # Errors
/// As [`set_up`]; EEXIST when one of them exists.
pub fn veth(name: &str, peer: &str) -> Result<()> {
    create(name, InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(named(peer))))?;
    set_up(name)?;
    set_up(peer)
}

/// Creates a bridge that is up and forwards at once, with the given ports.
///
/// # Errors
/// As [`set_up`]; EEXIST when it exists.
pub fn bridge(name: &str, ports: &[&str]) -> Result<()> {
    // Neither spanning tree nor multicast snooping may send frames of their own or hold back those of the test.
    let silent = vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::ForwardDelay(0),
        InfoBridge::MulticastSnooping(false),
    ];
    create(name, InfoKind::Bridge, InfoData::Bridge(silent))?;
    for port in ports {
        attach(port, name)?;
    }
    set_up(name)?;
    wait_until_usable(&named(name), name)
}

fn create(name: &str, kind: InfoKind, data: InfoData) -> Result<()> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    change("create", name, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Makes an interface a port of a bridge.
///
/// # Errors
/// As [`set_up`].
pub fn attach(port: &str, bridge: &str) -> Result<()> {
    set("set the bridge", port, LinkAttribute::Controller(index(bridge)?))
}

fn set(operation: &'static str, name: &str, attribute: LinkAttribute) -> Result<()> {
    let mut message = named(name);
    message.attributes.push(attribute);
    change(operation, name, RouteNetlinkMessage::SetLink(message), 0)
}

fn change(operation: &'static str, name: &str, request: RouteNetlinkMessage, flags: u16) -> Result<()> {
    Route::open().and_then(|route| route.change(request, flags)).on(operation, name)
}

fn describe(name: &str) -> Result<LinkMessage> {
    Route::open().and_then(|route| route.link(named(name))).on("ask for the state", name)
}

/// Turns IPv6 on or off for one interface; [`crate::namespace::Namespace::enter_new`] turns it off for all.
///
/// # Errors
/// When the setting cannot be written.
pub fn set_ipv6(name: &str, on: bool) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    fs::write(&path, if on { "0" } else { "1" }).on("write", path)
}

/// The kernel's index of an interface.
///
/// # Errors
/// ENODEV when there is none of that name; the same for all questions below.
pub fn index(name: &str) -> Result<u32> {
    describe(name).map(|link| link.header.index)
}

/// The MTU of an interface in bytes.
///
/// # Errors
/// As [`index`].
pub fn mtu(name: &str) -> Result<u32> {
    find(name, "MTU", |attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The MAC address of an interface.
///
/// # Errors
/// As [`index`].
pub fn mac(name: &str) -> Result<[u8; 6]> {
    find(name, "MAC address", |attribute| match attribute {
        LinkAttribute::Address(address) => address.as_slice().try_into().ok(),
        _ => None,
    })
}

/// Whether an interface of that name exists.
pub fn exists(name: &str) -> bool {
    index(name).is_ok()
}

/// What the kernel counted on an interface since it was created (IFLA_STATS64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Frames received by the host.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames dropped on receipt.
    pub rx_dropped: u64,
    /// Frames transmitted; for a TAP, those READ by the holder of its descriptor.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped instead of transmitted; for a TAP, those that found its queue full.
    pub tx_dropped: u64,
}

/// The counters of an interface.
///
/// # Errors
/// As [`index`].
pub fn counters(name: &str) -> Result<Counters> {
    find(name, "statistics", |attribute| match attribute {
        LinkAttribute::Stats64(statistics) => Some(Counters {
            rx_packets: statistics.rx_packets,
            rx_bytes: statistics.rx_bytes,
            rx_dropped: statistics.rx_dropped,
            tx_packets: statistics.tx_packets,
            tx_bytes: statistics.tx_bytes,
            tx_dropped: statistics.tx_dropped,
        }),
        _ => None,
    })
}

fn find<T>(name: &str, what: &str, read: impl FnMut(&LinkAttribute) -> Option<T>) -> Result<T> {
    let missing = || Error::Invalid(format!("the kernel tells no {what} of {name}"));
    attribute(&describe(name)?, read).ok_or_else(missing)
}

fn attribute<T>(link: &LinkMessage, read: impl FnMut(&LinkAttribute) -> Option<T>) -> Option<T> {
    link.attributes.iter().find_map(read)
}
