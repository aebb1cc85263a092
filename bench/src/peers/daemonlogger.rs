//! daemonlogger as a soft tap: libpcap's TPACKET_V3 ring, and one send a frame.
//!
//! The filter keeps it from forwarding what the guest sends. What lay in the ring before the filter was set,
//! libpcap judges by itself, without the packet type, and drops: the first frames after the start.

use std::time::Duration;

use super::{Joins, Peer, Way};
use crate::program::Program;

pub(crate) const PEER: Peer = Peer {
    name: "daemonlogger",
    about: "a libpcap ring whose blocks wait half a second, one send per frame",
    way: Way::Program(Program {
        command: "daemonlogger -i {input} -o {output} outbound",
        package: "daemonlogger",
        version: "daemonlogger -v",
    }),
    joins: Joins::All,
    holds: Duration::from_millis(700),
};
