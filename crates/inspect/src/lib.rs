//! What there is on this host, for `tapferry netdevs` and `tapferry doctor`: asks, and never changes anything.
//!
//! - [`network`](mod@network): the interfaces of a network namespace, with their offloads and filters, the packet sockets
//!   and the policy rules that look at a mark
//! - [`packet_sockets`]: who captures, from /proc
//! - [`privileges`](mod@privileges): what the kernel allows this process, by trying it
//! - [`error`]: why there is no answer
//!
//! ```text
//! network(namespace) --> a thread that visits it --> rtnetlink, SIOCETHTOOL, BPF_PROG_QUERY, /proc
//! ```
//!
//! Invariants: everything of one view is taken by one thread inside the namespace, because sockets and
//! /proc/thread-self/net belong to the thread's; what another user's privilege is needed for, and is not
//! there, is left out where the view says so, and an error elsewhere; nothing is captured.

#![forbid(unsafe_code)]

pub mod error;
pub mod network;
pub mod packet_sockets;
pub mod privileges;

use tapferry_sys::clock::{self, Quality};
use tapferry_sys::namespace::{Namespace, run_in};
use tapferry_sys::tap::TapDescriptor;
use tapferry_sys::unix_peers::{self, UnixPeer};

pub use error::InspectError;
pub use network::{HostInterface, NetworkView, network};
pub use packet_sockets::PacketSocket;
pub use privileges::{Privilege, Probe, privileges};

/// Descriptor `fd` of process `pid`, when it is one of a TUN, TAP or macvtap.
pub fn tap_descriptor(pid: i32, fd: i32) -> Result<TapDescriptor, InspectError> {
    TapDescriptor::of_process(pid, fd).map_err(|error| InspectError::of_descriptor(pid, fd, error))
}

/// The connected unix sockets of a network namespace; of this thread's, when none is given.
pub fn unix_peers(namespace: Option<&Namespace>) -> Result<Vec<UnixPeer>, InspectError> {
    Ok(run_in(namespace, unix_peers::list)?)
}

/// How good this machine's clocks are.
pub fn clock() -> Result<Quality, InspectError> {
    clock::quality().map_err(|errno| tapferry_sys::Error::new("ask adjtimex", "the wall clock", errno).into())
}
