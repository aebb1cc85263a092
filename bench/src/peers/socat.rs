//! socat between two INTERFACE addresses, one way. It has no filter for the packet type.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Program;

pub(crate) const PEER: Peer = Peer {
    name: "socat",
    about: "poll, one recvfrom and one sendto per frame, room for 64 KiB",
    way: Way::Program(Program {
        command: "socat -u -b 69632 INTERFACE:{input} INTERFACE:{output}",
        package: "socat",
        version: "socat -V",
    }),
    joins: Joins::All,
    holds: SHORTLY,
};
