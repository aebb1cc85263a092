//! What one frame is: its number or its place in the stream, whether its checksums hold, how long the packets
//! are that it stands for.

use crate::craft;
use crate::probe::{self, Record, Tag};
use crate::vnet::VnetHeader;

/// What is inside a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Numbered records: one, or one for each datagram of a UDP GSO frame.
    Numbered(Vec<Record>),
    /// A stretch of the TCP stream of [`crate::craft`].
    Stream {
        /// Its first position.
        position: u32,
        /// Its length in bytes.
        length: usize,
        /// Every byte is the one that belongs there.
        intact: bool,
    },
    /// Anything else.
    Other,
}

/// What a frame's checksums are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The frame has none.
    None,
    /// All of them hold.
    Good,
    /// The transport's covers the pseudo header, correctly, and the virtio-net header asks for the rest.
    Partial,
    /// One of them is wrong, or it is partial and the virtio-net header does not say so.
    Bad,
}

/// What is known of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What is inside.
    pub content: Content,
    /// IP and transport checksums.
    pub checksum: Verdict,
    /// VLAN tags in the bytes, the outer one first.
    pub tags: Vec<Tag>,
    /// The frame stands for several segments.
    pub gso: bool,
    /// The longest layer-3 packet it is or will be cut into, in bytes: what the MTU limits.
    pub packet_length: usize,
}

struct Transport<'a> {
    protocol: u8,
    /// Sum of the addresses and the protocol.
    pseudo_header: u64,
    bytes: &'a [u8],
    ip_checksum_holds: bool,
}

/// Looks into a frame; `header` is the virtio-net header that came with it.
pub fn inspect(header: Option<&VnetHeader>, frame: &[u8]) -> Inspection {
    let mut inspection = Inspection {
        content: Content::Other,
        checksum: Verdict::None,
        tags: Vec::new(),
        gso: header.is_some_and(VnetHeader::is_gso),
        packet_length: frame.len().saturating_sub(14),
    };
    let Some((tags, ethertype, payload)) = probe::ethernet(frame) else { return inspection };
    inspection.tags = tags;
    inspection.packet_length = payload.len();
    if ethertype == probe::ETHERTYPE {
        if let Some(record) = probe::read_record(payload) {
            inspection.content = Content::Numbered(vec![record]);
        }
        return inspection;
    }
    let transport = match ethertype {
        0x0800 => ipv4(payload),
        0x86dd => ipv6(payload),
        _ => None,
    };
    let Some(transport) = transport else { return inspection };
    let Some(data) = transport_payload(&transport) else { return inspection };
    let headers = data.as_ptr().addr() - payload.as_ptr().addr();
    let gso_size = header.filter(|header| header.is_gso()).map(|header| usize::from(header.gso_size));
    if let Some(gso_size) = gso_size {
        inspection.packet_length = headers + gso_size.min(data.len());
    }
    let start = frame.len() - payload.len() + headers - (transport.bytes.len() - data.len());
    inspection.checksum = judge(&transport, header, start);
    inspection.content = content(transport.protocol, &transport, data, gso_size);
    inspection
}

fn content(protocol: u8, transport: &Transport<'_>, data: &[u8], gso_size: Option<usize>) -> Content {
    if protocol == 17 {
        let size = gso_size.unwrap_or(data.len()).max(1);
        let records: Option<Vec<Record>> = data.chunks(size).map(probe::read_record).collect();
        return match records {
            Some(records) if !records.is_empty() => Content::Numbered(records),
            _ => Content::Other,
        };
    }
    let bytes = transport.bytes;
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    if port != craft::PORT || data.is_empty() {
        return Content::Other;
    }
    let position = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let intact = data.iter().copied().eq(craft::stream(position).take(data.len()));
    Content::Stream { position, length: data.len(), intact }
}

fn ipv4(packet: &[u8]) -> Option<Transport<'_>> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let header = packet.get(..header_length.max(20))?;
    Some(Transport {
        protocol: header[9],
        pseudo_header: craft::sum(&header[12..20]) + u64::from(header[9]),
        bytes: packet.get(header_length..total)?,
        ip_checksum_holds: craft::fold(craft::sum(header)) == 0xffff,
    })
}

fn ipv6(packet: &[u8]) -> Option<Transport<'_>> {
    let header = packet.get(..40)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    Some(Transport {
        protocol: header[6],
        pseudo_header: craft::sum(&header[8..40]) + u64::from(header[6]),
        bytes: packet.get(40..40 + length)?,
        ip_checksum_holds: true,
    })
}

/// The bytes after the UDP or TCP header; `None` for another protocol or a packet that is too short.
fn transport_payload<'a>(transport: &Transport<'a>) -> Option<&'a [u8]> {
    match transport.protocol {
        17 => transport.bytes.get(8..),
        6 => transport.bytes.get(usize::from(transport.bytes.get(12)? >> 4).max(5) * 4..),
        _ => None,
    }
}

fn judge(transport: &Transport<'_>, header: Option<&VnetHeader>, start: usize) -> Verdict {
    if !transport.ip_checksum_holds {
        return Verdict::Bad;
    }
    let bytes = transport.bytes;
    let field = if transport.protocol == 17 { 6 } else { 16 };
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let pseudo_header = transport.pseudo_header + length;
    let stored = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
    if let Some(header) = header.filter(|header| header.needs_checksum()) {
        let described =
            usize::from(header.checksum_start) == start && usize::from(header.checksum_offset) == field;
        let good = described && stored == craft::fold(pseudo_header);
        return if good { Verdict::Partial } else { Verdict::Bad };
    }
    // RFC 768: a UDP sender over IPv4 may leave the checksum out. No part of the testbed does.
    let good = craft::fold(pseudo_header + craft::sum(bytes)) == 0xffff && stored != 0;
    if good { Verdict::Good } else { Verdict::Bad }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{Checksum, Ip, Packet};

    #[test]
    fn crafted_checksums_are_what_they_claim_to_be() {
        for ip in [Ip::V4, Ip::V6] {
            for (checksum, verdict) in [
                (Checksum::Complete, Verdict::Good),
                (Checksum::Partial, Verdict::Partial),
                (Checksum::Wrong, Verdict::Bad),
            ] {
                let packet = Packet::new(ip, checksum).tagged(Tag::dot1q(5));
                for frame in [packet.udp(3, 301), packet.tcp(77, 1001)] {
                    let seen = inspect(Some(&frame.header), &frame.bytes);
                    assert_eq!(seen.checksum, verdict, "{ip:?} {checksum:?}");
                    assert_eq!(seen.tags, [Tag::dot1q(5)]);
                    assert_ne!(seen.content, Content::Other);
                }
            }
        }
    }

    #[test]
    fn a_partial_checksum_without_its_header_is_bad() {
        let frame = Packet::new(Ip::V4, Checksum::Partial).udp(3, 301);
        assert_eq!(inspect(None, &frame.bytes).checksum, Verdict::Bad);
    }

    #[test]
    fn a_gso_frame_stands_for_packets_of_its_segments() {
        let tcp = Packet::default().tcp_gso(0, 64_000, 1448);
        let seen = inspect(Some(&tcp.header), &tcp.bytes);
        assert!(seen.gso);
        assert_eq!((seen.packet_length, seen.checksum), (1448 + 40, Verdict::Partial));
        assert_eq!(seen.content, Content::Stream { position: 0, length: 64_000, intact: true });

        let udp = Packet::new(Ip::V6, Checksum::Complete).udp_gso(10, 5, 1000);
        let seen = inspect(Some(&udp.header), &udp.bytes);
        assert_eq!((seen.packet_length, seen.checksum), (1000 + 48, Verdict::Partial));
        let numbers = (10..15).map(|sequence| Record { flow: 0, sequence, intact: true }).collect();
        assert_eq!(seen.content, Content::Numbered(numbers));
    }

    #[test]
    fn a_cut_packet_is_no_panic() {
        let frame = Packet::default().tcp(0, 100);
        for length in 0..frame.bytes.len() {
            inspect(Some(&frame.header), &frame.bytes[..length]);
        }
    }
}
