//! One captured frame, wherever it was captured.

use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;

/// A captured frame: a view of the memory it was captured into.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'a> {
    /// When the kernel handed the frame to the driver: CLOCK_REALTIME, nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// The virtio-net header the kernel put before it (packet(7), PACKET_VNET_HDR).
    pub vnet: VnetHeader,
    /// The VLAN tag that the kernel holds beside the frame; it is not in `bytes`.
    pub beside: Option<VlanTag>,
    /// The frame from its Ethernet header on, as far as it was captured.
    pub bytes: &'a [u8],
    /// The frame's true length in bytes; more than `bytes` holds where the capture was too short.
    pub wire_len: u32,
}

impl Captured<'_> {
    /// Whether the capture is shorter than the frame. Such a frame must never be sent on.
    pub fn is_truncated(&self) -> bool {
        usize::try_from(self.wire_len).is_ok_and(|wire| wire > self.bytes.len())
    }
}

/// The tag of a ring header or of auxiliary data, if its status says that there is one.
///
/// Status words carry bits beyond the documented ones, so they are tested, never compared.
pub(crate) fn tag_beside(status: u32, tci: u16, tpid: u16) -> Option<VlanTag> {
    const ETH_P_8021Q: u16 = 0x8100;
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 { ETH_P_8021Q } else { tpid };
    Some(VlanTag { tpid, tci })
}
