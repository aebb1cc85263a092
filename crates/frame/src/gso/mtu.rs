//! Whether the segments of a frame fit the output's MTU.

use super::packet::FRAGMENT_UNIT;
use crate::bytes::u16_at;
use crate::ethernet::{ETHERNET_HEADER_LEN, TAG_OFFSET, TPID_8021Q, VLAN_TAG_LEN, VlanTag};
use crate::layers::{IPV6_FRAGMENT_LEN, IpVersion, Layers, Malformed};
use crate::vnet::{GsoKind, VnetHeader};

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

/// The header with which a frame may be handed to the kernel for an output of this MTU (`PACKET_VNET_HDR` skips the
/// kernel's own check): `vnet` itself, or with `gso_size` lowered so that the segments fit.
///
/// `frame` are the bytes as captured and `beside` the tag the kernel took out of them, which goes back in as the
/// outermost. `mtu` is the output's, in bytes of the packet after the Ethernet header. An outermost tag of type
/// 0x8100 is free, as in the kernel's `packet_extra_vlan_len_allowed()`; other tags count.
///
/// TCP and UFO are cut smaller; datagrams ([`GsoKind::UdpL4`]) are whole messages and stay as they are. Frames that
/// are not to be segmented pass: those the kernel does check.
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
    let inserted = if beside.is_some() { VLAN_TAG_LEN } else { 0 };
    let outermost = beside.map(|tag| tag.tpid).or_else(|| u16_at(frame, TAG_OFFSET));
    let free_tag = if outermost == Some(TPID_8021Q) { VLAN_TAG_LEN } else { 0 };
    let limit = usize::try_from(mtu).unwrap_or(usize::MAX).saturating_add(ETHERNET_HEADER_LEN + free_tag);
    if frame.len() + inserted <= limit {
        return Ok(vnet);
    }
    if vnet.gso_size == 0 {
        return Err(Malformed::EmptySegments.into());
    }

    let layers = Layers::parse(frame)?;
    let (ip, payload) = super::announced(kind, &layers)?;
    // What stands before the `gso_size` bytes of each segment, and the steps in which those can be lowered.
    let (headers, unit, smallest) = match kind {
        GsoKind::Udp => {
            let added = if ip.version == IpVersion::V6 { IPV6_FRAGMENT_LEN } else { 0 };
            (ip.transport + added, FRAGMENT_UNIT, FRAGMENT_UNIT)
        }
        GsoKind::UdpL4 => (payload, 1, vnet.gso_size),
        _ => (payload, 1, vnet.gso_size.min(MIN_TCP_SEGMENT)),
    };
    let headers = headers + inserted;
    let room = limit.saturating_sub(headers);
    let gso_size = vnet.gso_size.min(u16::try_from(room).unwrap_or(u16::MAX)) / unit * unit;
    if gso_size < smallest {
        let segment = (headers + usize::from(smallest)).min(frame.len() + inserted);
        return Err(FitError::TooLong { segment, limit });
    }
    Ok(VnetHeader { gso_size, ..vnet })
}
