//! tc's mirred action: the kernel itself copies each frame on its way out of the input. There is nothing but a
//! filter, so its cost is the sender's. The filter is u32's, which more kernels have than matchall.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Rules;

pub(crate) const PEER: Peer = Peer {
    name: "tc-mirred",
    about: "a tc filter that mirrors in the kernel; no process, no run state, no buffer",
    way: Way::Rules(Rules {
        install: &[
            "tc qdisc add dev {input} clsact",
            "tc filter add dev {input} egress protocol all u32 match u32 0 0 \
             action mirred egress mirror dev {output}",
        ],
        remove: "tc qdisc del dev {input} clsact",
        package: "iproute2",
        version: "tc -V",
    }),
    joins: Joins::All,
    holds: SHORTLY,
};
