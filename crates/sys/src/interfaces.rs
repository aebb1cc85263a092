//! All interfaces of a network namespace, as rtnetlink describes them (rtnetlink(7), RTM_GETLINK).
//!
//! [`link`](crate::link) follows the few things that a redirector depends on; this is the whole description,
//! once.

use netlink_packet_core::{Nla, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoData, InfoPortData, InfoTun, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, Prop,
};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::error::Error;
use crate::link::carries_ethernet;
use crate::netdev::{IfIndex, MacAddress};
use crate::netlink;

/// What a driver that says nothing else is given: GSO frames of 64 KiB (GSO_LEGACY_MAX_SIZE,
/// linux/netdevice.h).
const GSO_LEGACY_MAX_BYTES: u32 = 65536;

/// Attributes of a TUN or TAP (linux/if_link.h, the enum after `TUN section`).
mod ifla_tun {
    pub(super) const OWNER: u16 = 1;
    pub(super) const GROUP: u16 = 2;
    pub(super) const TYPE: u16 = 3;
    pub(super) const VNET_HDR: u16 = 5;
    pub(super) const PERSIST: u16 = 6;
    pub(super) const MULTI_QUEUE: u16 = 7;
    pub(super) const NUM_QUEUES: u16 = 8;
    pub(super) const NUM_DISABLED_QUEUES: u16 = 9;
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its name.
    pub name: String,
    /// Other names that it answers to (IFLA_PROP_LIST).
    pub alt_names: Vec<String>,
    /// rtnetlink's word for its driver, as `ip link add type` takes it: `tun`, `veth`. Empty for hardware and
    /// for the loopback interface.
    pub kind: String,
    /// Its frames have an Ethernet header.
    pub is_ethernet: bool,
    /// Set up by the administrator (IFF_UP).
    pub up: bool,
    /// Has a carrier (IFF_LOWER_UP). On a TAP: somebody holds its descriptor.
    pub carrier: bool,
    /// Largest layer-3 packet in bytes.
    pub mtu: u32,
    /// Its hardware address, when that has the six bytes of a MAC address.
    pub mac: Option<MacAddress>,
    /// Queues for transmission that it was made with.
    pub tx_queues: u32,
    /// Queues for reception that it was made with.
    pub rx_queues: u32,
    /// Frames that may wait in a TAP, or in a queueing discipline of that name (`txqueuelen`).
    pub tx_queue_length: u32,
    /// Largest GSO frame in bytes; above 65536 with BIG TCP.
    pub gso_max_size: u32,
    /// Its root queueing discipline.
    pub qdisc: String,
    /// The bridge, bond and the like that it is a port of (IFLA_MASTER).
    pub controller: Option<IfIndex>,
    /// Whether a bridge lets frames through that port.
    pub bridge_port: Option<PortState>,
    /// The peer of a veth, the lower interface of a VLAN or macvtap (IFLA_LINK).
    pub link: Option<IfIndex>,
    /// `link` counts in another network namespace (IFLA_LINK_NETNSID).
    pub link_elsewhere: bool,
    /// What is particular to TUN and TAP.
    pub tun: Option<Tun>,
    /// Counters since it was made.
    pub counters: Counters,
}

/// A bridge port's state (IFLA_BRPORT_STATE). Frames pass in one of them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// The port or its bridge is down, or has no carrier.
    Disabled,
    /// Spanning tree decides.
    Listening,
    /// Learns addresses, and forwards nothing yet.
    Learning,
    /// Frames pass.
    Forwarding,
    /// Spanning tree has closed it, against a loop.
    Blocking,
}

/// What is particular to TUN and TAP (IFLA_TUN_*, linux/if_link.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tun {
    /// Frames with an Ethernet header, not packets without.
    pub tap: bool,
    /// A virtio-net header before each frame (IFF_VNET_HDR).
    pub vnet_header: bool,
    /// Outlives its descriptors.
    pub persistent: bool,
    /// May be opened several times (IFF_MULTI_QUEUE).
    pub multi_queue: bool,
    /// Descriptors that hold it and are in use. 1 without `multi_queue`, also while nobody holds it: see the
    /// carrier.
    pub queues: u32,
    /// Descriptors that hold it and are not in use (IFF_DETACH_QUEUE).
    pub disabled_queues: u32,
    /// User id that may open it.
    pub owner: Option<u32>,
    /// Group id that may open it.
    pub group: Option<u32>,
}

/// Frames since an interface was made (IFLA_STATS64).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received by the host.
    pub rx_packets: u64,
    /// Sent by the host; on a TAP, those read by the holder of its descriptor.
    pub tx_packets: u64,
    /// Not received.
    pub rx_dropped: u64,
    /// Not sent.
    pub tx_dropped: u64,
}

/// All interfaces of the calling thread's network namespace, by their number.
pub fn list() -> Result<Vec<Interface>, Error> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let rows =
        netlink::dump(NETLINK_ROUTE, request).map_err(Error::on("list interfaces", "NETLINK_ROUTE"))?;
    let mut interfaces: Vec<_> = rows
        .iter()
        .filter_map(|row| LinkMessage::parse(row).ok())
        .filter_map(|message| describe(&message))
        .collect();
    interfaces.sort_by_key(|interface| interface.ifindex.get());
    Ok(interfaces)
}

fn describe(message: &LinkMessage) -> Option<Interface> {
    let mut interface = Interface {
        ifindex: IfIndex::from_netlink(message.header.index)?,
        name: String::new(),
        alt_names: Vec::new(),
        kind: String::new(),
        is_ethernet: carries_ethernet(message),
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mac: None,
        tx_queues: 1,
        rx_queues: 1,
        tx_queue_length: 0,
        gso_max_size: GSO_LEGACY_MAX_BYTES,
        qdisc: String::new(),
        controller: None,
        bridge_port: None,
        link: None,
        link_elsewhere: false,
        tun: None,
        counters: Counters::default(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::PropList(properties) => {
                interface.alt_names = properties.iter().filter_map(alt_name).collect();
            }
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Address(address) => {
                interface.mac = address.as_slice().try_into().ok().map(MacAddress);
            }
            LinkAttribute::NumTxQueues(queues) => interface.tx_queues = *queues,
            LinkAttribute::NumRxQueues(queues) => interface.rx_queues = *queues,
            LinkAttribute::TxQueueLen(frames) => interface.tx_queue_length = *frames,
            LinkAttribute::GsoMaxSize(bytes) => interface.gso_max_size = *bytes,
            LinkAttribute::Qdisc(qdisc) => interface.qdisc.clone_from(qdisc),
            LinkAttribute::Controller(ifindex) => interface.controller = IfIndex::from_netlink(*ifindex),
            LinkAttribute::Link(ifindex) => interface.link = IfIndex::from_netlink(*ifindex),
            LinkAttribute::LinkNetNsId(_) => interface.link_elsewhere = true,
            LinkAttribute::Stats64(stats) => {
                interface.counters = Counters {
                    rx_packets: stats.rx_packets,
                    tx_packets: stats.tx_packets,
                    rx_dropped: stats.rx_dropped,
                    tx_dropped: stats.tx_dropped,
                };
            }
            LinkAttribute::LinkInfo(items) => items.iter().for_each(|item| add_info(&mut interface, item)),
            _ => {}
        }
    }
    Some(interface)
}

fn alt_name(property: &Prop) -> Option<String> {
    match property {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

fn add_info(interface: &mut Interface, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => interface.kind = kind.to_string(),
        LinkInfo::Data(InfoData::Tun(items)) => interface.tun = Some(tun(items)),
        LinkInfo::PortData(InfoPortData::BridgePort(items)) => {
            interface.bridge_port = items.iter().find_map(|item| match item {
                InfoBridgePort::State(state) => port_state(*state),
                _ => None,
            });
        }
        _ => {}
    }
}

fn port_state(state: BridgePortState) -> Option<PortState> {
    Some(match state {
        BridgePortState::Disabled => PortState::Disabled,
        BridgePortState::Listening => PortState::Listening,
        BridgePortState::Learning => PortState::Learning,
        BridgePortState::Forwarding => PortState::Forwarding,
        BridgePortState::Blocking => PortState::Blocking,
        _ => return None,
    })
}

/// The crate for rtnetlink leaves these attributes as bytes.
pub(crate) fn tun(attributes: &[InfoTun]) -> Tun {
    let mut tun = Tun { queues: 1, ..Tun::default() };
    for attribute in attributes {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        let flag = value.first() == Some(&1);
        let number = netlink::number(&value);
        match attribute.kind() {
            ifla_tun::OWNER => tun.owner = Some(number),
            ifla_tun::GROUP => tun.group = Some(number),
            // IFF_TUN is 1, IFF_TAP 2.
            ifla_tun::TYPE => tun.tap = value.first() == Some(&2),
            ifla_tun::VNET_HDR => tun.vnet_header = flag,
            ifla_tun::PERSIST => tun.persistent = flag,
            ifla_tun::MULTI_QUEUE => tun.multi_queue = flag,
            ifla_tun::NUM_QUEUES => tun.queues = number,
            ifla_tun::NUM_DISABLED_QUEUES => tun.disabled_queues = number,
            _ => {}
        }
    }
    tun
}
