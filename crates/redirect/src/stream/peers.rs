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

use rustix::net::{SocketType, getpeername, sockopt};

use super::dial::{Dialer, dial, pause};
use super::error::StreamError;
use super::listen::Listener;
use tapferry_sys::Errno;

use crate::plan::{Address, StreamPlan};

/// A listener rests at most so long after a peer that was of no use.
pub(crate) const LONGEST_REST: Duration = Duration::from_millis(200);

/// How the next peer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It connects; to be listened for after this rest.
    Listen {
        /// How long not to look.
        rest: Duration,
    },
    /// It is dialled, and rings.
    Dial,
    /// There will be none.
    Never,
}

/// Where peers come from.
#[derive(Debug)]
pub struct Peers {
    plan: StreamPlan,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Listening { listener: Listener, failures: u32 },
    Dialing { dialer: Option<Dialer>, failures: u32 },
    Passed,
}

impl Peers {
    /// Opens the end. A client that finds no peer is an error, unless it is to wait for one.
    pub fn open(
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
                let listens = sockopt::socket_acceptconn(descriptor) == Ok(true);
                if !listens && getpeername(descriptor).is_err() {
                    return Err(StreamError::NotAStream);
                }
                listens
            }
        };
        let is_passed = matches!(plan.address, Address::Passed { .. });
        let (way, peer) = if listens {
            (Way::Listening { listener: Listener::open(plan)?, failures: 0 }, None)
        } else {
            let way = if is_passed { Way::Passed } else { Way::Dialing { dialer: None, failures: 0 } };
            // A host may take seconds not to answer, and a name not to be found.
            let later = wait && matches!(plan.address, Address::Tcp { .. });
            match if later { Err(StreamError::NotYet) } else { dial(plan) } {
                Ok(peer) => (way, Some(peer)),
                Err(_) if wait && !is_passed => (way, None),
                Err(error) => return Err(error),
            }
        };
        let mut peers = Self { plan: plan.clone(), way };
        if peer.is_none() {
            peers.seek(true, wake)?;
        }
        Ok((peers, peer))
    }

    /// The peer before is gone: looks for another. It was a good one if it stayed for a while, or was of use.
    pub fn seek(&mut self, was_good: bool, wake: &Arc<OwnedFd>) -> Result<Next, StreamError> {
        let count = |failures: &mut u32| {
            *failures = if was_good { 0 } else { failures.saturating_add(1) };
            *failures
        };
        match &mut self.way {
            Way::Listening { failures, .. } => {
                // Whoever comes and goes without end must not have all our time.
                let rest =
                    if count(failures) == 0 { Duration::ZERO } else { pause(*failures).min(LONGEST_REST) };
                Ok(Next::Listen { rest })
            }
            Way::Passed => Ok(Next::Never),
            Way::Dialing { dialer, failures } => {
                *dialer = Some(Dialer::begin(&self.plan, count(failures), wake)?);
                Ok(Next::Dial)
            }
        }
    }

    /// The next peer, if it is there. An error is that of accept(2): one waits, and cannot be had now.
    pub fn take(&mut self) -> Result<Option<OwnedFd>, Errno> {
        match &mut self.way {
            Way::Listening { listener, .. } => listener.accept(),
            Way::Dialing { dialer, .. } => {
                let peer = dialer.as_ref().and_then(Dialer::poll);
                if peer.is_some() {
                    *dialer = None;
                }
                Ok(peer)
            }
            Way::Passed => Ok(None),
        }
    }

    /// What to wait for while there is no peer; a dialer rings by itself.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Listening { listener, .. } => Some(listener.as_fd()),
            Way::Dialing { .. } | Way::Passed => None,
        }
    }
}
