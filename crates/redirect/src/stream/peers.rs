//! How a stream end comes by its peers, one after another.
//!
//! ```text
//!   server     Listening <--> a peer          with TLS: Receiving, until hands are shaken
//!   client     Dialing   <--> a peer
//!   fd:N                      a peer, and none after it
//! ```

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SocketType, getpeername, sockopt};

use tapferry_sys::Errno;
use tapferry_tls::{Channel, Failure, Side};

use super::dial::{Dialer, dial, pause};
use super::error::{Attempt, StreamError};
use super::listen::Listener;
use super::notice::Notice;
use super::reception::Reception;
use super::secure::Secure;

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
    secure: Option<Secure>,
    /// Connections that came to nothing and were not told.
    failures: VecDeque<Failure>,
}

#[derive(Debug)]
enum Way {
    Listening { listener: Listener, failures: u32 },
    Receiving(Reception),
    Dialing { dialer: Option<Dialer>, failures: u32 },
    Passed,
}

impl Peers {
    /// Opens the end. A client that finds no peer is an error, unless it is to wait for one.
    pub fn open(
        plan: &StreamPlan,
        wait: bool,
        wake: &Arc<OwnedFd>,
    ) -> Result<(Self, Option<Channel>), StreamError> {
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
        let side = if listens { Side::Server } else { Side::Client };
        let secure =
            plan.tls_creds.as_ref().map(|directory| Secure::open(directory, side, wake)).transpose()?;
        let credentials = secure.as_ref().map(|secure| &secure.credentials);
        let (way, peer) = if listens {
            let listener = Listener::open(plan)?;
            let way = match credentials {
                None => Way::Listening { listener, failures: 0 },
                Some(credentials) => Way::Receiving(
                    Reception::open(listener, Arc::clone(credentials))
                        .map_err(StreamError::refused(Attempt::ListenOnPort))?,
                ),
            };
            (way, None)
        } else {
            let way = if is_passed { Way::Passed } else { Way::Dialing { dialer: None, failures: 0 } };
            // A host may take seconds not to answer, and a name not to be found.
            let later = wait && matches!(plan.address, Address::Tcp { .. });
            match if later { Err(StreamError::NotYet) } else { dial(plan, credentials.map(AsRef::as_ref)) } {
                Ok(peer) => (way, Some(peer)),
                // That it is no use with this address is known now.
                Err(error @ StreamError::NoHost) => return Err(error),
                Err(_) if wait && !is_passed => (way, None),
                Err(error) => return Err(error),
            }
        };
        let mut peers = Self { plan: plan.clone(), way, secure, failures: VecDeque::new() };
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
            // It rests by itself after those who do not shake hands.
            Way::Receiving(reception) => {
                reception.resume();
                Ok(Next::Listen { rest: Duration::ZERO })
            }
            Way::Passed => Ok(Next::Never),
            Way::Dialing { dialer, failures } => {
                let credentials = self.secure.as_ref().map(|secure| Arc::clone(&secure.credentials));
                *dialer = Some(Dialer::begin(&self.plan, credentials, count(failures), wake)?);
                Ok(Next::Dial)
            }
        }
    }

    /// The next peer, if it is there. An error is that of accept(2): one waits, and cannot be had now.
    pub fn take(&mut self) -> Result<Option<Channel>, Errno> {
        let Self { way, failures, .. } = self;
        match way {
            Way::Listening { listener, .. } => Ok(listener.accept()?.map(Channel::plain)),
            Way::Receiving(reception) => reception.take(|failure| failures.push_back(failure)),
            Way::Dialing { dialer, .. } => {
                while let Some(answer) = dialer.as_ref().and_then(Dialer::poll) {
                    match answer {
                        Ok(peer) => {
                            *dialer = None;
                            return Ok(Some(peer));
                        }
                        Err(failure) => failures.push_back(failure),
                    }
                }
                Ok(None)
            }
            Way::Passed => Ok(None),
        }
    }

    /// What there is to tell of TLS, the oldest first.
    pub fn take_notice(&mut self) -> Option<Notice> {
        let news = self.secure.as_ref().and_then(Secure::take_news).map(Notice::News);
        news.or_else(|| self.failures.pop_front().map(Notice::Failure))
    }

    /// What to wait for while there is no peer; a dialer rings by itself.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Listening { listener, .. } => Some(listener.as_fd()),
            Way::Receiving(reception) => Some(reception.as_fd()),
            Way::Dialing { .. } | Way::Passed => None,
        }
    }
}
