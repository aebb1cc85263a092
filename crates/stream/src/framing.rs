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
    /// What a [`Decoder`](crate::Decoder) does about headers without `vnet_hdr`; of no meaning with it.
    pub unannounced: Unannounced,
}

/// Without [`Framing::vnet_hdr`]: the virtio-net header that each record may begin with although nothing says so.
/// QEMU's filters send one, of the length that its network card has, from a TAP with `vnet_hdr=on`, which is the
/// default with virtio-net; `vnet_hdr_support` only says whether it is announced. Source: `filter_send` of QEMU's
/// `net/filter-mirror.c`, and what QEMU 7.2 was seen to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Unannounced {
    /// The first record that tells decides for the connection: a header of 10, 12, 20 or 24 bytes with values that
    /// occur and a frame behind it, or a frame of a known type from the first byte on. Records before it that do not
    /// tell come as plain frames. QEMU's announcement of a network card (RARP, after a migration) does not tell.
    #[default]
    Recognise,
    /// Each record begins with so many bytes of header, but for QEMU's announcement of a network card; 0: none does.
    /// A shorter record has no frame.
    Len(usize),
}

impl Unannounced {
    /// Bytes of header in each record; `None` if that is to be found out.
    pub(crate) const fn len(self) -> Option<usize> {
        match self {
            Self::Recognise => None,
            Self::Len(len) => Some(len),
        }
    }
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
    /// The virtio-net header, of one of the [`VNET_HDR_LENGTHS`] or as [`Unannounced::Len`] says; empty where the
    /// peer sends none, and in QEMU's announcement of a network card, which never has the one that is announced.
    /// Shorter than that, with an empty frame behind it, where the record itself is: malformed, but in step.
    pub vnet_hdr: &'a [u8],
    /// From the destination address on. May be empty, and of any length up to [`MAX_LENGTH`].
    pub frame: &'a [u8],
}

/// The big-endian field at `offset`, if it is there.
pub(crate) fn field_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_be_bytes)
}
