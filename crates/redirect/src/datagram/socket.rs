//! Sockets for datagrams.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{SocketAddrUnix, SocketType, connect, sockopt};
use tapferry_sys::{Errno, datagrams};

use crate::plan::{DatagramPlan, Destination, HostPort};
use crate::stream::bound_path::{BoundPath, bind_path};
use crate::stream::dial::is_socket;
use crate::stream::error::{Attempt, Lack, StreamError};
use crate::stream::{enter, unix_socket, widen};

/// Asked for in the kernel for frames that wait to be read, in bytes.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

/// A socket that is bound where the plan says. The path of a unix socket goes with what is returned beside it.
pub(super) fn receiving(plan: &DatagramPlan) -> Result<(OwnedFd, Option<BoundPath>), StreamError> {
    match &plan.destination {
        Destination::Unix(path) => bind_path(path, SocketType::DGRAM, |_| Ok(())),
        Destination::Udp { to, from } => {
            enter(plan.namespace.as_ref(), Attempt::ListenOnPort)?;
            let socket = open_udp(Some(to), from.as_ref(), Attempt::ListenOnPort)?;
            sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
                .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER))
                .ok();
            Ok((socket, None))
        }
    }
}

/// A socket of UDP that sends where the plan says. What comes back is never read: once there is no room for it, the
/// kernel drops it.
pub(super) fn sending(
    plan: &DatagramPlan,
    to: &HostPort,
    from: Option<&HostPort>,
) -> Result<OwnedFd, StreamError> {
    enter(plan.namespace.as_ref(), Attempt::ConnectToHost)?;
    let socket = open_udp(from, Some(to), Attempt::SendFrom)?;
    datagrams::keep_refusals(&socket).map_err(StreamError::refused(Attempt::ConnectToHost))?;
    widen(&socket);
    Ok(socket)
}

/// A unix socket that is to send, and the address it sends to. That nobody is there yet is no error.
pub(super) fn sending_unix(path: &Path) -> Result<(OwnedFd, SocketAddrUnix), StreamError> {
    let refused = || StreamError::refused(Attempt::ConnectToPath);
    let address = SocketAddrUnix::new(path).map_err(refused())?;
    let socket = unix_socket(SocketType::DGRAM).map_err(refused())?;
    widen(&socket);
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::NOENT) => Ok((socket, address)),
        Err(Errno::CONNREFUSED) if !is_socket(path) => Err(StreamError::NotASocket),
        Err(Errno::CONNREFUSED) => Ok((socket, address)),
        Err(Errno::PROTOTYPE) => Err(StreamError::NotDatagrams),
        Err(errno) => Err(refused()(errno)),
    }
}

/// A socket of UDP between two places, as far as they are told. `taking`: what the place here is for.
fn open_udp(
    here: Option<&HostPort>,
    there: Option<&HostPort>,
    taking: Attempt,
) -> Result<OwnedFd, StreamError> {
    let (ours, theirs) = (addresses_of(here)?, addresses_of(there)?);
    let mut failure = unknown(&"the two ends have no address of the same kind, IPv4 or IPv6");
    for theirs in &theirs {
        for ours in &ours {
            let bound = match (ours, theirs) {
                (Some(ours), Some(theirs)) if ours.is_ipv4() != theirs.is_ipv4() => continue,
                (Some(ours), _) => *ours,
                (None, Some(SocketAddr::V4(_))) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                (None, _) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            match between(bound, *theirs, taking) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

fn between(ours: SocketAddr, theirs: Option<SocketAddr>, taking: Attempt) -> Result<OwnedFd, StreamError> {
    let failed = |attempt| {
        move |error: std::io::Error| match Errno::from_io_error(&error) {
            Some(Errno::ADDRINUSE) => StreamError::InUse,
            Some(errno) => StreamError::Refused { attempt, errno },
            None => unknown(&error),
        }
    };
    let socket = UdpSocket::bind(ours).map_err(failed(taking))?;
    socket.set_nonblocking(true).map_err(failed(taking))?;
    if let Some(theirs) = theirs {
        socket.connect(theirs).map_err(failed(Attempt::ConnectToHost))?;
    }
    Ok(socket.into())
}

/// The addresses of a place, those of IPv4 first: QEMU's datagrams know no others (measured on 7.2). `None` stands for
/// one that is left to the kernel.
fn addresses_of(place: Option<&HostPort>) -> Result<Vec<Option<SocketAddr>>, StreamError> {
    let Some(HostPort { host, port }) = place else { return Ok(vec![None]) };
    if host.is_empty() {
        // All addresses, of IPv4 as well.
        let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        return Ok(any.map(|any| Some((any, *port).into())).into());
    }
    let mut found: Vec<_> =
        (host.as_str(), *port).to_socket_addrs().map_err(|error| unknown(&error))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found.into_iter().map(Some).collect())
}

fn unknown(why: &dyn Display) -> StreamError {
    StreamError::Unreachable { why: why.to_string(), lack: Lack::Name }
}
