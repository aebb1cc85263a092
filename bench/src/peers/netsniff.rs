//! netsniff-ng from interface to interface, through a capture ring and a transmit ring.
//!
//! Its default of 10 microseconds between two looks at the transmit ring leaves no time for anything else: a
//! millisecond is what a ring's timer waits, too. The default ring takes seconds to set up.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Program;

pub(crate) const PEER: Peer = Peer {
    name: "netsniff-ng",
    about: "a TPACKET capture ring and a transmit ring, which a timer empties",
    way: Way::Program(Program {
        command: "netsniff-ng --in {input} --out {output} --type outgoing --silent --no-promisc \
                  --no-sock-mem --no-hwtimestamp --notouch-irq --jumbo-support --ring-size 32MiB \
                  --kernel-pull 1000",
        package: "netsniff-ng",
        version: "netsniff-ng --version",
    }),
    joins: Joins::All,
    holds: SHORTLY,
};
