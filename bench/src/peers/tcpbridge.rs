//! tcpbridge of the tcpreplay suite, one way, with a filter for what the host sends.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Program;

pub(crate) const PEER: Peer = Peer {
    name: "tcpbridge",
    about: "libpcap, one send per frame",
    way: Way::Program(Program {
        command: "tcpbridge -u -i {input} -I {output} -x F:outbound",
        package: "tcpreplay",
        version: "tcpbridge --version",
    }),
    joins: Joins::All,
    holds: SHORTLY,
};
