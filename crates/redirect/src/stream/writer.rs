//! Frames to a peer.
//!
//! Frames are sent from where they lie, a batch in one call; only one that has to be changed on the way, because the
//! peer takes it whole and it is not, is copied. Where the kernel takes half a frame, the other half is kept, and
//! nothing else is sent before it. With TLS a batch is encrypted as a whole, and is out as a whole: until the kernel
//! has the last byte of it, its frames have begun.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use arrayvec::ArrayVec;
use rustix::net::{RecvFlags, recv};
use tapferry_frame::ethernet::TAG_OFFSET;
use tapferry_frame::vnet::VnetHeader;
use tapferry_stream::{Framing, Prefix};
use tapferry_sys::{Errno, unread};
use tapferry_tls::{Channel, ChannelError, Sent};

use super::discard::{Discarded, discard};
use crate::counters::DropReason;
use crate::frame::{Frame, LONGEST_VNET_HDR};
use crate::outlet::Step;
use crate::pipeline::BATCH;
use crate::plan::{Address, StreamPlan};
use crate::whole::{is_whole, make_whole, require_complete};

/// `struct virtio_net_hdr_v1`, of every guest since virtio 1.0, in bytes.
const MODERN_VNET_HDR: usize = 12;
/// The fields before a record and a virtio-net header, in bytes.
const LONGEST_HEAD: usize = 8 + LONGEST_VNET_HDR;
/// Pieces of one frame: head, addresses, tag, rest.
const PIECES: usize = 4;
/// Where an untagged frame has its ethertype.
const TYPE_OFFSET: usize = TAG_OFFSET;
/// A batch ends when so many bytes had to be copied for it, or encrypted.
const COPIED_AT_MOST: usize = 256 * 1024;

/// The output of a stream.
#[derive(Debug)]
pub(crate) struct Writer {
    peer: Option<Channel>,
    /// Whether what the peer sends is ours to read: of a descriptor that was passed, somebody else may have the other
    /// direction.
    is_ours: bool,
    /// Whether the peer may send something.
    may_send: bool,
    /// The beginning of all that it has sent.
    first_heard: Option<[u8; 2]>,
    framing: Framing,
    /// Bytes of the virtio-net header, where it is told.
    vnet_hdr_len: Option<usize>,
    complete_offloads: bool,
    /// Bytes of the header that the latest frame brought.
    carried_len: Option<usize>,
    /// Records that were made for this batch.
    made: Vec<u8>,
    /// One segment.
    segment: Vec<u8>,
    /// What is left of a frame that the kernel took in part.
    rest: Vec<u8>,
    rest_sent: usize,
}

/// How a frame goes over the wire.
struct Item {
    head: ArrayVec<u8, LONGEST_HEAD>,
    tag: Option<[u8; 4]>,
    body: Body,
    len: usize,
}

enum Body {
    /// The frame's own bytes, behind the head.
    AsItIs,
    /// Whole records, made anew.
    Made(Range<usize>),
}

impl Writer {
    pub(crate) fn new(plan: &StreamPlan, complete_offloads: bool) -> Self {
        Self {
            peer: None,
            is_ours: !matches!(plan.address, Address::Passed { .. }),
            may_send: false,
            first_heard: None,
            framing: Framing { vnet_hdr: plan.vnet_hdr, ..Default::default() },
            vnet_hdr_len: plan.vnet_hdr_len,
            complete_offloads,
            carried_len: None,
            made: Vec::new(),
            segment: Vec::new(),
            rest: Vec::new(),
            rest_sent: 0,
        }
    }

    /// Writes to this peer from now on.
    pub(crate) fn attach(&mut self, peer: Channel) {
        // Of a connection with TLS nobody else can read a direction.
        self.may_send = self.is_ours || peer.is_secure();
        self.first_heard = None;
        self.peer = Some(peer);
    }

    /// Whether the peer speaks TLS with us.
    pub(crate) fn is_secure(&self) -> bool {
        self.peer.as_ref().is_some_and(Channel::is_secure)
    }

    /// Whether to wait for what the peer sends.
    pub(crate) fn may_send(&self) -> bool {
        self.may_send
    }

    /// Reads what the peer has sent, and forgets it. With TLS it may have said why it leaves.
    pub(crate) fn discard(&mut self) -> Result<Discarded, ChannelError> {
        let Some(peer) = self.peer.as_mut().filter(|_| self.may_send) else {
            return Ok(Discarded::default());
        };
        let discarded = discard(peer)?;
        self.may_send = !discarded.end;
        self.first_heard = self.first_heard.or(discarded.first);
        Ok(discarded)
    }

    /// Closes the connection. A frame that the peer has half of is gone.
    pub(crate) fn detach(&mut self) {
        self.peer = None;
        self.forget_rest();
    }

    pub(crate) fn peer(&self) -> Option<BorrowedFd<'_>> {
        self.peer.as_ref().map(AsFd::as_fd)
    }

    /// Whether the peer has read all that it was sent; of one over TCP, whether its host has it.
    pub(crate) fn is_read(&self) -> bool {
        self.peer.as_ref().is_none_or(|peer| unread::bytes(peer).is_ok_and(|bytes| bytes == 0))
    }

    /// Whether a peer that is answered without TLS has begun to speak it, or to complain in it.
    pub(crate) fn has_heard_tls(&self) -> bool {
        let Some(peer) = self.peer.as_ref().filter(|peer| !peer.is_secure()) else { return false };
        let unread = || {
            let mut words = [0; 2];
            recv(peer, &mut words, RecvFlags::PEEK | RecvFlags::DONTWAIT).ok().map(|_| words)
        };
        self.first_heard.or_else(unread).is_some_and(begins_tls)
    }

    /// Sends what is left of frames that have begun. Says whether they are out.
    pub(crate) fn flush(&mut self) -> Result<bool, ChannelError> {
        let Some(peer) = &mut self.peer else { return Err(Errno::NOTCONN.into()) };
        while self.rest_sent < self.rest.len() {
            match peer.send(&[IoSlice::new(&self.rest[self.rest_sent..])])?.taken {
                0 => return Ok(false),
                taken => self.rest_sent += taken,
            }
        }
        let is_out = peer.flush();
        self.forget_rest();
        is_out
    }

    /// Sends the first frames of a batch.
    pub(crate) fn send(&mut self, frames: &[Frame<'_>]) -> Step {
        self.made.clear();
        let mut items = ArrayVec::<Item, BATCH>::new();
        let (is_secure, mut encrypted) = (self.is_secure(), 0);
        for frame in frames.iter().take(BATCH) {
            match self.item(frame) {
                Ok(item) => {
                    encrypted += if is_secure { item.len } else { 0 };
                    items.push(item);
                }
                Err(reason) if items.is_empty() => return Step::Refused { reason, errno: None },
                Err(_) => break,
            }
            if self.made.len().max(encrypted) >= COPIED_AT_MOST {
                break;
            }
        }
        let mut pieces = ArrayVec::<IoSlice<'_>, { BATCH * PIECES }>::new();
        for (item, frame) in items.iter().zip(frames) {
            item.push_pieces(frame.captured.bytes, &self.made, &mut pieces);
        }
        let Some(peer) = &mut self.peer else { return Step::Broken(Errno::NOTCONN.into()) };
        let sent = match peer.send(&pieces) {
            Ok(sent) => sent,
            Err(error) => return Step::Broken(error),
        };
        drop(pieces);
        match sent {
            Sent { taken: 0, .. } => Step::Blocked,
            Sent { taken, is_out: true } => self.settle(&items, frames, taken),
            Sent { is_out: false, .. } => Step::Begun { complete: 0, begun: items.len() },
        }
    }

    /// Says how many frames `sent` bytes are, and keeps the rest of one that left in part.
    fn settle(&mut self, items: &[Item], frames: &[Frame<'_>], sent: usize) -> Step {
        let mut left = sent;
        for (index, (item, frame)) in items.iter().zip(frames).enumerate() {
            if left < item.len {
                if left == 0 {
                    return Step::Sent(index);
                }
                let mut pieces = ArrayVec::<IoSlice<'_>, { BATCH * PIECES }>::new();
                item.push_pieces(frame.captured.bytes, &self.made, &mut pieces);
                for piece in &pieces {
                    let skipped = left.min(piece.len());
                    self.rest.extend_from_slice(&piece[skipped..]);
                    left -= skipped;
                }
                return Step::Begun { complete: index, begun: 1 };
            }
            left -= item.len;
        }
        Step::Sent(items.len())
    }

    /// How a frame is written; what cannot be written has its reason.
    fn item(&mut self, frame: &Frame<'_>) -> Result<Item, DropReason> {
        let captured = &frame.captured;
        require_complete(captured)?;
        let header_len = self.header_len(frame);
        if !is_whole(captured) && (header_len == 0 || self.complete_offloads) {
            return self.make_whole(frame, header_len);
        }
        let header = if self.complete_offloads { Some([0; LONGEST_VNET_HDR]) } else { header_of(frame) };
        let header = header.ok_or(DropReason::Malformed)?;
        let tag = captured.beside.map(|tag| tag.to_bytes());
        let prefix = Prefix::new(self.framing, header_len, frame.wire_bytes()).ok_or(DropReason::TooLong)?;
        let mut head = ArrayVec::new();
        head.extend(prefix.as_bytes().iter().chain(&header[..header_len]).copied());
        let len = head.len() + frame.wire_bytes();
        Ok(Item { head, tag, body: Body::AsItIs, len })
    }

    /// Records of whole frames, each with a header that says so.
    fn make_whole(&mut self, frame: &Frame<'_>, header_len: usize) -> Result<Item, DropReason> {
        let Self { made, segment, framing, .. } = self;
        let start = made.len();
        let written = make_whole(&frame.captured, segment, |segment| {
            let prefix = Prefix::new(*framing, header_len, segment.len()).ok_or(DropReason::TooLong)?;
            made.extend_from_slice(prefix.as_bytes());
            made.extend_from_slice(&[0; LONGEST_VNET_HDR][..header_len]);
            made.extend_from_slice(segment);
            Ok(())
        });
        if let Err(reason) = written {
            made.truncate(start);
            return Err(reason);
        }
        let body = start..self.made.len();
        Ok(Item { head: ArrayVec::new(), tag: None, len: body.len(), body: Body::Made(body) })
    }

    /// The length of the virtio-net header that this frame gets, in bytes.
    ///
    /// QEMU counts on the length that its NIC has, announced or not: between its streams, what came in must go out.
    fn header_len(&mut self, frame: &Frame<'_>) -> usize {
        let announced = self.framing.vnet_hdr;
        let carried = frame.carried.filter(|header| header.announced == announced);
        let carried = match carried.map(|header| header.as_bytes().len()) {
            Some(0) if is_announcement(frame.captured.bytes) => self.carried_len,
            Some(len) => {
                self.carried_len = Some(len);
                Some(len)
            }
            None => None,
        };
        let usual = if announced { MODERN_VNET_HDR } else { 0 };
        self.vnet_hdr_len.or(carried).unwrap_or(usual).min(LONGEST_VNET_HDR)
    }

    fn forget_rest(&mut self) {
        self.rest.clear();
        self.rest_sent = 0;
    }
}

impl Item {
    fn push_pieces<'a>(
        &'a self,
        frame: &'a [u8],
        made: &'a [u8],
        pieces: &mut ArrayVec<IoSlice<'a>, { BATCH * PIECES }>,
    ) {
        match (&self.body, &self.tag) {
            (Body::Made(range), _) => pieces.push(IoSlice::new(&made[range.clone()])),
            (Body::AsItIs, None) => pieces.extend([&self.head[..], frame].map(IoSlice::new)),
            (Body::AsItIs, Some(tag)) => {
                let (addresses, rest) = frame.split_at(TAG_OFFSET);
                pieces.extend([&self.head[..], addresses, tag, rest].map(IoSlice::new));
            }
        }
    }
}

/// Whether something begins as a record of TLS does: with a handshake or an alert, and the major version (RFC 8446,
/// section 5.1).
fn begins_tls(words: [u8; 2]) -> bool {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    matches!(words, [HANDSHAKE | ALERT, 3])
}

/// The virtio-net header of a frame: that which came with it, or what the kernel says of it.
fn header_of(frame: &Frame<'_>) -> Option<[u8; LONGEST_VNET_HDR]> {
    let mut header = [0; LONGEST_VNET_HDR];
    if let Some(carried) = frame.carried {
        header[..carried.as_bytes().len()].copy_from_slice(carried.as_bytes());
    } else {
        let vnet = match frame.captured.beside {
            None => frame.captured.vnet,
            Some(_) => frame.captured.vnet.with_tag_inserted()?,
        };
        header[..VnetHeader::LEN].copy_from_slice(&vnet.to_bytes());
    }
    Some(header)
}

/// Whether it is the frame with which QEMU announces a NIC after a migration: alone of all it comes without a header,
/// and yet is read with one (measured on 7.2).
fn is_announcement(frame: &[u8]) -> bool {
    const LENGTH: usize = 60;
    const RARP: [u8; 2] = [0x80, 0x35];
    frame.len() == LENGTH && frame[TYPE_OFFSET..].starts_with(&RARP)
}
