//! UDP and TCP packets over IPv4 and IPv6, with whole or partial checksums, VLAN tags, or as GSO frames with
//! the virtio-net header that belongs to them.
//!
//! UDP payloads carry numbered records ([`crate::probe`]), one for each datagram that a GSO frame holds. TCP
//! payloads are a stretch of one endless [`stream`]: the byte at every position is known, and the TCP sequence
//! number is the position. So a reader can judge any segment by itself, however the frame was cut up.

use crate::probe::{self, RECORD_LENGTH, Tag};
use crate::vnet::{GSO_TCP4, GSO_TCP6, GSO_UDP_L4, NEEDS_CHECKSUM, VnetHeader};

/// The destination port of crafted packets, and the source port of flow 0; the other flows count on from there,
/// so that a kernel that spreads connections over queues spreads them, too.
pub const PORT: u16 = 7654;

/// A frame with the virtio-net header that describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What stands before the frame on an interface with virtio-net headers.
    pub header: VnetHeader,
    /// The frame, from its destination address.
    pub bytes: Vec<u8>,
}

/// Which IP carries the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    /// IPv4, from 192.0.2.1 to 192.0.2.2 (RFC 5737).
    V4,
    /// IPv6, from 2001:db8::1 to 2001:db8::2 (RFC 3849).
    V6,
}

/// How complete the transport checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Over everything.
    Complete,
    /// Over the pseudo header; the virtio-net header asks for the rest.
    Partial,
    /// Wrong on purpose.
    Wrong,
}

/// How crafted packets look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The Ethernet addresses and tags.
    pub probe: probe::Probe,
    /// The IP version.
    pub ip: Ip,
    /// The transport checksum of frames that are no GSO frames; those have a partial one by definition.
    pub checksum: Checksum,
}

impl Default for Packet {
    fn default() -> Self {
        Self { probe: probe::Probe::default(), ip: Ip::V4, checksum: Checksum::Complete }
    }
}

#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Tcp { sequence: u32 },
}

impl Transport {
    fn protocol(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Tcp { .. } => 6,
        }
    }

    fn header_length(self) -> usize {
        match self {
            Self::Udp => 8,
            Self::Tcp { .. } => 20,
        }
    }

    fn checksum_offset(self) -> usize {
        match self {
            Self::Udp => 6,
            Self::Tcp { .. } => 16,
        }
    }
}

impl Packet {
    /// Over IPv4 or IPv6, with such a checksum.
    pub fn new(ip: Ip, checksum: Checksum) -> Self {
        Self { ip, checksum, ..Self::default() }
    }

    /// The same packets with a VLAN tag in the bytes.
    #[must_use]
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.probe.tags.push(tag);
        self
    }

    /// The same packets of another series.
    #[must_use]
    pub fn of_flow(mut self, flow: u32) -> Self {
        self.probe.flow = flow;
        self
    }

    /// The bytes before the transport's payload.
    fn overhead(&self, transport: Transport) -> usize {
        let ip = match self.ip {
            Ip::V4 => 20,
            Ip::V6 => 40,
        };
        14 + 4 * self.probe.tags.len() + ip + transport.header_length()
    }

    /// The shortest UDP frame with a record, in bytes.
    pub fn shortest_udp(&self) -> usize {
        self.overhead(Transport::Udp) + RECORD_LENGTH
    }

    /// A UDP frame of `size` bytes in all, with the number `sequence`.
    ///
    /// # Panics
    /// When the frame is too short for its headers and the record.
    pub fn udp(&self, sequence: u64, size: usize) -> Frame {
        let length = size
            .checked_sub(self.overhead(Transport::Udp))
            .filter(|length| *length >= RECORD_LENGTH)
            .expect("the frame has room for its headers and a record");
        let mut payload = vec![0; length];
        probe::write_record(self.probe.flow, sequence, &mut payload);
        self.assemble(Transport::Udp, &payload, None)
    }

    /// A UDP GSO frame: datagrams of `gso_size` payload bytes each, with the numbers `first` and following.
    ///
    /// # Panics
    /// When `gso_size` has no room for a record, or all of it is more than 64 KiB.
    pub fn udp_gso(&self, first: u64, datagrams: usize, gso_size: u16) -> Frame {
        let mut payload = vec![0; datagrams * usize::from(gso_size)];
        for (sequence, datagram) in (first..).zip(payload.chunks_mut(usize::from(gso_size))) {
            probe::write_record(self.probe.flow, sequence, datagram);
        }
        self.assemble(Transport::Udp, &payload, Some(gso_size))
    }

    /// A TCP frame with `length` bytes of the stream from `position` on.
    pub fn tcp(&self, position: u32, length: usize) -> Frame {
        let payload: Vec<u8> = stream(position).take(length).collect();
        self.assemble(Transport::Tcp { sequence: position }, &payload, None)
    }

    /// A TCP GSO frame with `length` bytes of the stream from `position` on, in segments of `gso_size`.
    ///
    /// # Panics
    /// When all of it is more than 64 KiB.
    pub fn tcp_gso(&self, position: u32, length: usize, gso_size: u16) -> Frame {
        let payload: Vec<u8> = stream(position).take(length).collect();
        self.assemble(Transport::Tcp { sequence: position }, &payload, Some(gso_size))
    }

    fn assemble(&self, transport: Transport, payload: &[u8], gso_size: Option<u16>) -> Frame {
        let short = |length: usize| u16::try_from(length).expect("an IP packet has at most 65535 bytes");
        let checksum = if gso_size.is_some() { Checksum::Partial } else { self.checksum };
        let mut bytes = Vec::with_capacity(self.overhead(transport) + payload.len());
        bytes.extend(self.probe.destination);
        bytes.extend(self.probe.source);
        for tag in &self.probe.tags {
            bytes.extend(tag.tpid.to_be_bytes());
            bytes.extend(tag.tci.to_be_bytes());
        }
        let transport_length = short(transport.header_length() + payload.len());
        let pseudo_header = match self.ip {
            Ip::V4 => {
                bytes.extend(0x0800_u16.to_be_bytes());
                let (source, destination) = ([192, 0, 2, 1], [192, 0, 2, 2]);
                let mut header = vec![0x45, 0];
                header.extend(short(20 + usize::from(transport_length)).to_be_bytes());
                // Identification 1, may not be fragmented, time to live 64.
                header.extend([0, 1, 0x40, 0, 64, transport.protocol(), 0, 0]);
                header.extend(source);
                header.extend(destination);
                let sum = !fold(sum(&header));
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes.extend(header);
                sum_of(&[&source, &destination])
            }
            Ip::V6 => {
                bytes.extend(0x86dd_u16.to_be_bytes());
                let (mut source, mut destination) = ([0; 16], [0; 16]);
                source[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
                destination[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
                (source[15], destination[15]) = (1, 2);
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(transport_length.to_be_bytes());
                bytes.extend([transport.protocol(), 64]);
                bytes.extend(source);
                bytes.extend(destination);
                sum_of(&[&source, &destination])
            }
        } + u64::from(transport.protocol())
            + u64::from(transport_length);
        let start = bytes.len();
        let [.., high, low] = self.probe.flow.to_be_bytes();
        bytes.extend(PORT.wrapping_add(u16::from_be_bytes([high, low])).to_be_bytes());
        bytes.extend(PORT.to_be_bytes());
        match transport {
            Transport::Udp => {
                bytes.extend(transport_length.to_be_bytes());
                bytes.extend([0, 0]);
            }
            Transport::Tcp { sequence } => {
                bytes.extend(sequence.to_be_bytes());
                // Acknowledges 1; header of five words, ACK and PSH; window 65535; no urgent data.
                bytes.extend([0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            }
        }
        bytes.extend(payload);
        let whole = match !fold(pseudo_header + sum(&bytes[start..])) {
            // RFC 768: a UDP checksum of zero means none, so zero is sent as all ones.
            0 => 0xffff,
            sum => sum,
        };
        let value = match checksum {
            Checksum::Complete => whole,
            Checksum::Partial => fold(pseudo_header),
            Checksum::Wrong => whole ^ 0x0101,
        };
        let field = start + transport.checksum_offset();
        bytes[field..field + 2].copy_from_slice(&value.to_be_bytes());

        let mut header = VnetHeader::default();
        if checksum == Checksum::Partial {
            header.flags = NEEDS_CHECKSUM;
            header.checksum_start = short(start);
            header.checksum_offset = short(transport.checksum_offset());
        }
        if let Some(gso_size) = gso_size {
            header.gso_size = gso_size;
            header.header_length = short(start + transport.header_length());
            header.gso_type = match (transport, self.ip) {
                (Transport::Udp, _) => GSO_UDP_L4,
                (Transport::Tcp { .. }, Ip::V4) => GSO_TCP4,
                (Transport::Tcp { .. }, Ip::V6) => GSO_TCP6,
            };
        }
        Frame { header, bytes }
    }
}

/// The bytes of the endless TCP stream from a position on.
pub fn stream(position: u32) -> impl Iterator<Item = u8> {
    let mut at = position;
    std::iter::repeat_with(move || {
        let byte = at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
        at = at.wrapping_add(1);
        byte
    })
}

/// The sum of the 16-bit words of `bytes`, not folded yet (RFC 1071).
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum()
}

fn sum_of(parts: &[&[u8]]) -> u64 {
    parts.iter().map(|part| sum(part)).sum()
}

/// The sum folded into 16 bits, not inverted.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded into 16 bits")
}
