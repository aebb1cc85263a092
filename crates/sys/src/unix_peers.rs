//! Which unix sockets are connected to each other (sock_diag(7), UDIAG_SHOW_PEER).

use netlink_packet_core::Parseable;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::unix::nlas::UnixDiagName;
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags, UnixRequest, UnixResponse};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::error::Error;
use crate::netlink;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its inode, as `/proc/PID/fd` shows it: `socket:[INODE]`.
    pub inode: u32,
    /// The other end's.
    pub peer: u32,
    /// Where it is bound: a path, or `@` and an abstract name. A connection has its listener's.
    pub path: Option<String>,
}

/// The connected unix sockets of the calling thread's network namespace, each end by itself.
pub fn list() -> Result<Vec<UnixPeer>, Error> {
    let request = SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: StateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::PEER,
        cookie: [0xff; 8],
    });
    let rows = netlink::dump(NETLINK_SOCK_DIAG, request)
        .map_err(Error::on("list unix sockets", "NETLINK_SOCK_DIAG"))?;
    Ok(rows.iter().filter_map(|row| UnixResponse::parse(row).ok()).filter_map(|row| describe(&row)).collect())
}

fn describe(response: &UnixResponse) -> Option<UnixPeer> {
    let path = response.name().map(|name| match name {
        UnixDiagName::Pathname(path) => path.to_string_lossy().into_owned(),
        UnixDiagName::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
    });
    Some(UnixPeer { inode: response.header.inode, peer: response.peer()?, path })
}
