//! What is no handover, and what nobody sane sends.

use tapferry_handover::wire::{Decoder, Kind, Message, Role, WireError};

use crate::check::model::Ending;
use crate::check::pace::{Pace, agrees};
use crate::messages::{FRAME, after_hello, all_encoded, at_once, encoded, frame, hello, raw};

/// The error after so many messages, in one read and byte by byte.
fn error_after(messages: usize, bytes: &[u8]) -> WireError {
    let outcome = agrees(&mut Decoder::new(), bytes, &at_once());
    assert_eq!(outcome, agrees(&mut Decoder::new(), bytes, &Pace::reads(vec![1])));
    match outcome {
        (decoded, Ending::Wrong(error)) if decoded == messages => error,
        other => panic!("no error after {messages} messages, but {other:?}"),
    }
}

fn line_after_hello(role: Role, bytes: &[u8]) -> String {
    let stream = [&encoded(&Message::Hello(hello(role)))[..], bytes].concat();
    error_after(1, &stream).to_string()
}

/// The hello of a source with some of its bytes replaced, counted from the magic on.
fn hello_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut stream = encoded(&Message::Hello(hello(Role::Source)));
    stream[5 + at..][..bytes.len()].copy_from_slice(bytes);
    stream
}

#[test]
fn a_stranger_gets_one_line() {
    let line = error_after(0, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n").to_string();
    assert_eq!(line, "not a tapferry handover: this is an HTTP request");
    let line = error_after(0, b"\0\0\0\x3c\xff\xff\xff\xff\xff\xff").to_string();
    assert_eq!(line, "not a tapferry handover: it begins with 00 00 00 3c");
}

#[test]
fn another_version_is_told_whatever_it_has_to_say() {
    let future = raw(1, b"TAPFERRY\0\x02, and nothing that is known here");
    let line = error_after(0, &future).to_string();
    assert!(line.contains("version 2") && line.ends_with("this tapferry speaks version 1"), "{line}");
    let future = raw(2, b"TAPFERRY\x01\0");
    assert_eq!(error_after(0, &future), WireError::Version { theirs: 256 });
}

#[test]
fn nothing_but_a_hello_or_a_refusal_comes_first() {
    for message in [Message::Ping { sent_ns: 1 }, Message::Frame(frame(FRAME))] {
        let error = error_after(0, &encoded(&message));
        assert!(matches!(error, WireError::NotTapferry { .. }), "{error}");
    }
}

#[test]
fn a_second_hello_is_refused() {
    let again = encoded(&Message::Hello(hello(Role::Source)));
    assert_eq!(line_after_hello(Role::Source, &again), "'hello' came when the connection had begun already");
}

#[test]
fn each_side_sends_only_what_is_its_own() {
    let pairs = [
        (Role::Source, Role::Destination),
        (Role::Destination, Role::Source),
        (Role::Rehearsal, Role::Source),
        (Role::Rehearsal, Role::Destination),
    ];
    for (role, other) in pairs {
        for message in after_hello(other) {
            let kind = message.kind();
            let stream = [Message::Hello(hello(role)), message];
            let outcome = agrees(&mut Decoder::new(), &all_encoded(&stream), &at_once());
            let expected = if kind.sender().is_none() {
                (2, Ending::Between)
            } else {
                (1, Ending::Wrong(WireError::WrongSide { kind, sender: role }))
            };
            assert_eq!(outcome, expected, "{kind:?} from the {}", role.name());
        }
    }
    let ack = encoded(&after_hello(Role::Destination).pop().unwrap());
    assert_eq!(line_after_hello(Role::Source, &ack), "'ack' came from the source");
}

#[test]
fn unknown_types_are_refused() {
    for number in [0, 12, 255] {
        let line = line_after_hello(Role::Source, &raw(number, &[0; 8]));
        assert_eq!(line, format!("a message of the unknown type {number}"));
    }
}

#[test]
fn bytes_behind_the_last_field_are_refused() {
    let line = line_after_hello(Role::Source, &raw(7, b"\0\x02no, really"));
    assert_eq!(line, "'discard' has 8 bytes after its last field");
    let mut stream = encoded(&Message::Hello(hello(Role::Source)));
    stream.push(0);
    stream[3] += 1;
    assert_eq!(error_after(0, &stream), WireError::Trailing { kind: Kind::Hello, bytes: 1 });
}

#[test]
fn a_message_that_ends_in_a_field_is_refused() {
    let line = line_after_hello(Role::Source, &raw(7, b"\0\x02n"));
    assert_eq!(line, "'discard' ends before the end of its field reason");
    let line = line_after_hello(Role::Source, &raw(9, &[0; 8]));
    assert_eq!(line, "'ack' came from the source", "who may not send it is not told how");
    let error = error_after(0, &hello_with(66, b"\x03\xff"));
    assert_eq!(error, WireError::Short { kind: Kind::Hello, field: "vm_name" });
    let error = error_after(0, &hello_with(100, b"\x01"));
    assert_eq!(error, WireError::Short { kind: Kind::Hello, field: "next_index" });
}

#[test]
fn values_without_a_meaning_are_refused() {
    let value = |field, value| WireError::Value { kind: Kind::Hello, field, value };
    assert_eq!(error_after(0, &hello_with(10, &[0])), value("role", 0));
    assert_eq!(error_after(0, &hello_with(10, &[4])), value("role", 4));
    assert_eq!(error_after(0, &hello_with(91, &[2])), value("vnet_hdr", 2));
    assert_eq!(error_after(0, &hello_with(100, &[2])), value("has_next_index", 2));
    assert_eq!(
        line_after_hello(Role::Source, &raw(5, &[0, 0, 0, 0, 0, 0, 0, 0, 2, 1])),
        "'cut' has a field is_final of 2, which means nothing"
    );
    for method in [0, 6] {
        assert_eq!(
            line_after_hello(Role::Source, &raw(5, &[0, 0, 0, 0, 0, 0, 0, 0, 1, method])),
            format!("'cut' has a field method of {method}, which means nothing")
        );
    }
    for code in [0, 8, 0xffff_u16] {
        let payload = [b"TAPFERRY\0\x01", &code.to_be_bytes()[..], b"\0\0"].concat();
        let error = WireError::Value { kind: Kind::Refusal, field: "code", value: code };
        assert_eq!(error_after(0, &raw(2, &payload)), error);
    }
    let payload = [&[0; 26][..], &[2], &[0; 20]].concat();
    assert_eq!(
        line_after_hello(Role::Source, &raw(3, &payload)),
        "'frame' has a field has_tag of 2, which means nothing"
    );
}

#[test]
fn text_that_is_none_is_refused() {
    assert_eq!(
        error_after(0, &hello_with(68, b"\xff")),
        WireError::NotUtf8 { kind: Kind::Hello, field: "vm_name" }
    );
    assert_eq!(
        error_after(0, &hello_with(73, b"\x1b")),
        WireError::ControlCharacters { kind: Kind::Hello, field: "netdev_id" }
    );
    let line = line_after_hello(Role::Source, &raw(7, b"\0\x02\xc2\x9b"));
    assert_eq!(line, "'discard' has a field reason with control characters");
}

#[test]
fn a_refusal_without_the_magic_is_none() {
    let line = line_after_hello(Role::Source, &raw(2, b"GET / HTTP/1.1"));
    assert_eq!(line, "not a tapferry handover: this is an HTTP request");
    let refusal = raw(2, b"TAPFERRY\0\x03\0\x01\0\0");
    assert!(line_after_hello(Role::Source, &refusal).contains("speaks version 3"));
}

#[test]
fn a_new_connection_begins_anew() {
    let stream = encoded(&Message::Hello(hello(Role::Source)));
    let mut decoder = Decoder::new();
    for _ in 0..2 {
        assert_eq!(agrees(&mut decoder, &stream, &at_once()), (1, Ending::Between));
        let (_, ending) = agrees(&mut decoder, b"SSH-", &at_once());
        assert!(matches!(ending, Ending::Wrong(_)));
    }
}
