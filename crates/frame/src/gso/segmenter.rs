//! Segmentation in software, to the frames the kernel would make (`tcp4_gso_segment()` and its sisters): compared byte
//! for byte with Linux 6.18, there is no difference but the identification of IPv6 fragments.
//!
//! Every segment is the original's headers, a piece of its payload, and then the fields that differ. Checksums are
//! computed over the segment: what the original's checksum fields hold does not matter.

use std::hash::{DefaultHasher, Hasher as _};

use super::packet::{FRAGMENT_UNIT, Packet, put, stated};
use crate::bytes::{array_at, u16_at};
use crate::checksum;
use crate::layers::{Header, IPV6_FRAGMENT_LEN, IPV6_HEADER_LEN, IpVersion, Layers, Malformed};
use crate::vnet::{GsoKind, VnetHeader};

// Offsets in the TCP header.
const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const TCP_FIN_AND_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

// Offsets in the UDP header.
const UDP_LEN: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// Why a frame cannot be segmented here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SegmentError {
    /// Something this segmentation does not do; what, in words.
    #[error("cannot segment {0}")]
    Unsupported(&'static str),
    /// A segment would be longer than its IP header can state.
    #[error("a segment would be longer than an IP packet can be")]
    TooLong,
    /// The frame contradicts itself or its virtio-net header.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The plain frames that one frame stands for, one at a time.
///
/// Segments are as long as `gso_size` says: [`fit`](super::fit()) comes first and sees to it that the output takes
/// them.
#[derive(Debug, Clone)]
pub struct Segmenter<'a> {
    /// What every segment begins with.
    headers: &'a [u8],
    /// Payload that is in no segment yet.
    rest: &'a [u8],
    /// Payload bytes of every segment but the last.
    size: u16,
    /// Segments in all, and those yet to be made.
    count: usize,
    left: usize,
    /// Number of the next segment; wraps, as IPv4's identification does.
    number: u16,
    /// Payload bytes in segments that are made; wraps, as TCP's sequence numbers do.
    sent: u32,
    cut: Cut,
}

/// How the segments differ from each other.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// There is one, and it wants at most a checksum: its offset and value.
    Whole {
        checksum: Option<(usize, u16)>,
    },
    Tcp {
        packet: Packet,
    },
    /// UDP datagrams; without checksums if the original has none.
    Datagrams {
        packet: Packet,
        checksummed: bool,
    },
    /// IP fragments of one UDP datagram, and the datagram's checksum.
    Fragments {
        packet: Packet,
        checksum: u16,
        ipv6_id: u32,
    },
}

impl<'a> Segmenter<'a> {
    /// Prepares the segments of `frame`, which has all its tags in its bytes. A frame that is not to be segmented
    /// makes one, with its checksum completed.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]: there are no segments then, and nothing of the frame can be sent.
    pub fn new(vnet: VnetHeader, frame: &'a [u8]) -> Result<Segmenter<'a>, SegmentError> {
        let Some(kind) = vnet.gso_kind() else {
            let checksum = checksum::completed(&vnet, frame)?;
            return Ok(Self::cut(Cut::Whole { checksum }, frame, &[], 1));
        };
        if let GsoKind::Unknown(_) = kind {
            return Err(SegmentError::Unsupported("an unknown gso_type"));
        }
        if vnet.gso_size == 0 {
            return Err(Malformed::EmptySegments.into());
        }
        let layers = Layers::parse(frame)?;
        let (ip, payload) = super::announced(kind, &layers)?;
        let packet = Packet::of(frame, layers.network, &ip)?;
        let prepared = match kind {
            GsoKind::Udp | GsoKind::UdpL4 => {
                let datagram = &frame[ip.transport..ip.end];
                if u16_at(datagram, UDP_LEN).map(usize::from) != Some(datagram.len()) {
                    return Err(Malformed::Length(Header::Udp).into());
                }
                // 0 in a field that is not to be completed says that the sender wants none; IPv6 requires one.
                let checksummed = vnet.needs_checksum()
                    || ip.version == IpVersion::V6
                    || u16_at(datagram, UDP_CHECKSUM) != Some(0);
                if kind == GsoKind::Udp && datagram.len() > usize::from(vnet.gso_size) {
                    Self::fragments(frame, packet, datagram, vnet.gso_size, checksummed)?
                } else {
                    let cut = Cut::Datagrams { packet, checksummed };
                    Self::cut(cut, &frame[..payload], &frame[payload..ip.end], vnet.gso_size)
                }
            }
            _ => Self::cut(Cut::Tcp { packet }, &frame[..payload], &frame[payload..ip.end], vnet.gso_size),
        };
        let longest =
            prepared.headers.len() + prepared.added() + prepared.rest.len().min(usize::from(prepared.size));
        if packet.can_state(longest) { Ok(prepared) } else { Err(SegmentError::TooLong) }
    }

    /// Fragments of `datagram`, each with `gso_size` bytes of it, down to a multiple of 8.
    fn fragments(
        frame: &'a [u8],
        packet: Packet,
        datagram: &'a [u8],
        gso_size: u16,
        checksummed: bool,
    ) -> Result<Segmenter<'a>, SegmentError> {
        // Which extension headers go into every fragment, and which into the first, is a science of its own.
        if packet.version == IpVersion::V6 && packet.transport != packet.network + IPV6_HEADER_LEN {
            return Err(SegmentError::Unsupported("IPv6 with extension headers into fragments"));
        }
        let size = gso_size / FRAGMENT_UNIT * FRAGMENT_UNIT;
        if size == 0 {
            return Err(Malformed::EmptySegments.into());
        }
        let checksum =
            if checksummed { packet.transport_sum(datagram, UDP_CHECKSUM).finish_udp() } else { 0 };
        let ipv6_id = match packet.version {
            IpVersion::V4 => 0,
            IpVersion::V6 => identification(&frame[packet.network..packet.transport + datagram.len()]),
        };
        let cut = Cut::Fragments { packet, checksum, ipv6_id };
        Ok(Self::cut(cut, &frame[..packet.transport], datagram, size))
    }

    fn cut(cut: Cut, headers: &'a [u8], payload: &'a [u8], size: u16) -> Segmenter<'a> {
        let count = payload.len().div_ceil(usize::from(size)).max(1);
        Segmenter { headers, rest: payload, size, count, left: count, number: 0, sent: 0, cut }
    }

    /// Bytes of the header that is put in between `headers` and the payload.
    fn added(&self) -> usize {
        if let Cut::Fragments { packet, .. } = self.cut { packet.fragment_header_len() } else { 0 }
    }

    /// How many frames there are in all; at least 1.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.count
    }

    /// Makes `out` the next frame, complete and plain: no virtio-net header is wanted beside it. Answers `false`
    /// when there is none, and leaves `out` as it was.
    pub fn next_into(&mut self, out: &mut Vec<u8>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let (piece, rest) = self.rest.split_at(self.rest.len().min(usize::from(self.size)));
        self.rest = rest;

        out.clear();
        out.extend_from_slice(self.headers);
        out.extend_from_slice(&[0; IPV6_FRAGMENT_LEN][..self.added()]);
        out.extend_from_slice(piece);
        self.finish(out);

        self.number = self.number.wrapping_add(1);
        self.sent = self.sent.wrapping_add(u32::from(self.size));
        true
    }

    /// Writes the fields in which the next segment differs from the original.
    fn finish(&self, out: &mut [u8]) {
        let (first, last) = (self.left + 1 == self.count, self.left == 0);
        match self.cut {
            Cut::Whole { checksum: None } => {}
            Cut::Whole { checksum: Some((field, checksum)) } => put(out, field, checksum.to_be_bytes()),
            Cut::Tcp { packet } => {
                packet.write_ip(out, self.number);
                let tcp = &mut out[packet.transport..];
                let sequence = array_at(tcp, TCP_SEQUENCE).map_or(0, u32::from_be_bytes);
                put(tcp, TCP_SEQUENCE, sequence.wrapping_add(self.sent).to_be_bytes());
                if !first {
                    tcp[TCP_FLAGS] &= !TCP_CWR;
                }
                if !last {
                    tcp[TCP_FLAGS] &= !TCP_FIN_AND_PSH;
                }
                let checksum = packet.transport_sum(tcp, TCP_CHECKSUM).finish();
                put(tcp, TCP_CHECKSUM, checksum.to_be_bytes());
            }
            Cut::Datagrams { packet, checksummed } => {
                packet.write_ip(out, self.number);
                let udp = &mut out[packet.transport..];
                put(udp, UDP_LEN, stated(udp.len()).to_be_bytes());
                if checksummed {
                    let checksum = packet.transport_sum(udp, UDP_CHECKSUM).finish_udp();
                    put(udp, UDP_CHECKSUM, checksum.to_be_bytes());
                }
            }
            Cut::Fragments { packet, checksum, ipv6_id } => {
                // At most 65535, since it lies in a datagram that states its own length.
                let offset = u16::try_from(self.sent).unwrap_or(u16::MAX);
                packet.write_fragment(out, offset, !last, ipv6_id);
                if first {
                    let udp = packet.transport + packet.fragment_header_len();
                    put(out, udp + UDP_CHECKSUM, checksum.to_be_bytes());
                }
            }
        }
    }
}

/// An identification for the fragments of `packet`. It must not come twice within a reassembly's time (RFC 8200,
/// section 4.5): taken from the contents it needs no state, and where it does come again for the same packet, the
/// fragments are the same too.
fn identification(packet: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(packet);
    let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
