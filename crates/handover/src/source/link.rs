//! The source's link to the destination: dialled, greeted, lost and found again.
//!
//! ```text
//!   Dialing --> Greeting --> Up
//!      ^           |          |
//!      +-----------+----------+  lost, refused
//! ```

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tapferry_redirect::StreamPlan;
use tapferry_redirect::parts::{Notice, Peers};

use crate::connection::{Connection, Loss, PeerClock};
use crate::error::HandoverError;
use crate::wire::{Hello, Message};

/// How far the link is.
#[derive(Debug)]
enum Stage {
    Dialing,
    /// Our hello is on its way, theirs is awaited.
    Greeting(Connection),
    Up(Connection),
}

/// The link to the destination.
#[derive(Debug)]
pub(super) struct Link {
    peers: Peers,
    /// For people.
    address: String,
    wake: Arc<OwnedFd>,
    stage: Stage,
    clock: PeerClock,
}

impl Link {
    /// Begins to dial.
    pub(super) fn open(to: &StreamPlan, wake: &Arc<OwnedFd>) -> Result<Self, HandoverError> {
        let address = to.address.to_string();
        let failed = |error| HandoverError::Stream { option: "--to", address: address.clone(), error };
        let (peers, peer) = Peers::open(to, true, wake).map_err(failed)?;
        let mut link = Self {
            peers,
            address,
            wake: Arc::clone(wake),
            stage: Stage::Dialing,
            clock: PeerClock::default(),
        };
        if let Some(peer) = peer {
            link.stage = Stage::Greeting(Connection::new(peer));
        }
        Ok(link)
    }

    /// Whether there is a connection that has not been greeted.
    pub(super) fn is_to_greet(&mut self) -> bool {
        if matches!(self.stage, Stage::Dialing)
            && let Ok(Some(peer)) = self.peers.take()
        {
            self.stage = Stage::Greeting(Connection::new(peer));
        }
        matches!(&self.stage, Stage::Greeting(connection) if !connection.has_greeted())
    }

    /// Says hello on it.
    pub(super) fn greet(&mut self, hello: &Hello) {
        if let Stage::Greeting(connection) = &mut self.stage {
            connection.push(&Message::Hello(hello.clone()));
            connection.note_greeted();
        }
    }

    /// What there is to tell of TLS, the oldest first.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        self.peers.take_notice()
    }

    /// The destination's hello has come.
    pub(super) fn come_up(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Dialing) {
            Stage::Greeting(connection) | Stage::Up(connection) => Stage::Up(connection),
            Stage::Dialing => Stage::Dialing,
        };
    }

    /// The connection is over: dials again.
    pub(super) fn lose(&mut self, loss: &Loss) -> Result<bool, HandoverError> {
        let was_up = matches!(self.stage, Stage::Up(_));
        self.clock = self.clock();
        self.stage = Stage::Dialing;
        let was_good = was_up && !matches!(loss, Loss::Refused(_));
        self.dial(was_good)?;
        Ok(was_up)
    }

    fn dial(&mut self, was_good: bool) -> Result<(), HandoverError> {
        let wake = Arc::clone(&self.wake);
        let sought = self.peers.seek(was_good, &wake);
        sought.map(drop).map_err(|error| HandoverError::Stream {
            option: "--to",
            address: self.address.clone(),
            error,
        })
    }

    /// The connection, greeted or not.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.stage {
            Stage::Dialing => None,
            Stage::Greeting(connection) | Stage::Up(connection) => Some(connection),
        }
    }

    /// The connection, if both sides have said hello.
    pub(super) fn up(&mut self) -> Option<&mut Connection> {
        match &mut self.stage {
            Stage::Up(connection) => Some(connection),
            Stage::Dialing | Stage::Greeting(_) => None,
        }
    }

    /// Whether both sides have said hello.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up(_))
    }

    /// What is known of the destination's clock.
    pub(super) fn clock(&self) -> PeerClock {
        match &self.stage {
            Stage::Greeting(connection) | Stage::Up(connection)
                if connection.clock().offset_ns().is_some() =>
            {
                connection.clock()
            }
            _ => self.clock,
        }
    }

    /// What to wait for. A dialler rings by itself.
    pub(super) fn awaited(&self) -> Option<&Connection> {
        match &self.stage {
            Stage::Dialing => None,
            Stage::Greeting(connection) | Stage::Up(connection) => Some(connection),
        }
    }
}
