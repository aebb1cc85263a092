//! Every field lies where `docs/handover-protocol.md` says.

use tapferry_handover::wire::{Ack, Cut, End, Frame, Message, Method, Refusal, RefusalCode, Role};

use crate::messages::{FRAME, encoded, frame, hello};

fn laid_out(message: &Message<'_>, parts: &[&[u8]]) {
    assert_eq!(encoded(message), parts.concat());
}

#[test]
fn a_hello_begins_with_magic_and_version() {
    laid_out(
        &Message::Hello(hello(Role::Source)),
        &[
            b"\0\0\0\x66\x01TAPFERRY\0\x01\x01",
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            &[17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32],
            b"\0\x050.1.0",
            &[0xaa; 16],
            b"\0\x03web\0\x03hn0",
            b"\x52\x54\0\x12\x34\x56",
            b"\0\0\x05\xdc\0\0\0\x0f\x01\x01",
            b"\x18\x50\0\0\0\0\0\x01",
            b"\0",
        ],
    );
}

#[test]
fn a_destination_that_knows_the_session_says_from_where_on() {
    let mut expected = encoded(&Message::Hello(hello(Role::Destination)));
    assert_eq!(expected[15], 2, "the role");
    let knowing = Message::Hello(tapferry_handover::wire::Hello {
        next_index: Some(0x0102),
        ..hello(Role::Destination)
    });
    *expected.last_mut().unwrap() = 1;
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
    expected[3] += 8;
    assert_eq!(encoded(&knowing), expected);
}

#[test]
fn a_refusal_begins_like_a_hello() {
    for (code, number) in RefusalCode::ALL.into_iter().zip(1..) {
        laid_out(
            &Message::Refusal(Refusal { code, text: "no".into() }),
            &[b"\0\0\0\x11\x02TAPFERRY\0\x01", &[0, number], b"\0\x02no"],
        );
    }
}

#[test]
fn a_frame_has_its_header_and_its_tag_before_it() {
    let vnet = [1, 1, 66, 0, 0xa8, 0x05, 34, 0, 16, 0];
    let numbers = b"\0\0\0\0\0\0\0\x07\x18\x50\0\0\0\0\0\x02";
    laid_out(
        &Message::Frame(frame(FRAME)),
        &[b"\0\0\0\x35\x03", numbers, &vnet, b"\x01\x81\0\x20\x64", FRAME],
    );
    laid_out(
        &Message::Frame(Frame { tag: None, ..frame(FRAME) }),
        &[b"\0\0\0\x31\x03", numbers, &vnet, b"\0", FRAME],
    );
}

#[test]
fn a_cut_says_how_it_was_found_and_whether_it_stays() {
    for (method, number) in Method::ALL.into_iter().zip(1..) {
        let cut = Message::Cut(Cut { index: 256, is_final: true, method });
        laid_out(&cut, &[b"\0\0\0\x0b\x05\0\0\0\0\0\0\x01\0\x01", &[number]]);
        let cut = Message::Cut(Cut { index: 256, is_final: false, method });
        laid_out(&cut, &[b"\0\0\0\x0b\x05\0\0\0\0\0\0\x01\0\0", &[number]]);
    }
}

#[test]
fn the_others_are_numbers_in_the_order_of_their_fields() {
    let numbers = |numbers: &[u8]| -> Vec<u8> {
        numbers.iter().flat_map(|number| u64::from(*number).to_be_bytes()).collect()
    };
    laid_out(&Message::Stopped { at_ns: 1 }, &[b"\0\0\0\x09\x04", &numbers(&[1])]);
    laid_out(&Message::Resumed { at_ns: 2 }, &[b"\0\0\0\x09\x06", &numbers(&[2])]);
    laid_out(&Message::Discard { reason: "no" }, &[b"\0\0\0\x05\x07\0\x02no"]);
    let end = End { next_index: 1, captured: 2, sent: 3, lost: 4 };
    laid_out(&Message::End(end), &[b"\0\0\0\x21\x08", &numbers(&[1, 2, 3, 4])]);
    let ack = Ack { next_index: 1, parked: 2, injected: 3, deduplicated: 4, dropped: 5 };
    laid_out(&Message::Ack(ack), &[b"\0\0\0\x29\x09", &numbers(&[1, 2, 3, 4, 5])]);
    laid_out(&Message::Ping { sent_ns: 1 }, &[b"\0\0\0\x09\x0a", &numbers(&[1])]);
    laid_out(&Message::Pong { ping_ns: 1, received_ns: 2 }, &[b"\0\0\0\x11\x0b", &numbers(&[1, 2])]);
}
