//! No forwarder. What remains is what sending costs by itself; everything above it is the forwarder's doing.

use super::{Joins, Peer, SHORTLY, Way};

pub(crate) const PEER: Peer = Peer {
    name: "none",
    about: "no forwarder: the floor",
    way: Way::Nothing,
    joins: Joins::All,
    holds: SHORTLY,
};
