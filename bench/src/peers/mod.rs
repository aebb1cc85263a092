//! The peers: ways to get frames from one TAP to another.
//!
//! A peer is one file here and one line in [`ALL`]. They are measured in that order, one after the other, in
//! every round.

use std::any::Any;

use crate::error::Result;

mod none;
mod seed;
mod tapferry;

/// Something that forwards, or does not.
pub(crate) struct Peer {
    /// As in tables and on the command line.
    pub(crate) name: &'static str,
    /// One line for the report.
    pub(crate) about: &'static str,
    pub(crate) way: Way,
    pub(crate) joins: Joins,
}

/// How a peer is run.
pub(crate) enum Way {
    /// There is no forwarder.
    Nothing,
    /// In a child process of this program, so that its CPU time and memory are its own.
    Child(Start),
}

/// Starts to forward from one interface to another, in threads of its own. Returns when frames are captured;
/// the forwarding may end when the result is dropped, and does when the process ends.
pub(crate) type Start = fn(input: &str, output: &str) -> Result<Box<dyn Any>>;

/// In which measurements a peer takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joins {
    /// In all.
    All,
    /// Only where frames are GSO frames.
    GsoOnly,
}

impl Peer {
    /// Whether it forwards at all.
    pub(crate) fn forwards(&self) -> bool {
        !matches!(self.way, Way::Nothing)
    }
}

/// The floor: what a sender costs when nobody captures.
pub(crate) const FLOOR: &str = none::PEER.name;
/// What the others are compared with.
pub(crate) const REFERENCE: &str = seed::PLAIN.name;
/// The same for GSO frames, of which the seed's loop forwards none.
pub(crate) const GSO_REFERENCE: &str = seed::WITH_VNET_HEADER.name;

/// All peers, in the order of a round.
pub(crate) const ALL: &[Peer] =
    &[none::PEER, seed::PLAIN, seed::WITH_VNET_HEADER, tapferry::BALANCED, tapferry::LOW];

/// The peer of that name.
pub(crate) fn find(name: &str) -> Option<&'static Peer> {
    ALL.iter().find(|peer| peer.name == name)
}
