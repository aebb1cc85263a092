//! The peers: ways to get frames from one TAP to another, or from a TAP to a unix socket.
//!
//! A peer is one file here and one line in [`ALL`]. They are measured in that order, one after the other, in
//! every round; who is not installed is left out, and the report says so.

use std::any::Any;
use std::time::Duration;

use crate::error::Result;
use crate::program::{Program, Rules};
use crate::stream::Framing;

mod daemonlogger;
mod mirred;
mod mirror;
mod netsniff;
mod none;
mod seed;
mod socat;
mod tapferry;
mod tcpbridge;
mod testpmd;
mod tls;

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

/// Starts to forward from an interface to another, or to a unix socket, in threads of its own. Returns when frames are captured;
/// the forwarding may end when the result is dropped, and does when the process ends.
pub(crate) type Start = fn(input: &str, output: &str) -> Result<Box<dyn Any>>;

/// In which measurements a peer takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joins {
    /// In all from TAP to TAP.
    All,
    /// Only in those with GSO frames.
    GsoOnly,
    /// Where frames go to a stream.
    Streams(Framing),
    /// Only where GSO frames do, and before a guest that takes none: the kernel cuts them up.
    CutStreams(Framing),
}

/// What is measured, as far as it decides who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Plain frames from TAP to TAP.
    Plain,
    /// GSO frames from TAP to TAP.
    Gso,
    /// Plain frames to a stream.
    Stream,
    /// GSO frames to a stream.
    GsoStream,
}

impl Peer {
    /// Whether it takes part there. The floor does everywhere.
    pub(crate) fn joins(&self, field: Field) -> bool {
        match (self.joins, field) {
            (Joins::All, Field::Plain | Field::Gso)
            | (Joins::GsoOnly, Field::Gso)
            | (Joins::Streams(_), Field::Stream | Field::GsoStream)
            | (Joins::CutStreams(_), Field::GsoStream) => true,
            _ => !self.forwards(),
        }
    }

    /// Whether the guest behind the input is its own.
    pub(crate) fn takes_tap(&self) -> bool {
        matches!(&self.way, Way::Program(program) if program.takes_tap())
    }

    /// How it frames what it writes to a stream, if that is what it does.
    pub(crate) fn framing(&self) -> Option<Framing> {
        match self.joins {
            Joins::All | Joins::GsoOnly => None,
            Joins::Streams(framing) | Joins::CutStreams(framing) => Some(framing),
        }
    }

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
/// The same for frames that go to a stream.
pub(crate) const STREAM_REFERENCE: &str = mirror::PLAIN.name;
/// Ours: what a reader of a report looks for.
pub(crate) const OURS: &[&str] = &[
    tapferry::BALANCED.name,
    tapferry::LOW.name,
    tapferry::BALANCED_TO_STREAM.name,
    tapferry::LOW_TO_STREAM.name,
    tapferry::BALANCED_TO_STREAM_WITH_VNET_HEADER.name,
    tapferry::LOW_TO_STREAM_WITH_VNET_HEADER.name,
    tls::BALANCED.name,
    tls::LOW.name,
];

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
    mirror::PLAIN,
    mirror::WITH_VNET_HEADER,
    mirror::WITHOUT_OFFLOADS,
    tapferry::BALANCED_TO_STREAM,
    tapferry::LOW_TO_STREAM,
    tapferry::BALANCED_TO_STREAM_WITH_VNET_HEADER,
    tapferry::LOW_TO_STREAM_WITH_VNET_HEADER,
    socat::TO_STREAM,
    tls::MIRROR,
    tls::BALANCED,
    tls::LOW,
    tls::SOCAT,
];

/// The peer of that name.
pub(crate) fn find(name: &str) -> Option<&'static Peer> {
    ALL.iter().find(|peer| peer.name == name)
}
