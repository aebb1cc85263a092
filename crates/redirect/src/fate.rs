//! What becomes of one captured frame: a pure decision from its timestamp, its header and the output's
//! MTU.

use tapferry_frame::ethernet::{ETHERNET_HEADER_LEN, VLAN_TAG_LEN, VlanTag};
use tapferry_frame::gso::{self, FitError};
use tapferry_sys::Captured;
use tapferry_sys::inject::Outgoing;

use crate::counters::DropReason;
use crate::gate::{Gate, Verdict};

/// What becomes of a frame.
#[derive(Debug)]
pub(crate) enum Fate<'a> {
    /// Send it, like this.
    Send(Outgoing<'a>),
    /// Keep it until an event or time decides.
    Hold,
    /// Drop it.
    Drop(DropReason),
}

/// Decides on a frame that would leave through an interface of `mtu` bytes.
pub(crate) fn decide<'a>(frame: &Captured<'a>, gate: &Gate, mtu: u32) -> Fate<'a> {
    match gate.judge(frame.timestamp_ns) {
        Verdict::Closed => Fate::Drop(DropReason::GateClosed),
        Verdict::Undecided => Fate::Hold,
        Verdict::Pass => outgoing(frame, mtu).map_or_else(Fate::Drop, Fate::Send),
    }
}

/// The frame as it leaves: segments that fit the output, and its tag put back.
fn outgoing<'a>(frame: &Captured<'a>, mtu: u32) -> Result<Outgoing<'a>, DropReason> {
    if frame.is_truncated() {
        return Err(DropReason::Truncated);
    }
    if frame.bytes.len() < ETHERNET_HEADER_LEN {
        return Err(DropReason::Malformed);
    }
    // With a virtio-net header the kernel does not compare segments with the MTU: it would send them
    // too long.
    let fitting = gso::fit(frame.vnet, frame.bytes, frame.beside, mtu).map_err(|error| match error {
        FitError::TooLong { .. } => DropReason::TooLong,
        FitError::Unsupported(_) => DropReason::UnsupportedOffload,
        FitError::Malformed(_) => DropReason::Malformed,
    })?;
    let vnet = match frame.beside {
        None => fitting,
        Some(_) => fitting.with_tag_inserted().ok_or(DropReason::Malformed)?,
    };
    Ok(Outgoing { vnet, beside: frame.beside, bytes: frame.bytes })
}

/// The length of a frame as it was on the wire, its tag included, in bytes.
pub(crate) fn wire_bytes(bytes: &[u8], beside: Option<VlanTag>) -> usize {
    bytes.len() + if beside.is_some() { VLAN_TAG_LEN } else { 0 }
}
