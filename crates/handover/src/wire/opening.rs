//! How a connection begins: a handover or not, and of which version.
//!
//! The first message is a hello, or a refusal from somebody who does not get as far as that. Both have the same
//! beginning, in every version of the protocol that there will ever be:
//!
//! ```text
//! u32 length | u8 type, 1 or 2 | "TAPFERRY" | u16 version | ...       length: 11 to 4096
//! ```

use std::ops::RangeInclusive;

use super::error::WireError;
use super::kind::Kind;
use super::{LENGTH_LEN, MAGIC, VERSION};

/// Bytes that the first message of any version can have.
const LENGTHS: RangeInclusive<u32> = 11..=4096;

/// Judges how a connection begins, by as many bytes as there are. Whether enough are there to know, and it is a
/// handover in our version.
pub(crate) fn judge(bytes: &[u8]) -> Result<bool, WireError> {
    let Some((begins, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Ok(false) };
    let stranger = Err(WireError::NotTapferry { begins: *begins });
    if !LENGTHS.contains(&u32::from_be_bytes(*begins)) {
        return stranger;
    }
    let Some((number, rest)) = rest.split_first() else { return Ok(false) };
    if ![Kind::Hello, Kind::Refusal].map(Kind::number).contains(number) {
        return stranger;
    }
    let Some((magic, rest)) = rest.split_first_chunk() else {
        return if MAGIC.starts_with(rest) { Ok(false) } else { stranger };
    };
    if *magic != MAGIC {
        return stranger;
    }
    match rest.first_chunk().copied().map(u16::from_be_bytes) {
        None => Ok(false),
        Some(VERSION) => Ok(true),
        Some(theirs) => Err(WireError::Version { theirs }),
    }
}

/// Who begins like this, in words.
pub(crate) fn stranger(begins: [u8; 4]) -> String {
    let known = match &begins {
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" | b"PRI " => {
            "this is an HTTP request"
        }
        b"HTTP" => "this is an HTTP server's answer",
        b"SSH-" => "this is an SSH banner",
        [0x16, 3, ..] => "this is a TLS hello, and there are no credentials for TLS here",
        b"QEVM" => "this is QEMU's migration stream, which has a port of its own",
        b"{\"QM" => "this is a QMP monitor",
        _ => return unknown(begins),
    };
    known.to_owned()
}

fn unknown(begins: [u8; 4]) -> String {
    match str::from_utf8(&begins) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => format!("it begins with '{text}'"),
        _ => {
            let [a, b, c, d] = begins;
            format!("it begins with {a:02x} {b:02x} {c:02x} {d:02x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"\0\0\0\x58\x01TAPFERRY\0\x01";

    fn refused(bytes: &[u8]) -> String {
        judge(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_hello_is_known_by_its_version_and_not_before() {
        for len in 0..HELLO.len() {
            assert_eq!(judge(&HELLO[..len]), Ok(false), "{len} bytes");
        }
        assert_eq!(judge(HELLO), Ok(true));
    }

    #[test]
    fn a_refusal_may_come_first() {
        assert_eq!(judge(b"\0\0\0\x0f\x02TAPFERRY\0\x01"), Ok(true));
    }

    #[test]
    fn another_version_is_told_apart_by_both_numbers() {
        assert_eq!(
            refused(b"\0\0\0\x0b\x01TAPFERRY\0\x02"),
            "the peer speaks version 2 of the handover protocol, this tapferry speaks version 1"
        );
        assert_eq!(judge(b"\0\0\x10\0\x02TAPFERRY\0\0"), Err(WireError::Version { theirs: 0 }));
    }

    #[test]
    fn a_length_that_no_version_has_is_a_stranger_at_once() {
        for begins in [[0, 0, 0, 10], [0, 0, 0x10, 1], [0; 4]] {
            assert_eq!(judge(&begins), Err(WireError::NotTapferry { begins }));
        }
    }

    #[test]
    fn the_first_wrong_letter_of_the_magic_is_enough() {
        for len in 5..13 {
            let mut bytes = HELLO[..=len].to_vec();
            bytes[len] ^= 0x20;
            assert_eq!(judge(&bytes), Err(WireError::NotTapferry { begins: [0, 0, 0, 0x58] }), "byte {len}");
        }
    }

    #[test]
    fn another_type_is_a_stranger() {
        assert!(judge(b"\0\0\0\x58\x03").is_err());
        assert!(judge(b"\0\0\0\x58\0").is_err());
    }

    #[test]
    fn those_who_are_known_are_named() {
        for (bytes, name) in [
            (&b"GET / HTTP/1.1\r\n"[..], "an HTTP request"),
            (b"PRI * HTTP/2.0\r\n", "an HTTP request"),
            (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server's answer"),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "a TLS hello"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH banner"),
            (b"QEVM\0\0\0\x03", "QEMU's migration stream"),
            (b"{\"QMP\": {\"version\":", "a QMP monitor"),
        ] {
            let text = refused(bytes);
            assert!(text.starts_with("not a tapferry handover: this is ") && text.contains(name), "{text}");
        }
    }

    #[test]
    fn others_are_shown_by_how_they_begin() {
        assert_eq!(refused(b"EHLO example"), "not a tapferry handover: it begins with 'EHLO'");
        assert_eq!(refused(b"\r\n\r\n"), "not a tapferry handover: it begins with 0d 0a 0d 0a");
    }
}
