//! The virtio-net header that a TAP with IFF_VNET_HDR and a packet socket with PACKET_VNET_HDR put before
//! each frame (virtio 1.2, 5.1.6; `linux/virtio_net.h`).
//!
//! The layout is that of the host: both interfaces use the host's byte order unless told otherwise.

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum covers only the pseudo header; the rest is still to be summed.
pub const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: somebody has verified the checksum already.
pub const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_NONE`: the frame is to be sent as it is.
pub const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
pub const GSO_TCP4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub const GSO_TCP6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: UDP segmentation into datagrams.
pub const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: a flag beside the TCP types.
pub const GSO_ECN: u8 = 0x80;

/// Length of the header without the number of buffers, in bytes (legacy; also PACKET_VNET_HDR's).
pub const LENGTH_LEGACY: usize = 10;
/// Length of the header with the number of buffers, in bytes (`virtio_net_hdr_mrg_rxbuf`).
pub const LENGTH_MODERN: usize = 12;

/// What stands before a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`NEEDS_CHECKSUM`], [`DATA_VALID`].
    pub flags: u8,
    /// [`GSO_NONE`], [`GSO_TCP4`], [`GSO_TCP6`] or [`GSO_UDP_L4`], perhaps with [`GSO_ECN`].
    pub gso_type: u8,
    /// Length of all headers, in bytes; a hint.
    pub header_length: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the checksum starts, in bytes from the start of the frame.
    pub checksum_start: u16,
    /// Where the checksum is stored, in bytes from [`Self::checksum_start`].
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// The header as bytes of the wanted length, 10 or 12; the number of buffers is 0, as a TAP writes it.
    pub fn to_bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![self.flags, self.gso_type];
        for field in [self.header_length, self.gso_size, self.checksum_start, self.checksum_offset] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.resize(length, 0);
        bytes
    }

    /// The header at the start of `bytes`, or `None` when they are fewer than 10.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        Some(Self {
            flags: *bytes.first()?,
            gso_type: *bytes.get(1)?,
            header_length: field(2)?,
            gso_size: field(4)?,
            checksum_start: field(6)?,
            checksum_offset: field(8)?,
        })
    }

    /// Whether the frame is several segments in one.
    pub fn is_gso(&self) -> bool {
        self.gso_type & !GSO_ECN != GSO_NONE
    }

    /// Whether the checksum is still to be completed.
    pub fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CHECKSUM != 0
    }
}
