//! How many frames may wait in a TAP for the holder of its descriptor, or in a queueing discipline that goes by it
//! (`txqueuelen`; IFLA_TXQLEN, rtnetlink(7)). The ioctl SIOCSIFTXQLEN would be refused in a user namespace.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::error::Error;
use crate::netdev::IfIndex;
use crate::netlink;

/// Gives the queue of an interface in the calling thread's network namespace room for so many frames. What waits
/// there already stays, as far as there is room. On a TAP this works at any time; [`Link`](crate::link::Link)
/// tells what it is.
///
/// `Errno::PERM` without CAP_NET_ADMIN in the user namespace that owns the network namespace; `Errno::NODEV`: no
/// such interface.
pub fn set(ifindex: IfIndex, frames: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex.get();
    message.attributes.push(LinkAttribute::TxQueueLen(frames));
    netlink::change(NETLINK_ROUTE, RouteNetlinkMessage::SetLink(message))
        .map_err(Error::on("set the queue length", &format!("ifindex {}", ifindex.get())))
}
