//! How a stream end comes by its peers, one after another.
//!
//! ```text
//!   server     Listening <--> a peer
//!   client     Dialing   <--> a peer
//!   fd:N                      a peer, and none after it
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketType;
use rustix::net::sockopt;

use super::dial::{Dialer, dial};
use super::error::StreamError;
use super::listen::Listener;
use crate::plan::{Address, StreamPlan};

/// A connection that lived as long was a good one: the next is sought without delay.
const LIVED: Duration = Duration::from_secs(1);

/// Where peers come from.
#[derive(Debug)]
pub(crate) struct Peers {
    plan: StreamPlan,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Listening(Listener),
    Dialing { dialer: Option<Dialer>, failures: u32 },
    Passed,
}

impl Peers {
    /// Opens the end. A client that finds no peer is an error, unless it is to wait for one.
    pub(crate) fn open(
        plan: &StreamPlan,
        wait: bool,
        wake: &Arc<OwnedFd>,
    ) -> Result<(Self, Option<OwnedFd>), StreamError> {
        let listens = match &plan.address {
            Address::Unix { server, .. } | Address::Tcp { server, .. } => *server,
            Address::Passed { descriptor, .. } => {
                if sockopt::socket_type(descriptor) != Ok(SocketType::STREAM) {
                    return Err(StreamError::NotAStream);
                }
                sockopt::socket_acceptconn(descriptor) == Ok(true)
            }
        };
        let is_passed = matches!(plan.address, Address::Passed { .. });
        let (way, peer) = if listens {
            (Way::Listening(Listener::open(plan)?), None)
        } else {
            let way = if is_passed { Way::Passed } else { Way::Dialing { dialer: None, failures: 0 } };
            match dial(plan) {
                Ok(peer) => (way, Some(peer)),
                Err(_) if wait && !is_passed => (way, None),
                Err(error) => return Err(error),
            }
        };
        let mut peers = Self { plan: plan.clone(), way };
        if peer.is_none() {
            peers.seek(Duration::MAX, wake)?;
        }
        Ok((peers, peer))
    }

    /// The peer before is gone after so long: looks for another. Says whether there can be one.
    pub(crate) fn seek(&mut self, lived: Duration, wake: &Arc<OwnedFd>) -> Result<bool, StreamError> {
        match &mut self.way {
            Way::Listening(_) => Ok(true),
            Way::Passed => Ok(false),
            Way::Dialing { dialer, failures } => {
                *failures = if lived >= LIVED { 0 } else { *failures + 1 };
                *dialer = Some(Dialer::begin(&self.plan, *failures, wake).map_err(StreamError::unreachable)?);
                Ok(true)
            }
        }
    }

    /// The next peer, if it is there.
    pub(crate) fn next(&mut self) -> Option<OwnedFd> {
        match &mut self.way {
            Way::Listening(listener) => listener.accept(),
            Way::Dialing { dialer, .. } => {
                let peer = dialer.as_ref()?.poll()?;
                *dialer = None;
                Some(peer)
            }
            Way::Passed => None,
        }
    }

    /// What to wait for while there is no peer; a dialer rings by itself.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Listening(listener) => Some(listener.as_fd()),
            Way::Dialing { .. } | Way::Passed => None,
        }
    }
}
