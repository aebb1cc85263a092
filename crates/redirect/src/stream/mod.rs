//! The stream ends of a redirector, indev and outdev: one peer after another on a socket.
//!
//! - [`peers`]: how an end comes by its peers: it listens, it dials, or it was given one
//! - [`dial`]: one connection made, and one sought for as long as it takes
//! - [`listen`]: a socket that peers connect to; [`bound_path`]: the path of one; [`reception`]: the same with TLS
//! - [`secure`]: the credentials of an end, renewed under way
//! - [`notice`]: what there is to tell of TLS
//! - [`reader`]: frames from a peer
//! - [`writer`]: frames to a peer; [`discard`]: what that one sends
//! - [`error`]: why an end could not be opened
//!
//! Invariants: once a redirector has started, nothing here blocks its thread; a peer that misbehaves costs its own connection and
//! nothing else; no half of a record is ever taken from one connection and half from the next.

pub(crate) mod bound_path;
pub(crate) mod dial;
pub(crate) mod discard;
pub(crate) mod error;
pub(crate) mod listen;
pub(crate) mod notice;
pub(crate) mod peers;
pub(crate) mod reader;
mod reception;
mod secure;
pub(crate) mod writer;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, getsockname, socket_with, sockopt};
use tapferry_sys::Errno;
use tapferry_sys::namespace::Namespace;

use error::{Attempt, StreamError};

/// Asked for in the kernel for frames on their way to a peer, in bytes: some 64 KiB frames fit.
const SEND_BUFFER: usize = 1024 * 1024;
/// A peer's machine that is silent for so long is asked whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Whether a socket is of TCP.
pub(crate) fn is_tcp(socket: impl AsFd) -> bool {
    getsockname(socket)
        .is_ok_and(|address| [AddressFamily::INET, AddressFamily::INET6].contains(&address.address_family()))
}

/// Brings the calling thread to where sockets of TCP and UDP are to be; without a namespace it is there.
pub(crate) fn enter(namespace: Option<&Namespace>, attempt: Attempt) -> Result<(), StreamError> {
    namespace.map_or(Ok(()), Namespace::enter).map_err(|error| StreamError::refused(attempt)(error.errno))
}

/// A unix socket that is not bound.
pub(crate) fn unix_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

/// Asks for room in the kernel for frames on their way to a peer. One that refuses leaves less.
pub(crate) fn widen(socket: impl AsFd) {
    let socket = socket.as_fd();
    sockopt::set_socket_send_buffer_size_force(socket, SEND_BUFFER)
        .or_else(|_| sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER))
        .ok();
}

/// Sets a connection up: frames leave at once, in a buffer with room for long ones, and a machine that is gone is
/// noticed. (Not by TCP_USER_TIMEOUT: that ends the connection of a peer that is alive and does not read, too.) A kernel that refuses any of it leaves a connection that works all the same.
fn tune(socket: impl AsFd) {
    let socket = socket.as_fd();
    widen(socket);
    if is_tcp(socket) {
        sockopt::set_tcp_nodelay(socket, true).ok();
        sockopt::set_socket_keepalive(socket, true).ok();
        sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER).ok();
        sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL).ok();
        sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES).ok();
    }
}
