//! A listener whose peers speak TLS: they are let in when hands are shaken.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tapferry_sys::Errno;
use tapferry_tls::{Channel, Credentials, Failure, Handshakes};

use super::listen::Listener;

/// Peers on their way in. Its descriptor is readable when there is something to do ([`Reception::take`]).
#[derive(Debug)]
pub(super) struct Reception {
    listener: Listener,
    handshakes: Handshakes,
    credentials: Arc<Credentials>,
    /// Whether the listener is waited for: not while nobody more has room.
    is_open: bool,
}

impl Reception {
    pub(super) fn open(listener: Listener, credentials: Arc<Credentials>) -> Result<Self, Errno> {
        let handshakes = Handshakes::new()?;
        handshakes.watch(&listener)?;
        Ok(Self { listener, handshakes, credentials, is_open: true })
    }

    /// The next peer that has shown who it is, if there is one. Strangers are told by `note`.
    pub(super) fn take(&mut self, mut note: impl FnMut(Failure)) -> Result<Option<Channel>, Errno> {
        self.let_in(&mut note)?;
        let peer = loop {
            match self.handshakes.advance() {
                Some(Ok(peer)) => break Some(peer),
                Some(Err(failure)) => note(failure),
                None => break None,
            }
        };
        self.watch()?;
        Ok(peer)
    }

    /// Nobody was looked after while there was a peer.
    pub(super) fn resume(&mut self) {
        self.handshakes.resume();
    }

    fn let_in(&mut self, note: &mut impl FnMut(Failure)) -> Result<(), Errno> {
        while self.handshakes.has_room() {
            let Some(socket) = self.listener.accept()? else { break };
            match Channel::server(socket, &self.credentials) {
                Ok(channel) => self.handshakes.begin(channel)?,
                Err(failure) => note(failure),
            }
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<(), Errno> {
        let has_room = self.handshakes.has_room();
        match (self.is_open, has_room) {
            (false, true) => self.handshakes.watch(&self.listener)?,
            (true, false) => self.handshakes.unwatch(&self.listener),
            _ => {}
        }
        self.is_open = has_room;
        Ok(())
    }
}

impl AsFd for Reception {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handshakes.as_fd()
    }
}
