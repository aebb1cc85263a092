//! How a captured frame leaves through an interface: a pure decision from its virtio-net header and the output's
//! MTU.

use tapferry_frame::ethernet::ETHERNET_HEADER_LEN;
use tapferry_frame::gso::{self, FitError};
use tapferry_frame::layers::Malformed;
use tapferry_sys::Captured;
use tapferry_sys::inject::Outgoing;

use crate::counters::DropReason;

/// The frame as it leaves through an interface of `mtu` bytes: segments that fit it, and its tag put back.
pub(crate) fn outgoing<'a>(frame: &Captured<'a>, mtu: u32) -> Result<Outgoing<'a>, DropReason> {
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
        // A tunnel, for one: the virtio-net header tells of the inner packet, the frame begins with the
        // outer one. The kernel would take it and lose it.
        FitError::Unsupported(_) | FitError::Malformed(Malformed::OtherSegments) => {
            DropReason::UnsupportedOffload
        }
        FitError::Malformed(_) => DropReason::Malformed,
    })?;
    let vnet = match frame.beside {
        None => fitting,
        Some(_) => fitting.with_tag_inserted().ok_or(DropReason::Malformed)?,
    };
    Ok(Outgoing { vnet, beside: frame.beside, bytes: frame.bytes })
}

#[cfg(test)]
mod tests {
    use tapferry_frame::vnet::VnetHeader;
    use tapferry_testbed::craft::{Checksum, Frame, Ip, Packet};
    use tapferry_testbed::vnet::LENGTH_LEGACY;

    use super::*;

    fn fate_of(frame: &Frame, wire_len: Option<u32>, mtu: u32) -> Result<VnetHeader, DropReason> {
        let header: [u8; VnetHeader::LEN] = frame.header.to_bytes(LENGTH_LEGACY).try_into().unwrap();
        let captured = Captured {
            timestamp_ns: 1,
            vnet: VnetHeader::from_bytes(header),
            beside: None,
            bytes: &frame.bytes,
            wire_len: wire_len.unwrap_or_else(|| u32::try_from(frame.bytes.len()).unwrap()),
        };
        outgoing(&captured, mtu).map(|outgoing| outgoing.vnet)
    }

    #[test]
    fn a_frame_that_was_not_captured_whole_is_never_sent() {
        let frame = Packet::new(Ip::V4, Checksum::Complete).udp(0, 500);
        assert_eq!(fate_of(&frame, Some(501), 1500), Err(DropReason::Truncated));
        assert!(fate_of(&frame, None, 1500).is_ok());
    }

    #[test]
    fn what_is_shorter_than_an_ethernet_header_is_malformed() {
        let frame = Frame { header: Default::default(), bytes: vec![0; 13] };
        assert_eq!(fate_of(&frame, None, 1500), Err(DropReason::Malformed));
    }

    #[test]
    fn segments_of_a_tunnelled_connection_are_not_handed_to_a_kernel_that_would_lose_them() {
        let mut frame = Packet::new(Ip::V4, Checksum::Partial).udp_gso(0, 10, 1000);
        let tcp = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 10_000, 1000);
        frame.header.gso_type = tcp.header.gso_type;
        assert_eq!(fate_of(&frame, None, 1500), Err(DropReason::UnsupportedOffload));
    }

    #[test]
    fn segments_are_made_to_fit_the_output() {
        let frame = Packet::new(Ip::V4, Checksum::Partial).tcp_gso(0, 30_000, 8_900);
        assert_eq!(fate_of(&frame, None, 9000).unwrap().gso_size, 8_900);
        assert_eq!(fate_of(&frame, None, 1500).unwrap().gso_size, 1_460);
    }
}
