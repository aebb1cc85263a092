//! DPDK's testpmd over its af_packet driver. It spins, and forwards both ways.
//!
//! Both its threads are on the forwarder's core; the main one waits for the end of its standard input. Without
//! huge pages, which the driver gains nothing from.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Program;

pub(crate) const PEER: Peer = Peer {
    name: "testpmd",
    about: "DPDK's af_packet driver: TPACKET_V2 rings both ways; spins",
    way: Way::Program(Program {
        command: "dpdk-testpmd --no-huge --no-pci --no-shconf --no-telemetry -m 256 \
                  --lcores=0@{core},1@{core} --vdev=net_af_packet0,iface={input} \
                  --vdev=net_af_packet1,iface={output} -- --forward-mode=io --auto-start --nb-cores=1 \
                  --total-num-mbufs=16384 --disable-link-check",
        package: "dpdk-dev",
        version: "dpdk-testpmd -v --no-huge --no-pci --no-shconf --help",
    }),
    joins: Joins::All,
    holds: SHORTLY,
};
