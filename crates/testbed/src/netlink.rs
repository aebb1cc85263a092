//! One question to rtnetlink at a time, in the network namespace of the thread that opened the socket.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Room for one answer; the kernel writes at most 32 KiB at once.
const ANSWER: usize = 64 * 1024;

/// A connection to rtnetlink.
#[derive(Debug)]
pub(crate) struct Route(OwnedFd);

impl Route {
    pub(crate) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0, which is what none means.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self(socket))
    }

    /// Asks for a change and waits until it is made.
    pub(crate) fn change(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(request, NLM_F_ACK | flags).map(drop)
    }

    /// What the kernel knows of an interface.
    pub(crate) fn link(&self, which: LinkMessage) -> io::Result<LinkMessage> {
        let answer = self.ask(RouteNetlinkMessage::GetLink(which), 0)?;
        answer.ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    fn ask(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Option<LinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::io::write(&self.0, &bytes)?;
        let mut answer = vec![0; ANSWER];
        let length = rustix::io::read(&self.0, &mut answer)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..length])
            .map_err(|error| io::Error::other(error.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) => match error.code {
                None => Ok(None),
                Some(code) => Err(io::Error::from_raw_os_error(code.get().abs())),
            },
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(Some(link)),
            other => Err(io::Error::other(format!("rtnetlink answered {other:?}"))),
        }
    }
}

/// A message about the interface of that name.
pub(crate) fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}
