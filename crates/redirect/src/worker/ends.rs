//! The two ends of a redirector: interfaces, streams or datagrams.

use tapferry_sys::clock;
use tapferry_sys::link::{LinkWatch, Links};

use crate::capture::Capture;
use crate::counters::Outages;
use crate::datagram::reader::DatagramReader;
use crate::endpoint::{Endpoint, State, Transition};
use crate::error::{Role, StartError};
use crate::event::{Event, EventKind};
use crate::lately::Lately;
use crate::outage::OutageLog;
use crate::plan::{Netdev, StreamPlan};
use crate::stream::peers::Peers;
use crate::stream::reader::Reader;

use super::datagrams::DatagramEnd;
use super::report::transition_event;

/// Where frames come from.
pub(super) enum Input {
    Netdev { end: NetdevEnd, capture: Option<Box<Capture>> },
    Stream { end: StreamEnd, reader: Reader },
    Datagram { end: DatagramEnd, reader: DatagramReader },
}

/// Where frames go; what sends them is the outlet's.
pub(super) enum Output {
    Netdev(NetdevEnd),
    Stream(StreamEnd),
    Datagram(DatagramEnd),
}

/// An interface, and the watch over the namespace that it is in.
pub(super) struct NetdevEnd {
    pub(super) netdev: Netdev,
    pub(super) endpoint: Endpoint,
    pub(super) watch: LinkWatch,
    pub(super) links: Links,
}

impl NetdevEnd {
    /// The interface as it is now.
    pub(super) fn look_up(netdev: &Netdev) -> Result<Self, StartError> {
        netdev.enter().map_err(StartError::Namespace)?;
        // First: what changes meanwhile is told.
        let watch = LinkWatch::open()?;
        let mut links = Links::open()?;
        let link = links.by_name(&netdev.name)?;
        let endpoint = Endpoint::new(netdev.name.clone(), link, clock::monotonic_ns());
        Ok(Self { netdev: netdev.clone(), endpoint, watch, links })
    }
}

/// A stream, with a peer or without.
pub(super) struct StreamEnd {
    pub(super) plan: StreamPlan,
    pub(super) peers: Box<Peers>,
    /// Its address, for people.
    pub(super) address: String,
    pub(super) outages: OutageLog,
    /// Since when it has a peer (CLOCK_MONOTONIC, nanoseconds).
    pub(super) connected_at: Option<u64>,
    /// When peers are listened for again (CLOCK_MONOTONIC, nanoseconds): those before did not stay.
    pub(super) listen_at: Option<u64>,
    /// The last connection brought nonsense, and the present one no frame yet.
    pub(super) doubt: Option<Doubt>,
    /// What was told of handshakes that failed.
    pub(super) told: Lately,
}

/// What an operator was told of connections that brought nonsense.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubt {
    /// When of the last one (CLOCK_MONOTONIC, nanoseconds).
    pub(super) told_at: u64,
    /// Connections since then, which were counted only.
    pub(super) untold: u64,
}

/// Whichever the end is, for those who count and tell.
pub(super) trait Facts {
    /// Whether there is something that frames can come from or go to, up or not.
    fn is_present(&self) -> bool;
    /// Outages until `now` (CLOCK_MONOTONIC, nanoseconds).
    fn outages(&self, now: u64) -> Outages;
    /// What is to be told of it at the start, if it is not as it should be.
    fn at_the_start(&self, side: Side) -> Option<Event>;
}

impl StreamEnd {
    /// Whether peers can come, or one is there.
    fn is_open(&self) -> bool {
        self.peers.listener().is_some() || self.connected_at.is_some()
    }
}

impl Facts for NetdevEnd {
    fn is_present(&self) -> bool {
        self.endpoint.state() != State::Missing
    }

    fn outages(&self, now: u64) -> Outages {
        self.endpoint.outages(now)
    }

    fn at_the_start(&self, side: Side) -> Option<Event> {
        let (role, name) = (side.netdev(), self.endpoint.name().as_str());
        match self.endpoint.state() {
            State::Up => None,
            State::Down => Some(transition_event(side, &self.endpoint, Transition::WentDown)),
            State::Missing => {
                let message = format!("waiting for {role} '{name}'");
                Some(Event::new(EventKind::Waiting, message).about(name))
            }
        }
    }
}

impl Facts for StreamEnd {
    fn is_present(&self) -> bool {
        self.is_open()
    }

    fn outages(&self, now: u64) -> Outages {
        self.outages.until(now)
    }

    fn at_the_start(&self, side: Side) -> Option<Event> {
        if self.is_open() {
            return None;
        }
        let message = format!("waiting for a peer at {} '{}'", side.stream(), self.address);
        Some(Event::new(EventKind::Waiting, message).about_stream(&self.address))
    }
}

impl Input {
    /// When peers are to be listened for again.
    pub(super) fn listen_at(&self) -> Option<u64> {
        match self {
            Self::Netdev { .. } | Self::Datagram { .. } => None,
            Self::Stream { end, .. } => end.listen_at,
        }
    }

    pub(super) fn facts(&self) -> &dyn Facts {
        match self {
            Self::Netdev { end, .. } => end,
            Self::Stream { end, .. } => end,
            Self::Datagram { end, .. } => end,
        }
    }

    pub(super) fn capture(&self) -> Option<&Capture> {
        match self {
            Self::Netdev { capture, .. } => capture.as_deref(),
            Self::Stream { .. } | Self::Datagram { .. } => None,
        }
    }

    pub(super) fn capture_mut(&mut self) -> Option<&mut Capture> {
        match self {
            Self::Netdev { capture, .. } => capture.as_deref_mut(),
            Self::Stream { .. } | Self::Datagram { .. } => None,
        }
    }
}

impl Output {
    /// When peers are to be listened for again.
    pub(super) fn listen_at(&self) -> Option<u64> {
        match self {
            Self::Netdev(_) | Self::Datagram(_) => None,
            Self::Stream(end) => end.listen_at,
        }
    }

    pub(super) fn facts(&self) -> &dyn Facts {
        match self {
            Self::Netdev(end) => end,
            Self::Stream(end) => end,
            Self::Datagram(end) => end,
        }
    }

    /// Largest layer-3 packet in bytes; where frames do not leave as packets, there is no such limit.
    pub(super) fn mtu(&self) -> u32 {
        match self {
            Self::Netdev(end) => end.endpoint.mtu(),
            Self::Stream(_) | Self::Datagram(_) => u32::MAX,
        }
    }
}

/// Both ends.
pub(super) struct Ends {
    pub(super) input: Input,
    pub(super) output: Output,
}

impl Ends {
    /// The stream at one side, if it is one.
    pub(super) fn stream(&mut self, side: Side) -> Option<&mut StreamEnd> {
        match (side, &mut self.input, &mut self.output) {
            (Side::Input, Input::Stream { end, .. }, _) | (Side::Output, _, Output::Stream(end)) => Some(end),
            _ => None,
        }
    }

    /// The interface at one side, if it is one.
    pub(super) fn netdev(&mut self, side: Side) -> Option<&mut NetdevEnd> {
        match (side, &mut self.input, &mut self.output) {
            (Side::Input, Input::Netdev { end, .. }, _) | (Side::Output, _, Output::Netdev(end)) => Some(end),
            _ => None,
        }
    }
}

/// Which side of a redirector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

impl Side {
    /// The name of an interface at this side.
    pub(super) fn netdev(self) -> Role {
        match self {
            Self::Input => Role::InNetdev,
            Self::Output => Role::OutNetdev,
        }
    }

    /// The name of a stream at this side.
    pub(super) fn stream(self) -> Role {
        match self {
            Self::Input => Role::Indev,
            Self::Output => Role::Outdev,
        }
    }
}
