//! The virtio-net header: what offloads left undone on the frame it comes with.
//!
//! `AF_PACKET` (with `PACKET_VNET_HDR`), TUN/TAP (with `IFF_VNET_HDR`) and QEMU put it before the frame. This is
//! the legacy layout, `struct virtio_net_hdr` of `linux/virtio_net.h`, 10 bytes; numbers are little endian, as in
//! virtio 1.x, which is also what the kernel uses on a little-endian host. Offsets in it count from the first byte
//! of the Ethernet header.

use crate::ethernet::VLAN_TAG_LEN;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: `csum_start` and `csum_offset` name a checksum to complete.
pub const FLAG_NEEDS_CSUM: u8 = 1;

/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksums were verified.
pub const FLAG_DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_NONE`: not to be segmented.
pub const GSO_NONE: u8 = 0;

/// `VIRTIO_NET_HDR_GSO_TCPV4`.
pub const GSO_TCPV4: u8 = 1;

/// `VIRTIO_NET_HDR_GSO_UDP`: UDP, to be cut into IP fragments (UFO).
pub const GSO_UDP: u8 = 3;

/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub const GSO_TCPV6: u8 = 4;

/// `VIRTIO_NET_HDR_GSO_UDP_L4`: UDP, to be cut into datagrams (USO).
pub const GSO_UDP_L4: u8 = 5;

/// `VIRTIO_NET_HDR_GSO_ECN`: a bit beside the type; the TCP segment carries CWR.
pub const GSO_ECN: u8 = 0x80;

/// What a frame is to be cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// IP fragments of one UDP datagram (UFO).
    Udp,
    /// UDP datagrams (USO).
    UdpL4,
    /// A type that is not known here; the whole `gso_type` byte.
    Unknown(u8),
}

/// `struct virtio_net_hdr`. All zero (the default) says that the frame is complete as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct VnetHeader {
    /// [`FLAG_NEEDS_CSUM`], [`FLAG_DATA_VALID`].
    pub flags: u8,
    /// [`GSO_NONE`] and its sisters, and the bit [`GSO_ECN`]; [`VnetHeader::gso_kind`] reads it.
    pub gso_type: u8,
    /// Bytes of all headers together: a hint that may be 0 or wrong.
    pub hdr_len: u16,
    /// Payload bytes of one segment. TCP, [`GSO_UDP_L4`]: after the transport header; [`GSO_UDP`]: after the IP header.
    pub gso_size: u16,
    /// Where the checksummed bytes begin; they end with the frame.
    pub csum_start: u16,
    /// Where the checksum is, in bytes from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Bytes of the legacy header. (The longer ones begin with the same fields.)
    pub const LEN: usize = 10;

    /// Reads a header; every bit pattern is one.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
        }
    }

    /// The header as it goes before the frame.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [h0, h1] = self.hdr_len.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.csum_start.to_le_bytes();
        let [o0, o1] = self.csum_offset.to_le_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// Whether a checksum is left to be completed.
    #[must_use]
    pub const fn needs_checksum(&self) -> bool {
        self.flags & FLAG_NEEDS_CSUM != 0
    }

    /// What the frame is to be cut into; `None` when it is not to be cut. The ECN bit does not matter here.
    #[must_use]
    pub const fn gso_kind(&self) -> Option<GsoKind> {
        if self.gso_type == GSO_NONE {
            return None;
        }
        Some(match self.gso_type & !GSO_ECN {
            GSO_TCPV4 => GsoKind::Tcp4,
            GSO_TCPV6 => GsoKind::Tcp6,
            GSO_UDP => GsoKind::Udp,
            GSO_UDP_L4 => GsoKind::UdpL4,
            _ => GsoKind::Unknown(self.gso_type),
        })
    }

    /// What the header must say once a VLAN tag is put (back) into the frame's bytes at
    /// [`TAG_OFFSET`](crate::ethernet::TAG_OFFSET): what is counted from the frame's start grows by the tag.
    /// `None` if a field cannot hold its new value, which no frame of the kernel brings about.
    #[must_use]
    pub fn with_tag_inserted(self) -> Option<VnetHeader> {
        let shifted = |field: u16| u16::try_from(usize::from(field) + VLAN_TAG_LEN).ok();
        let csum_start = if self.needs_checksum() { shifted(self.csum_start)? } else { self.csum_start };
        let hdr_len = if self.hdr_len == 0 { 0 } else { shifted(self.hdr_len)? };
        Some(VnetHeader { hdr_len, csum_start, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TSO: VnetHeader = VnetHeader {
        flags: FLAG_NEEDS_CSUM,
        gso_type: GSO_TCPV4 | GSO_ECN,
        hdr_len: 66,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };

    #[test]
    fn fields_lie_where_the_kernel_puts_them() {
        assert_eq!(TSO.to_bytes(), [1, 0x81, 66, 0, 0xa8, 0x05, 34, 0, 16, 0]);
        assert_eq!(VnetHeader::from_bytes(TSO.to_bytes()), TSO);
    }

    #[test]
    fn the_ecn_bit_is_no_part_of_the_kind() {
        assert_eq!(TSO.gso_kind(), Some(GsoKind::Tcp4));
        assert_eq!(VnetHeader::default().gso_kind(), None);
        assert_eq!(
            VnetHeader { gso_type: GSO_ECN, ..TSO }.gso_kind(),
            Some(GsoKind::Unknown(GSO_ECN)),
            "the kernel refuses ECN without a type"
        );
        assert_eq!(VnetHeader { gso_type: 0x21, ..TSO }.gso_kind(), Some(GsoKind::Unknown(0x21)));
    }

    #[test]
    fn a_tag_moves_what_is_counted_from_the_start() {
        let tagged = TSO.with_tag_inserted().unwrap();
        assert_eq!(tagged, VnetHeader { hdr_len: 70, csum_start: 38, ..TSO });
    }

    #[test]
    fn a_tag_leaves_absent_fields_absent() {
        let complete = VnetHeader::default();
        assert_eq!(complete.with_tag_inserted(), Some(complete));
    }

    #[test]
    fn a_tag_that_overflows_a_field_is_refused() {
        assert_eq!(VnetHeader { csum_start: u16::MAX - 3, ..TSO }.with_tag_inserted(), None);
        assert_eq!(VnetHeader { hdr_len: u16::MAX, ..TSO }.with_tag_inserted(), None);
    }

    proptest! {
        #[test]
        fn every_bit_pattern_survives_the_round_trip(bytes: [u8; VnetHeader::LEN]) {
            prop_assert_eq!(VnetHeader::from_bytes(bytes).to_bytes(), bytes);
        }
    }
}
