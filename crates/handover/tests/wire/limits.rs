//! Both sides of each limit.

use tapferry_handover::wire::{
    Decoder, EncodeError, Frame, Hello, Kind, MAX_FRAME, MAX_TEXT, MIN_FRAME, Message, Refusal, RefusalCode,
    Role, WireError, encode,
};

use crate::check::model::Ending;
use crate::check::pace::agrees;
use crate::messages::{at_once, encoded, frame, hello, raw};

fn ending_after_hello(role: Role, bytes: &[u8]) -> (usize, Ending) {
    let stream = [&encoded(&Message::Hello(hello(role)))[..], bytes].concat();
    agrees(&mut Decoder::new(), &stream, &at_once())
}

fn passes(message: &Message<'_>) {
    assert_eq!(ending_after_hello(Role::Source, &encoded(message)), (2, Ending::Between));
}

fn is_refused(role: Role, bytes: &[u8], error: WireError) {
    assert_eq!(ending_after_hello(role, bytes), (1, Ending::Wrong(error)));
}

#[test]
fn frames_pass_from_a_bare_header_to_the_longest() {
    for tag in [None, frame(&[]).tag] {
        passes(&Message::Frame(Frame { tag, ..frame(&[1; MIN_FRAME]) }));
        passes(&Message::Frame(Frame { tag, ..frame(&[1; MAX_FRAME]) }));
    }
}

#[test]
fn frames_beyond_are_not_sent_and_leave_no_trace() {
    for length in [0, MIN_FRAME - 1, MAX_FRAME + 1] {
        let bytes = vec![1; length];
        let mut output = b"before".to_vec();
        let result = encode(&Message::Frame(frame(&bytes)), &mut output);
        assert_eq!(result, Err(EncodeError::FrameLength { length }));
        assert_eq!(output, b"before");
    }
}

#[test]
fn frames_beyond_are_not_taken() {
    let fixed = [0; 26];
    let tagged = [&fixed[..], &[1, 0, 0, 0, 0]].concat();
    let untagged = [&fixed[..], &[0]].concat();
    let with = |head: &[u8], length: usize| raw(3, &[head, &vec![1; length]].concat());
    is_refused(
        Role::Source,
        &with(&untagged, MIN_FRAME - 1),
        WireError::KindLength { kind: Kind::Frame, length: 41 },
    );
    is_refused(Role::Source, &with(&tagged, MIN_FRAME - 1), WireError::FrameLength { length: MIN_FRAME - 1 });
    is_refused(
        Role::Source,
        &with(&untagged, MAX_FRAME + 1),
        WireError::FrameLength { length: MAX_FRAME + 1 },
    );
    is_refused(Role::Source, &with(&tagged, MAX_FRAME + 1), WireError::Length { length: 69_665 });
}

#[test]
fn a_length_is_judged_before_anything_else_has_come() {
    for (length, bytes) in [(0, [0; 4]), (69_665, [0, 1, 0x10, 0x21]), (u32::MAX, [0xff; 4])] {
        is_refused(Role::Source, &bytes, WireError::Length { length });
    }
    assert_eq!(ending_after_hello(Role::Source, &[0, 1, 0x10, 0x20]), (1, Ending::Partial));
}

#[test]
fn each_type_has_its_lengths_judged_by_five_bytes() {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Hello) {
        let role = kind.sender().unwrap_or(Role::Source);
        let (least, most) = kind.lengths().into_inner();
        let head =
            |length: usize| [&u32::try_from(length).unwrap().to_be_bytes()[..], &[kind.number()]].concat();
        for length in [least, most] {
            assert_eq!(ending_after_hello(role, &head(length)), (1, Ending::Partial), "{kind:?}");
        }
        let short = least - 1;
        let error = match short {
            0 => WireError::Length { length: 0 },
            _ => WireError::KindLength { kind, length: short },
        };
        is_refused(role, &head(short), error);
        let error = match kind {
            Kind::Frame => WireError::Length { length: 69_665 },
            _ => WireError::KindLength { kind, length: most + 1 },
        };
        is_refused(role, &head(most + 1), error);
    }
}

#[test]
fn a_hello_has_its_lengths_judged_with_the_version() {
    let head = |length: u16| [&[0, 0], &length.to_be_bytes()[..], b"\x01TAPFERRY\0\x01"].concat();
    let ending = |bytes: &[u8]| agrees(&mut Decoder::new(), bytes, &at_once());
    for length in [90, 3171] {
        assert_eq!(ending(&head(length)), (0, Ending::Partial));
    }
    for length in [89, 3172] {
        let error = WireError::KindLength { kind: Kind::Hello, length: length.into() };
        assert_eq!(ending(&head(length)), (0, Ending::Wrong(error)));
    }
}

#[test]
fn names_pass_up_to_their_limit_and_are_never_cut() {
    let mut long = hello(Role::Source);
    (long.vm_name, long.netdev_id, long.tapferry) =
        ("v".repeat(MAX_TEXT), "n".repeat(MAX_TEXT), "1".repeat(MAX_TEXT));
    let stream = encoded(&Message::Hello(long));
    assert_eq!(agrees(&mut Decoder::new(), &stream, &at_once()), (1, Ending::Between));

    let length = MAX_TEXT + 1;
    let too_long = Hello { vm_name: "v".repeat(length), ..hello(Role::Source) };
    let mut output = Vec::new();
    let result = encode(&Message::Hello(too_long), &mut output);
    assert_eq!(result, Err(EncodeError::LongName { field: "vm_name", length }));
    let too_long = Hello { netdev_id: "n".repeat(70_000), ..hello(Role::Source) };
    let result = encode(&Message::Hello(too_long), &mut output);
    assert_eq!(result, Err(EncodeError::LongName { field: "netdev_id", length: 70_000 }));
    let odd = Hello { netdev_id: "n\n".into(), ..hello(Role::Source) };
    let result = encode(&Message::Hello(odd), &mut output);
    assert_eq!(result, Err(EncodeError::ControlCharacters { field: "netdev_id" }));
    assert!(output.is_empty());
}

#[test]
fn a_string_over_the_limit_is_not_taken() {
    let stream = encoded(&Message::Hello(hello(Role::Source)));
    let (before, after) = stream[5..].split_at(66);
    let name = [&1025_u16.to_be_bytes()[..], &[b'v'; 1025]].concat();
    let long = raw(1, &[before, &name, &after[5..]].concat());
    let error = WireError::LongText { kind: Kind::Hello, field: "vm_name", length: 1025 };
    assert_eq!(agrees(&mut Decoder::new(), &long, &at_once()), (0, Ending::Wrong(error)));
}

#[test]
fn words_are_cut_between_letters_and_kept_on_one_line() {
    let said = |text: &str| {
        let refusal = Message::Refusal(Refusal { code: RefusalCode::Malformed, text: text.into() });
        String::from_utf8(encoded(&refusal)[19..].to_vec()).unwrap()
    };
    assert_eq!(said(&"x".repeat(MAX_TEXT)), "x".repeat(MAX_TEXT));
    assert_eq!(said(&"x".repeat(MAX_TEXT + 1)), "x".repeat(MAX_TEXT));
    assert_eq!(said(&format!("x{}", "ü".repeat(MAX_TEXT))), format!("x{}", "ü".repeat(511)));
    assert_eq!(said("two\nlines \x1b[31mred"), "two lines  [31mred");
    passes(&Message::Discard { reason: &"😀\r".repeat(MAX_TEXT) });
}
