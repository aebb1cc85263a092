//! The peers: ways to get frames from one TAP to another.
//!
//! A peer is one file here and one line in [`ALL`]. They are measured in that order, one after the other, in
//! every round; who is not installed is left out, and the report says so.

use std::any::Any;
use std::time::Duration;

use crate::error::Result;
use crate::program::{Program, Rules};

mod daemonlogger;
mod mirred;
mod netsniff;
mod none;
mod seed;
mod socat;
mod tapferry;
mod tcpbridge;
mod testpmd;

/// Something that forwards, or does not.
pub(crate) struct Peer {
    /// As in tables and on the command line.
    pub(crate) name: &'static str,
    /// One line for the report.
    pub(crate) about: &'static str,
    pub(crate) way: Way,
    pub(crate) joins: Joins,
    /// How long it may keep a frame back. What has not come out that long after the last sending, and a little
    /// more, is lost.
    pub(crate) holds: Duration,
}

/// How a peer is run.
pub(crate) enum Way {
    /// There is no forwarder.
    Nothing,
    /// In a child process of this program, so that its CPU time and memory are its own.
    Child(Start),
    /// Somebody else's program.
    Program(Program),
    /// The kernel does it: no process, and whatever it costs is the sender's.
    Rules(Rules),
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

/// What most peers need at the most: a ring's timer, and a busy machine.
const SHORTLY: Duration = Duration::from_millis(50);

/// The floor: what a sender costs when nobody captures.
pub(crate) const FLOOR: &str = none::PEER.name;
/// What the others are compared with.
pub(crate) const REFERENCE: &str = seed::PLAIN.name;
/// The same for GSO frames, of which the seed's loop forwards none.
pub(crate) const GSO_REFERENCE: &str = seed::WITH_VNET_HEADER.name;
/// Ours: what a reader of a report looks for.
pub(crate) const OURS: &[&str] = &[tapferry::BALANCED.name, tapferry::LOW.name];

/// All peers, in the order of a round.
pub(crate) const ALL: &[Peer] = &[
    none::PEER,
    seed::PLAIN,
    seed::WITH_VNET_HEADER,
    tapferry::BALANCED,
    tapferry::LOW,
    mirred::PEER,
    daemonlogger::PEER,
    tcpbridge::PEER,
    netsniff::PEER,
    socat::PEER,
    testpmd::PEER,
];

/// The peer of that name.
pub(crate) fn find(name: &str) -> Option<&'static Peer> {
    ALL.iter().find(|peer| peer.name == name)
}
