//! A peer that speaks the protocol by hand.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tapferry_handover::Identity;
use tapferry_handover::wire::{Decoder, Hello, Message, Refusal, Role, encode};

use super::{Meeting, PATIENCE, identity};

/// A connection, and what has come over it.
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
}

impl From<UnixStream> for Raw {
    fn from(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, decoder: Decoder::new() }
    }
}

impl Raw {
    pub(crate) fn connect(meeting: &Meeting) -> Self {
        UnixStream::connect(meeting.path()).unwrap().into()
    }

    /// A source that has been welcomed.
    pub(crate) fn source(meeting: &Meeting) -> Self {
        let mut peer = Self::connect(meeting);
        peer.say(&Message::Hello(hello(Role::Source, &identity())));
        let answer = peer.next();
        assert!(matches!(answer, Some(Message::Hello(_))), "{answer:?}");
        peer
    }

    pub(crate) fn say(&mut self, message: &Message<'_>) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next message but pings; `None` when the connection was closed.
    pub(crate) fn next(&mut self) -> Option<Message<'static>> {
        loop {
            let known = match self.decoder.next_message().unwrap() {
                Some(Message::Hello(hello)) => Some(Message::Hello(hello)),
                Some(Message::Refusal(refusal)) => Some(Message::Refusal(refusal)),
                Some(Message::Ack(ack)) => Some(Message::Ack(ack)),
                Some(Message::Cut(cut)) => Some(Message::Cut(cut)),
                Some(Message::End(end)) => Some(Message::End(end)),
                Some(_) => continue,
                None => None,
            };
            if known.is_some() {
                return known;
            }
            let bytes = self.stream.read(self.decoder.room()).unwrap();
            if bytes == 0 {
                return None;
            }
            self.decoder.filled(bytes);
        }
    }

    /// The refusal, which must be the last word.
    pub(crate) fn refusal(&mut self) -> Refusal {
        loop {
            match self.next() {
                Some(Message::Refusal(refusal)) => {
                    assert_eq!(self.next(), None);
                    return refusal;
                }
                Some(_) => {}
                None => panic!("the connection was closed without a refusal"),
            }
        }
    }

    pub(crate) fn is_closed_without_a_word(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 16]), Ok(0))
    }
}

/// A hello as a tapferry says it.
pub(crate) fn hello(role: Role, identity: &Identity) -> Hello {
    Hello {
        role,
        session: 1,
        instance: 1,
        tapferry: "0.1.0".into(),
        vm_uuid: identity.vm_uuid,
        vm_name: identity.vm_name.clone(),
        netdev_id: identity.netdev_id.clone(),
        mac: identity.mac,
        mtu: 1500,
        offloads: 0,
        vnet_hdr: Some(true),
        realtime_ns: 1,
        next_index: None,
    }
}
