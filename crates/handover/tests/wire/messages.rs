//! The messages of these tests, and the simplest way that they come.

use tapferry_frame::ethernet::{TPID_8021Q, VlanTag};
use tapferry_frame::vnet::{FLAG_NEEDS_CSUM, GSO_TCPV4, VnetHeader};
use tapferry_handover::wire::{
    Ack, Cut, End, Frame, Hello, Message, Method, Refusal, RefusalCode, Role, encode,
};

use crate::check::pace::Pace;

pub(crate) const FRAME: &[u8] = b"\x52\x54\0\x12\x34\x56\x52\x54\0\0\0\x01\x08\0payload";

pub(crate) fn hello(role: Role) -> Hello {
    Hello {
        role,
        session: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        instance: 0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20,
        tapferry: "0.1.0".into(),
        vm_uuid: [0xaa; 16],
        vm_name: "web".into(),
        netdev_id: "hn0".into(),
        mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        mtu: 1500,
        offloads: 0x0f,
        vnet_hdr: Some(true),
        realtime_ns: 0x1850_0000_0000_0001,
        next_index: None,
    }
}

pub(crate) fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame {
        index: 7,
        timestamp_ns: 0x1850_0000_0000_0002,
        vnet: VnetHeader {
            flags: FLAG_NEEDS_CSUM,
            gso_type: GSO_TCPV4,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        },
        tag: Some(VlanTag { tpid: TPID_8021Q, tci: 0x2064 }),
        bytes,
    }
}

/// One of each but hello, as `role` may send them after it.
pub(crate) fn after_hello(role: Role) -> Vec<Message<'static>> {
    let mut messages = vec![
        Message::Refusal(Refusal { code: RefusalCode::State, text: "the handover is over".into() }),
        Message::Discard { reason: "the migration was cancelled" },
        Message::Ping { sent_ns: 1 },
        Message::Pong { ping_ns: 1, received_ns: 2 },
    ];
    match role {
        Role::Rehearsal => {}
        Role::Source => messages.extend([
            Message::Frame(frame(FRAME)),
            Message::Frame(Frame { tag: None, ..frame(FRAME) }),
            Message::Stopped { at_ns: 3 },
            Message::Cut(Cut { index: 4, is_final: true, method: Method::UsedRing }),
            Message::End(End { next_index: 5, captured: 6, sent: 7, lost: 8 }),
        ]),
        Role::Destination => messages.extend([
            Message::Resumed { at_ns: 3 },
            Message::Ack(Ack { next_index: 1, parked: 2, injected: 3, deduplicated: 4, dropped: 5 }),
        ]),
    }
    messages
}

/// As it goes over the wire.
pub(crate) fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes).unwrap();
    bytes
}

pub(crate) fn all_encoded(messages: &[Message<'_>]) -> Vec<u8> {
    messages.iter().flat_map(encoded).collect()
}

/// A message as nobody encodes it: this type, this payload, and the length that they have.
pub(crate) fn raw(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[number], payload].concat()
}

/// Each read as much as there is room for.
pub(crate) fn at_once() -> Pace {
    Pace::reads(vec![usize::MAX])
}
