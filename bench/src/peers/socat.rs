//! socat between two INTERFACE addresses, one way, and from one to a unix socket. It has no filter for the packet
//! type, and puts nothing around a frame that it writes to a stream.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Program;
use crate::stream::Framing;

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

pub(crate) const TO_STREAM: Peer = Peer {
    name: "socat-stream",
    about: "one recvfrom and one write per frame, without framing: only bytes can be counted",
    way: Way::Program(Program {
        command: "socat -u -b 69632 INTERFACE:{input} UNIX-CONNECT:{output}",
        package: "socat",
        version: "socat -V",
    }),
    joins: Joins::Streams(Framing::None),
    holds: SHORTLY,
};
