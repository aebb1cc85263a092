//! Interfaces as rtnetlink tells of them: their state, their counters, their coming and going
//! (rtnetlink(7)), in the network namespace of the thread that opened the socket. sysfs would show the
//! namespace of its mount instead.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{
    InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use crate::error::Error;
use crate::interfaces::tun;
use crate::netdev::{IfIndex, InterfaceName, MacAddress};

/// Multicast group of link changes: bit of RTNLGRP_LINK (linux/rtnetlink.h).
const RTMGRP_LINK: u32 = 1;
/// Room for one datagram of link messages; the kernel fills at most 32 KiB of what it is offered.
const DATAGRAM: usize = 64 * 1024;

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its name.
    pub name: String,
    /// Set up by the administrator (IFF_UP).
    pub up: bool,
    /// Has a carrier (IFF_LOWER_UP). On a TAP: somebody holds its descriptor.
    pub carrier: bool,
    /// Largest layer-3 packet in bytes.
    pub mtu: u32,
    /// Its frames have an Ethernet header (ARPHRD_ETHER, and the loopback interface).
    pub is_ethernet: bool,
    /// A TUN/TAP interface.
    pub is_tap: bool,
    /// Of a TUN/TAP interface: whether a virtio-net header goes before each frame (IFF_VNET_HDR).
    pub vnet_header: Option<bool>,
    /// Its hardware address, when that has the six bytes of a MAC address.
    pub mac: Option<MacAddress>,
    /// Frames that may wait in a TAP, or in a queueing discipline of that name (`txqueuelen`).
    pub tx_queue_length: u32,
    /// Frames sent since the interface was created; on a TAP, those read by the holder of its descriptor
    /// (IFLA_STATS64).
    pub tx_packets: u64,
    /// Frames received since the interface was created (IFLA_STATS64). On a TAP: those that its holder has sent.
    pub rx_packets: u64,
    /// Frames that could not be sent since the interface was created, whoever sent them (IFLA_STATS64).
    pub tx_dropped: u64,
}

/// A change of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkChange {
    /// It is there, in this state; perhaps it was so before.
    Present(Link),
    /// It was deleted, or moved to another network namespace.
    Gone(IfIndex),
}

/// Some changes were lost because they came faster than they were read: ask anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun;

/// Watches all interfaces of a network namespace.
#[derive(Debug)]
pub struct LinkWatch {
    changes: Socket,
    buffer: Vec<u8>,
}

impl LinkWatch {
    /// Starts to watch the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let changes = open(RTMGRP_LINK)?;
        changes.set_non_blocking(true).map_err(errno).map_err(on_opening())?;
        Ok(Self { changes, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Passes on every change that has come in since the last call.
    pub fn read(&mut self, mut on_change: impl FnMut(LinkChange)) -> Result<(), Overrun> {
        loop {
            self.buffer.clear();
            match self.changes.recv(&mut self.buffer, 0).map_err(errno) {
                Ok(_) => {}
                Err(Errno::NOBUFS) => return Err(Overrun),
                // Nothing more to read; any other failure of a bound netlink socket has no remedy here,
                // and sending and capturing report the interface's state by themselves.
                Err(_) => return Ok(()),
            }
            for message in messages(&self.buffer) {
                match message {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
                        if is_about_the_interface(&link) =>
                    {
                        if let Some(link) = describe(&link) {
                            on_change(LinkChange::Present(link));
                        }
                    }
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                        if is_about_the_interface(&link) =>
                    {
                        if let Some(ifindex) = IfIndex::from_netlink(link.header.index) {
                            on_change(LinkChange::Gone(ifindex));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// Answers questions about the interfaces of a network namespace.
#[derive(Debug)]
pub struct Links {
    queries: Socket,
    buffer: Vec<u8>,
}

impl Links {
    /// For those of the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { queries: open(0)?, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// The interface of that name, or `None` if there is none.
    pub fn by_name(&mut self, name: &InterfaceName) -> Result<Option<Link>, Error> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.as_str().to_owned()));
        self.query(request, name.as_str())
    }

    /// The interface of that number, or `None` if there is none.
    pub fn by_index(&mut self, ifindex: IfIndex) -> Result<Option<Link>, Error> {
        let mut request = LinkMessage::default();
        request.header.index = ifindex.get();
        self.query(request, &format!("ifindex {}", ifindex.get()))
    }

    fn query(&mut self, request: LinkMessage, object: &str) -> Result<Option<Link>, Error> {
        let on = || Error::on("ask netlink for the link", object);
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(request));
        message.header.flags = NLM_F_REQUEST;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.queries.send(&bytes, 0).map_err(errno).map_err(on())?;
        self.buffer.clear();
        self.queries.recv(&mut self.buffer, 0).map_err(errno).map_err(on())?;
        match messages(&self.buffer).next() {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))) => Ok(describe(&link)),
            Some(NetlinkPayload::Error(error)) => match errno(error.to_io()) {
                Errno::NODEV => Ok(None),
                refused => Err(on()(refused)),
            },
            _ => Err(on()(Errno::PROTO)),
        }
    }
}

/// A socket that is told what these multicast groups are told.
fn open(groups: u32) -> Result<Socket, Error> {
    let bound = |mut socket: Socket| socket.bind(&SocketAddr::new(0, groups)).map(|()| socket);
    Socket::new(NETLINK_ROUTE).and_then(bound).map_err(errno).map_err(on_opening())
}

fn on_opening() -> impl FnOnce(Errno) -> Error {
    Error::on("open a netlink socket", "NETLINK_ROUTE")
}

/// The messages of one datagram, up to the first that cannot be read.
fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkPayload<RouteNetlinkMessage>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).ok()?;
        let aligned = usize::try_from(message.header.length).ok()?.next_multiple_of(4);
        rest = rest.get(aligned..).unwrap_or_default();
        Some(message.payload)
    })
}

/// Other families tell what is not the interface itself: a bridge announces with AF_BRIDGE and RTM_DELLINK
/// that it has one port less, while the port lives on.
fn is_about_the_interface(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

/// The loopback interface's frames have an Ethernet header, too.
pub(crate) fn carries_ethernet(message: &LinkMessage) -> bool {
    matches!(message.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback)
}

fn describe(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        ifindex: IfIndex::from_netlink(message.header.index)?,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        is_ethernet: carries_ethernet(message),
        is_tap: false,
        vnet_header: None,
        mac: None,
        tx_queue_length: 0,
        tx_packets: 0,
        rx_packets: 0,
        tx_dropped: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(address) => link.mac = address.as_slice().try_into().ok().map(MacAddress),
            LinkAttribute::TxQueueLen(frames) => link.tx_queue_length = *frames,
            LinkAttribute::Stats64(stats) => {
                link.tx_packets = stats.tx_packets;
                link.rx_packets = stats.rx_packets;
                link.tx_dropped = stats.tx_dropped;
            }
            LinkAttribute::LinkInfo(info) => {
                link.is_tap = info.iter().any(|item| matches!(item, LinkInfo::Kind(InfoKind::Tun)));
                link.vnet_header = info.iter().find_map(|item| match item {
                    LinkInfo::Data(InfoData::Tun(items)) => Some(tun(items).vnet_header),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

fn errno(error: impl std::borrow::Borrow<std::io::Error>) -> Errno {
    Errno::from_io_error(error.borrow()).unwrap_or(Errno::IO)
}
