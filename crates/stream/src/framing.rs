//! What both ends of a stream agree on, and the limits of a record.

/// Bytes of a record at most: virtio-net header and frame. QEMU's `NET_BUFSIZE`, 4096 + 65536.
pub const MAX_LENGTH: usize = 69_632;

/// Lengths of a virtio-net header: none; `virtio_net_hdr`; `virtio_net_hdr_v1` (and `_mrg_rxbuf`);
/// `virtio_net_hdr_v1_hash`; `virtio_net_hdr_v1_hash_tunnel`. Source: `linux/virtio_net.h`.
pub const VNET_HDR_LENGTHS: [usize; 5] = [0, 10, 12, 20, 24];

/// Bytes of each field before a record.
pub(crate) const FIELD: usize = 4;

/// Bytes of a record with the fields before it, at most.
pub(crate) const MAX_RECORD: usize = 2 * FIELD + MAX_LENGTH;

/// What both ends must agree on; nothing on the wire says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Framing {
    /// QEMU's `vnet_hdr_support`: each record announces the length of a virtio-net header, and may begin with one.
    pub vnet_hdr: bool,
}

impl Framing {
    /// Bytes of the fields before each record.
    #[must_use]
    pub const fn prefix_len(self) -> usize {
        if self.vnet_hdr { 2 * FIELD } else { FIELD }
    }
}

/// One frame as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The virtio-net header, of one of the [`VNET_HDR_LENGTHS`]; empty where the peer sends none. Shorter than
    /// announced, with an empty frame behind it, where the record itself is: malformed, but in step.
    pub vnet_hdr: &'a [u8],
    /// From the destination address on. May be empty, and of any length up to [`MAX_LENGTH`].
    pub frame: &'a [u8],
}

/// The big-endian field at `offset`, if it is there.
pub(crate) fn field_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_be_bytes)
}
