//! What `fit` lets through fits, and what it refuses does not.

use proptest::prelude::*;
use tapferry_frame::ethernet::{TPID_8021AD, TPID_8021Q, VlanTag};
use tapferry_frame::gso::{FitError, Segmenter, fit};
use tapferry_frame::vnet::{FLAG_NEEDS_CSUM, GSO_TCPV4, VnetHeader};

use crate::frames::{GsoFrame, Transport, gso_frame};

/// The longest frame the kernel takes from a packet socket: `packet_snd()`.
fn limit(frame: &GsoFrame, mtu: u32) -> usize {
    let free = if frame.tags.first().is_some_and(|tag| tag.tpid == TPID_8021Q) { 4 } else { 0 };
    usize::try_from(mtu).unwrap() + 14 + free
}

/// How many segments there are, and how long the longest is.
fn segments(vnet: VnetHeader, bytes: &[u8]) -> (usize, usize) {
    let mut segmenter = Segmenter::new(vnet, bytes).unwrap();
    let (mut out, mut longest) = (Vec::new(), 0);
    while segmenter.next_into(&mut out) {
        longest = longest.max(out.len());
    }
    (segmenter.segments(), longest)
}

fn mtu() -> impl Strategy<Value = u32> {
    prop_oneof![68u32..200, 1200u32..1600, Just(1500), Just(9000), Just(u32::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn segments_fit_after_fit(frame in gso_frame(), mtu in mtu()) {
        let limit = limit(&frame, mtu);
        let (count, before) = segments(frame.vnet, &frame.bytes);
        match fit(frame.vnet, &frame.bytes, None, mtu) {
            Ok(fitting) if count == 1 && before <= limit => {
                prop_assert_eq!(fitting, VnetHeader { gso_type: 0, gso_size: 0, ..frame.vnet });
            }
            Ok(fitting) => {
                let (_, after) = segments(fitting, &frame.bytes);
                prop_assert!(after <= limit, "{after} > {limit}");
                prop_assert_eq!(VnetHeader { gso_size: frame.vnet.gso_size, ..fitting }, frame.vnet);
                let expected = match frame.transport {
                    Transport::Fragments => {
                        prop_assert_eq!(fitting.gso_size % 8, 0);
                        prop_assert!(after + 8 > limit || before <= limit, "not smaller than needed");
                        fitting.gso_size.min(frame.vnet.gso_size)
                    }
                    Transport::Tcp if before > limit => {
                        prop_assert_eq!(after, limit, "not smaller than needed");
                        fitting.gso_size.min(frame.vnet.gso_size)
                    }
                    _ => frame.vnet.gso_size,
                };
                prop_assert_eq!(fitting.gso_size, expected);
            }
            Err(FitError::TooLong { segment, limit: stated }) => {
                prop_assert!(before > limit);
                prop_assert_eq!(stated, limit);
                prop_assert!(segment > limit);
                if frame.transport == Transport::Datagrams {
                    prop_assert_eq!(segment, before);
                }
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn a_tag_beside_the_frame_counts_like_one_in_it(frame in gso_frame(), mtu in mtu()) {
        let (vnet, bytes, beside) = frame.with_tag_beside();
        let fitting = fit(vnet, &bytes, beside, mtu);
        let inserted = fitting.map(|vnet| match beside {
            Some(_) => vnet.with_tag_inserted().unwrap(),
            None => vnet,
        });
        prop_assert_eq!(inserted, fit(frame.vnet, &frame.bytes, None, mtu));
    }
}

/// An IPv4 TCP frame with `payload` bytes behind 54 bytes of headers.
fn tcp_frame(payload: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend((40 + payload).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.resize(54 + usize::from(payload), 3);
    frame
}

const JUMBO: VnetHeader =
    VnetHeader { flags: 0, gso_type: GSO_TCPV4, hdr_len: 0, gso_size: 8948, csum_start: 0, csum_offset: 0 };

#[test]
fn segments_for_a_jumbo_mtu_are_made_smaller() {
    let fitting = fit(JUMBO, &tcp_frame(30000), None, 1500).unwrap();
    assert_eq!(fitting, VnetHeader { gso_size: 1460, ..JUMBO });
}

#[test]
fn a_customer_tag_is_free_and_a_service_tag_is_not() {
    let frame = tcp_frame(30000);
    let gso_size = |tpid| fit(JUMBO, &frame, Some(VlanTag { tpid, tci: 5 }), 1500).unwrap().gso_size;
    assert_eq!(gso_size(TPID_8021Q), 1460);
    assert_eq!(gso_size(TPID_8021AD), 1456);
}

/// With TCP options and a payload that `gso_size` just holds, Linux 6.18 takes the frame from the socket and sends
/// nothing: its test for small frames counts the options as payload, its segmentation does not.
#[test]
fn a_frame_of_one_segment_becomes_a_plain_frame() {
    let mut frame = tcp_frame(1012);
    // 12 bytes of options, which leaves 1000 of payload.
    frame[46] = 0x80;
    let vnet =
        VnetHeader { flags: FLAG_NEEDS_CSUM, gso_size: 1000, csum_start: 34, csum_offset: 16, ..JUMBO };
    assert_eq!(fit(vnet, &frame, None, 1500), Ok(VnetHeader { gso_type: 0, gso_size: 0, ..vnet }));
    let two_segments = VnetHeader { gso_size: 999, ..vnet };
    assert_eq!(fit(two_segments, &frame, None, 1500), Ok(two_segments));
}

#[test]
fn a_frame_that_is_not_to_be_segmented_is_left_to_the_kernel() {
    let plain = VnetHeader::default();
    assert_eq!(fit(plain, &[0xff; 9000], None, 1500), Ok(plain));
}

#[test]
fn tcp_is_not_cut_into_crumbs() {
    let frame = tcp_frame(3000);
    assert_eq!(fit(JUMBO, &frame, None, 48).unwrap().gso_size, 8);
    assert_eq!(fit(JUMBO, &frame, None, 47), Err(FitError::TooLong { segment: 62, limit: 61 }));
}

#[test]
fn an_unknown_type_is_refused() {
    let unknown = VnetHeader { gso_type: 0x21, ..JUMBO };
    assert_eq!(fit(unknown, &tcp_frame(3000), None, 1500), Err(FitError::Unsupported(0x21)));
}
