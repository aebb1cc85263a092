//! The seed's loop: poll, then one recvfrom with a look at the packet type and one send for each frame, until
//! there are no more. What a plain implementation inside an event loop does, with its default buffers.
//!
//! As it is, it cannot forward a frame longer than the MTU. With virtio-net headers on both sockets it can,
//! and so there is something to compare GSO frames with.

use std::any::Any;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tapferry_sys::netdev::{self, InterfaceName};
use tapferry_sys::packet::{Binding, PacketSocket};

use super::{Joins, Peer, SHORTLY, Way};
use crate::error::{Context, Result};
use crate::sys;

pub(crate) const PLAIN: Peer = Peer {
    name: "seed",
    about: "the seed's loop: poll, one recvfrom and one send per frame",
    way: Way::Child(start_plain),
    joins: Joins::All,
    holds: SHORTLY,
};

pub(crate) const WITH_VNET_HEADER: Peer = Peer {
    name: "seed+vnet",
    about: "the seed's loop with PACKET_VNET_HDR on both sockets: what GSO frames are compared with",
    way: Way::Child(start_with_vnet_header),
    joins: Joins::GsoOnly,
    holds: SHORTLY,
};

/// Room for one frame of 64 KiB with its headers.
const BUFFER: usize = 68 * 1024;

fn start_plain(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(input, output, false)
}

fn start_with_vnet_header(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start(input, output, true)
}

fn start(input: &str, output: &str, vnet_header: bool) -> Result<Box<dyn Any>> {
    let captured = open(input, Binding::Capture, vnet_header)?;
    let injected = open(output, Binding::SendOnly, vnet_header)?;
    thread::spawn(move || forward(&captured, &injected));
    Ok(Box::new(()))
}

fn open(interface: &str, binding: Binding, vnet_header: bool) -> Result<PacketSocket> {
    let name = InterfaceName::new(interface).on("naming", "an interface")?;
    let socket = PacketSocket::open().on("socket(AF_PACKET)", interface)?;
    if vnet_header {
        socket.enable_vnet_header().on("PACKET_VNET_HDR", interface)?;
    }
    let ifindex = netdev::ifindex(&socket, &name).on("SIOCGIFINDEX", interface)?;
    socket.bind(ifindex, binding).on("bind", interface)?;
    Ok(socket)
}

fn forward(input: &PacketSocket, output: &PacketSocket) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match poll(&mut [PollFd::new(input, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            // Only for want of memory: the benchmark then counts every frame as lost.
            Err(_) => return,
        }
        while let Ok((length, outgoing)) = sys::receive_from(input, &mut buffer) {
            if outgoing {
                // A frame that is refused is lost, as in the seed; the benchmark counts what arrives.
                send(output, &buffer[..length], SendFlags::empty()).ok();
            }
        }
    }
}
