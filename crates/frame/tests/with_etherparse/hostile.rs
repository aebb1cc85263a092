//! No bytes make anything panic, and no false field makes anything read or write outside of the frame.

use proptest::prelude::*;
use proptest::sample::Index;
use tapferry_frame::checksum::complete;
use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::gso::{Segmenter, fit};
use tapferry_frame::layers::Layers;
use tapferry_frame::vnet::VnetHeader;

use crate::frames::gso_frame;

/// Does everything with `frame` that can be done with one.
fn use_in_every_way(vnet: VnetHeader, frame: &[u8], mtu: u32) {
    if let Ok(layers) = Layers::parse(frame) {
        assert!(layers.network <= frame.len());
        if let Some(ip) = layers.ip {
            assert!(layers.network < ip.transport && ip.transport <= ip.end && ip.end <= frame.len());
            assert!(ip.payload.is_none_or(|payload| ip.transport < payload && payload <= ip.end));
        }
    }
    let _ = vnet.with_tag_inserted();
    for beside in [None, Some(VlanTag { tpid: 0x8100, tci: 1 })] {
        let _ = fit(vnet, frame, beside, mtu);
    }
    let _ = complete(&vnet, &mut frame.to_vec());
    if let Ok(mut segmenter) = Segmenter::new(vnet, frame) {
        let (mut out, mut made) = (Vec::new(), 0);
        while segmenter.next_into(&mut out) {
            made += 1;
            // A fragment header is all that a segment may have on top.
            assert!(out.len() <= frame.len() + 8);
            if vnet.gso_kind().is_some() {
                Layers::parse(&out).unwrap();
            }
        }
        assert_eq!(made, segmenter.segments());
    }
}

/// The start of a frame that makes it likely that what follows is looked at.
fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![
        Just(vec![]),
        Just(vec![0x08, 0x00, 0x45]),
        Just(vec![0x86, 0xdd, 0x60]),
        Just(vec![0x81, 0x00, 0, 1, 0x08, 0x00, 0x46]),
        Just(vec![0x88, 0xa8, 0, 1, 0x86, 0xdd, 0x60]),
        Just([0x81, 0x00, 0, 1].repeat(9)),
    ];
    ethertype.prop_map(|rest| if rest.is_empty() { rest } else { [vec![2; 12], rest].concat() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(
        header: [u8; VnetHeader::LEN],
        beginning in beginnings(),
        rest in proptest::collection::vec(any::<u8>(), 0..160),
        mtu in 0u32..200,
    ) {
        let frame = [beginning, rest].concat();
        let vnet = VnetHeader::from_bytes(header);
        use_in_every_way(vnet, &frame, mtu);
        for gso_type in [0, 1, 3, 4, 5] {
            use_in_every_way(VnetHeader { gso_type, csum_start: 34, csum_offset: 6, ..vnet }, &frame, mtu);
        }
    }

    #[test]
    fn frames_with_false_fields_never_panic(
        frame in gso_frame(),
        changes in proptest::collection::vec((0usize..120, any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
        mtu in 0u32..1600,
    ) {
        let mut bytes = frame.bytes;
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        use_in_every_way(frame.vnet, &bytes, mtu);
    }
}
