//! The IP headers of segments: what of the original's is wanted for each, and the fields that differ.

use super::SegmentError;
use crate::bytes::{array_at, u16_at};
use crate::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::layers::{
    Header, IPV6_FRAGMENT_LEN, IPV6_HEADER_LEN, Ip, IpVersion, Malformed, PROTOCOL_IPV6_FRAGMENT,
};

/// Fragments are cut at multiples of this; in bytes (RFC 791, RFC 8200).
pub(super) const FRAGMENT_UNIT: u16 = 8;

/// The longest that an IP header can state, in bytes: of the packet in IPv4, of what follows the header in IPv6.
const MAX_STATED: usize = 65535;

// Offsets in the IPv4 header.
const IPV4_TOTAL_LEN: usize = 2;
const IPV4_ID: usize = 4;
const IPV4_FRAGMENT: usize = 6;
const IPV4_CHECKSUM: usize = 10;
const IPV4_SOURCE: usize = 12;
const IPV4_DESTINATION: usize = 16;
const IPV4_MORE_FRAGMENTS: u16 = 0x2000;

// Offsets in the IPv6 header.
const IPV6_PAYLOAD_LEN: usize = 4;
const IPV6_NEXT_HEADER: usize = 6;
const IPV6_SOURCE: usize = 8;
const IPV6_DESTINATION: usize = 24;

// The IPv6 Fragment header: next header, a reserved byte, offset and flag, identification.
const IPV6_FRAGMENT_OFFSET: usize = 2;
const IPV6_FRAGMENT_ID: usize = 4;
const IPV6_MORE_FRAGMENTS: u16 = 0x0001;

/// What of the original's headers is wanted for each segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) version: IpVersion,
    /// Offset of the IP header.
    pub(super) network: usize,
    /// Offset of the transport header.
    pub(super) transport: usize,
    /// The pseudo header, with a length of 0.
    pseudo: Sum,
}

impl Packet {
    pub(super) fn of(frame: &[u8], network: usize, ip: &Ip) -> Result<Packet, SegmentError> {
        let header = &frame[network..ip.transport];
        let pseudo = match ip.version {
            IpVersion::V4 => array_at(header, IPV4_SOURCE)
                .zip(array_at(header, IPV4_DESTINATION))
                .map(|(source, destination)| pseudo_v4(source, destination, ip.protocol, 0))
                .ok_or(Malformed::Truncated(Header::Ipv4))?,
            IpVersion::V6 => {
                if ip.source_routed {
                    return Err(SegmentError::Unsupported("IPv6 with a source route"));
                }
                // A length of 0 with extension headers: one of them is a Jumbo Payload option, which would go into
                // every segment.
                if header.len() > IPV6_HEADER_LEN && u16_at(header, IPV6_PAYLOAD_LEN) == Some(0) {
                    return Err(SegmentError::Unsupported("an IPv6 jumbogram"));
                }
                array_at(header, IPV6_SOURCE)
                    .zip(array_at(header, IPV6_DESTINATION))
                    .map(|(source, destination)| pseudo_v6(source, destination, ip.protocol, 0))
                    .ok_or(Malformed::Truncated(Header::Ipv6))?
            }
        };
        Ok(Packet { version: ip.version, network, transport: ip.transport, pseudo })
    }

    /// The sum over a transport header with its payload, in which the checksum at `field` counts as 0.
    pub(super) fn transport_sum(&self, transport: &[u8], field: usize) -> Sum {
        self.pseudo
            .add_word(stated(transport.len()))
            .add_bytes(&transport[..field])
            .add_bytes(&transport[field + 2..])
    }

    /// Whether the IP header can state the length of a packet that ends at `end`.
    pub(super) fn can_state(&self, end: usize) -> bool {
        let stated_from = match self.version {
            IpVersion::V4 => self.network,
            IpVersion::V6 => self.network + IPV6_HEADER_LEN,
        };
        end - stated_from <= MAX_STATED
    }

    /// Bytes that a fragment has between the IP header and its data.
    pub(super) fn fragment_header_len(&self) -> usize {
        match self.version {
            IpVersion::V4 => 0,
            IpVersion::V6 => IPV6_FRAGMENT_LEN,
        }
    }

    /// Makes the packet that ends with `out` a fragment: its data come from `offset` in the original's (a multiple
    /// of 8) and more may follow. `id` is for IPv6; in IPv4 the original has one.
    pub(super) fn write_fragment(&self, out: &mut [u8], offset: u16, more: bool, id: u32) {
        let packet = &mut out[self.network..];
        match self.version {
            IpVersion::V4 => {
                let more = if more { IPV4_MORE_FRAGMENTS } else { 0 };
                put(packet, IPV4_FRAGMENT, ((offset / FRAGMENT_UNIT) | more).to_be_bytes());
            }
            IpVersion::V6 => {
                let more = if more { IPV6_MORE_FRAGMENTS } else { 0 };
                let (header, fragment) = packet.split_at_mut(self.transport - self.network);
                fragment[0] = header[IPV6_NEXT_HEADER];
                fragment[1] = 0;
                header[IPV6_NEXT_HEADER] = PROTOCOL_IPV6_FRAGMENT;
                put(fragment, IPV6_FRAGMENT_OFFSET, (offset | more).to_be_bytes());
                put(fragment, IPV6_FRAGMENT_ID, id.to_be_bytes());
            }
        }
        // All fragments have one identification: it does not count on.
        self.write_ip(out, 0);
    }

    /// Writes the length of the packet that ends with `out`; IPv4 also the identification, counted on by `number`,
    /// and the header's checksum.
    pub(super) fn write_ip(&self, out: &mut [u8], number: u16) {
        let packet = &mut out[self.network..];
        match self.version {
            IpVersion::V4 => {
                put(packet, IPV4_TOTAL_LEN, stated(packet.len()).to_be_bytes());
                let id = u16_at(packet, IPV4_ID).unwrap_or(0).wrapping_add(number);
                put(packet, IPV4_ID, id.to_be_bytes());
                put(packet, IPV4_CHECKSUM, [0, 0]);
                let header = &packet[..self.transport - self.network];
                let checksum = Sum::default().add_bytes(header).finish();
                put(packet, IPV4_CHECKSUM, checksum.to_be_bytes());
            }
            IpVersion::V6 => {
                let payload_len = stated(packet.len() - IPV6_HEADER_LEN);
                put(packet, IPV6_PAYLOAD_LEN, payload_len.to_be_bytes());
            }
        }
    }
}

/// A length as headers state it. [`Packet::can_state`] has seen that it fits.
pub(super) fn stated(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// `offset` lies in a header that [`crate::layers::Layers::parse`] has found to be there.
pub(super) fn put<const N: usize>(out: &mut [u8], offset: usize, value: [u8; N]) {
    out[offset..offset + N].copy_from_slice(&value);
}
