//! What there is in a network namespace, at one moment.

use tapferry_sys::Error;
use tapferry_sys::interfaces::{self, Interface};
use tapferry_sys::namespace::{Namespace, NamespaceId, run_in};
use tapferry_sys::netdev::InterfaceName;
use tapferry_sys::offloads::Offloads;
use tapferry_sys::rules::{self, MarkRule};
use tapferry_sys::traffic_control::{Filter, TrafficControl};

use crate::error::InspectError;
use crate::packet_sockets::{self, PacketSocket};

/// The offloads that decide how frames look when they are captured, and which may be injected: checksums,
/// segmentation, merging on receipt, and VLAN tags beside the frame.
const OFFLOADS: [&str; 15] = [
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-generic-segmentation",
    "rx-gro",
    "rx-lro",
    "tx-vlan-hw-insert",
    "rx-vlan-hw-parse",
];

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    /// Which one.
    pub namespace: NamespaceId,
    /// Its interfaces, by their number.
    pub interfaces: Vec<HostInterface>,
    /// Its AF_PACKET sockets, whoever has them.
    pub packet_sockets: Vec<PacketSocket>,
    /// Its policy rules that look at the mark.
    pub mark_rules: Vec<MarkRule>,
}

/// An interface and what is attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    /// The interface itself.
    pub interface: Interface,
    /// Its active offloads, of those that matter to forwarding, by the names of `ethtool -k`.
    pub offloads: Vec<String>,
    /// What traffic control does with its frames.
    pub filters: Vec<Filter>,
}

/// Looks at a network namespace; at this thread's, when none is given. Needs no privilege, but CAP_SYS_ADMIN
/// to enter another one.
pub fn network(namespace: Option<&Namespace>) -> Result<NetworkView, InspectError> {
    Ok(run_in(namespace, view)?)
}

fn view() -> Result<NetworkView, Error> {
    let mut offloads = Offloads::open()?;
    let traffic_control = TrafficControl::open()?;
    let interfaces = interfaces::list()?
        .into_iter()
        .map(|interface| {
            let offloads = active(&mut offloads, &interface.name);
            let filters = traffic_control.filters(interface.ifindex)?;
            Ok(HostInterface { interface, offloads, filters })
        })
        .collect::<Result<_, Error>>()?;
    Ok(NetworkView {
        namespace: Namespace::own()?.id(),
        interfaces,
        packet_sockets: packet_sockets::list()?,
        mark_rules: rules::list()?,
    })
}

/// None where they cannot be told: the interface was just deleted or renamed, or its driver answers only while it
/// is up. One interface must not hide the others.
fn active(offloads: &mut Offloads, name: &str) -> Vec<String> {
    let Ok(name) = InterfaceName::new(name) else { return Vec::new() };
    let names = offloads.active(&name).unwrap_or_default();
    names.into_iter().filter(|name| OFFLOADS.contains(name)).map(str::to_owned).collect()
}
