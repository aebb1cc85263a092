//! What the kernel allows this process: each thing is tried, on sockets that are bound to nothing and closed
//! again at once. No frame is captured, and no other socket is touched.

use tapferry_sys::namespace::{Namespace, run_in};
use tapferry_sys::packet::PacketSocket;
use tapferry_sys::receive::RECEIVE_BUFFER;
use tapferry_sys::ring::{self, Geometry};
use tapferry_sys::{Errno, Error};

use crate::error::InspectError;

/// What a redirector asks the kernel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// An AF_PACKET socket: CAP_NET_RAW. Nothing goes without it.
    PacketSocket,
    /// SO_MARK on it: CAP_NET_RAW since Linux 5.17, CAP_NET_ADMIN before. Loops are prevented by it.
    Mark,
    /// A large receive buffer: CAP_NET_ADMIN in the initial user namespace, or `net.core.rmem_max` of half its size. Without
    /// it a burst finds less room.
    ReceiveBuffer,
    /// The memory of a capture ring.
    Ring,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What was tried.
    pub what: Privilege,
    /// Why the kernel refused; `None` when it did not.
    pub refusal: Option<Error>,
}

/// Tries everything in a network namespace; in this thread's, when none is given. Without a packet socket
/// the others are refused for the same reason.
pub fn privileges(namespace: Option<&Namespace>) -> Result<Vec<Probe>, InspectError> {
    const SOCKET: &str = "an AF_PACKET socket";
    let probes = run_in(namespace, || {
        let socket = PacketSocket::open().map_err(Error::on("create AF_PACKET socket", "this process"));
        let on = |operation, try_it: fn(&PacketSocket) -> Result<(), Errno>| match &socket {
            Ok(socket) => try_it(socket).map_err(Error::on(operation, SOCKET)),
            Err(error) => Err(error.clone()),
        };
        let probe = |what, outcome: Result<(), Error>| Probe { what, refusal: outcome.err() };
        Ok(vec![
            probe(Privilege::PacketSocket, socket.as_ref().map(drop).map_err(Clone::clone)),
            probe(Privilege::Mark, on("set SO_MARK", |socket| socket.set_mark(1))),
            probe(
                Privilege::ReceiveBuffer,
                on("get the receive buffer", |socket| {
                    socket.set_receive_buffer(RECEIVE_BUFFER)?;
                    socket.has_receive_buffer(RECEIVE_BUFFER).then_some(()).ok_or(Errno::PERM)
                }),
            ),
            probe(Privilege::Ring, ring::probe(Geometry::DEFAULT)),
        ])
    });
    Ok(probes?)
}
