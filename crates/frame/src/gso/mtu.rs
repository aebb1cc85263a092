//! Whether the segments of a frame fit the output's MTU, and with which header the kernel makes them so.

use super::packet::FRAGMENT_UNIT;
use crate::ethernet::{ETHERNET_HEADER_LEN, TPID_8021Q, VLAN_TAG_LEN, VlanTag};
use crate::layers::{IPV6_FRAGMENT_LEN, IpVersion, Layers, Malformed};
use crate::vnet::{GSO_NONE, GsoKind, VnetHeader};

/// Payload below which TCP is not cut: the kernel's own bound, `TCP_MIN_GSO_SIZE` in `net/tcp.h`.
const MIN_TCP_SEGMENT: u16 = 8;

/// Why a frame's segments do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FitError {
    /// A segment would be longer than the output takes, and the frame cannot be cut smaller. Bytes of whole
    /// frames, tags included.
    #[error("segments of {segment} bytes, the output takes {limit}")]
    TooLong {
        /// The longest segment; for TCP and fragments the shortest that could be made.
        segment: usize,
        /// What the output takes.
        limit: usize,
    },
    /// A `gso_type` that is not known here.
    #[error("unknown gso_type {0:#04x}")]
    Unsupported(u8),
    /// The frame contradicts itself or its virtio-net header.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The header with which a frame may be handed to the kernel (`PACKET_VNET_HDR`) for an output of this MTU. It is
/// `vnet` itself, unless the kernel would go wrong with it:
///
/// - It does not check segments against the MTU: `gso_size` is lowered until they fit. TCP and UFO are cut smaller;
///   datagrams ([`GsoKind::UdpL4`]) are whole messages and stay as they are.
/// - It takes a TCP frame for several segments and then loses it without a word, if its payload fits in one and TCP
///   options follow the header: a frame that makes one segment becomes a plain one, without GSO.
/// - It cuts UFO at `gso_size` even where fragments cannot be cut: `gso_size` becomes a multiple of 8.
///
/// `frame` are the bytes as captured and `beside` the tag the kernel took out of them, which goes back in as the
/// outermost. `mtu` is the output's, in bytes of the packet after the Ethernet header. An outermost tag of type
/// 0x8100 is free, as in the kernel's `packet_extra_vlan_len_allowed()`; other tags count.
///
/// Frames that are not to be segmented pass at once: those the kernel does check.
///
/// # Errors
///
/// [`FitError`], if what the kernel would make of the frame cannot be sent, or cannot be known.
#[inline]
pub fn fit(
    vnet: VnetHeader,
    frame: &[u8],
    beside: Option<VlanTag>,
    mtu: u32,
) -> Result<VnetHeader, FitError> {
    match vnet.gso_kind() {
        None => Ok(vnet),
        Some(kind) => fit_segments(kind, vnet, frame, beside, mtu),
    }
}

fn fit_segments(
    kind: GsoKind,
    vnet: VnetHeader,
    frame: &[u8],
    beside: Option<VlanTag>,
    mtu: u32,
) -> Result<VnetHeader, FitError> {
    if let GsoKind::Unknown(gso_type) = kind {
        return Err(FitError::Unsupported(gso_type));
    }
    let layers = Layers::parse(frame)?;
    let (ip, payload) = super::announced(kind, &layers)?;
    let unit = if kind == GsoKind::Udp { FRAGMENT_UNIT } else { 1 };
    if vnet.gso_size < unit {
        return Err(Malformed::EmptySegments.into());
    }

    let inserted = if beside.is_some() { VLAN_TAG_LEN } else { 0 };
    let outermost = beside.map(|tag| tag.tpid).or(layers.outer_tpid);
    let free_tag = if outermost == Some(TPID_8021Q) { VLAN_TAG_LEN } else { 0 };
    let limit = usize::try_from(mtu).unwrap_or(usize::MAX).saturating_add(ETHERNET_HEADER_LEN + free_tag);

    // The `gso_size` bytes of the segments are taken from here on.
    let split = if kind == GsoKind::Udp { ip.transport } else { payload };
    if ip.end - split <= usize::from(vnet.gso_size) && frame.len() + inserted <= limit {
        return Ok(VnetHeader { gso_type: GSO_NONE, gso_size: 0, ..vnet });
    }

    let fragment_header =
        if kind == GsoKind::Udp && ip.version == IpVersion::V6 { IPV6_FRAGMENT_LEN } else { 0 };
    let headers = split + inserted + fragment_header;
    let smallest = match kind {
        GsoKind::Udp => FRAGMENT_UNIT,
        GsoKind::UdpL4 => vnet.gso_size,
        _ => vnet.gso_size.min(MIN_TCP_SEGMENT),
    };
    let room = limit.saturating_sub(headers);
    let gso_size = vnet.gso_size.min(u16::try_from(room).unwrap_or(u16::MAX)) / unit * unit;
    if gso_size < smallest {
        let segment = (headers + usize::from(smallest)).min(frame.len() + inserted);
        return Err(FitError::TooLong { segment, limit });
    }
    Ok(VnetHeader { gso_size, ..vnet })
}
