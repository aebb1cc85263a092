//! The encoder: a message to bytes.

use super::message::{Frame, Hello, Message};
use super::{LENGTH_LEN, MAGIC, MAX_FRAME, MAX_TEXT, MIN_FRAME, VERSION};

/// What cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A frame that is none, or too long.
    #[error("a frame of {length} bytes cannot be handed over, only one of {MIN_FRAME} to {MAX_FRAME}")]
    FrameLength {
        /// Its length, in bytes.
        length: usize,
    },
    /// A name that is too long.
    #[error("{field} has {length} bytes, and the handover protocol allows {MAX_TEXT}")]
    LongName {
        /// The field.
        field: &'static str,
        /// Its length, in bytes.
        length: usize,
    },
    /// A name that is not one line of text.
    #[error("{field} has control characters, and the handover protocol allows none")]
    ControlCharacters {
        /// The field.
        field: &'static str,
    },
}

/// Appends a message to `output`. Words for people (a refusal's text, the reason to discard) are made to fit: control
/// characters become spaces, and what is too long is cut.
///
/// # Errors
///
/// A frame or a name that the protocol has no room for; then nothing was appended. Messages without either always go.
pub fn encode(message: &Message<'_>, output: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = output.len();
    let result = append(message, output);
    if result.is_err() {
        output.truncate(start);
    }
    result
}

fn append(message: &Message<'_>, output: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = output.len();
    output.extend([0; LENGTH_LEN]);
    output.push(message.kind().number());
    match message {
        Message::Hello(hello) => put_hello(hello, output)?,
        Message::Refusal(refusal) => {
            put_opening(output);
            output.extend(refusal.code.number().to_be_bytes());
            put_words(&refusal.text, output);
        }
        Message::Frame(frame) => put_frame(frame, output)?,
        Message::Stopped { at_ns } | Message::Resumed { at_ns } => put_numbers([*at_ns], output),
        Message::Cut(cut) => {
            put_numbers([cut.index], output);
            output.extend([u8::from(cut.is_final), cut.method.number()]);
        }
        Message::Discard { reason } => put_words(reason, output),
        Message::End(end) => put_numbers([end.next_index, end.captured, end.sent, end.lost], output),
        Message::Ack(ack) => {
            put_numbers([ack.next_index, ack.parked, ack.injected, ack.deduplicated, ack.dropped], output);
        }
        Message::Ping { sent_ns } => put_numbers([*sent_ns], output),
        Message::Pong { ping_ns, received_ns } => put_numbers([*ping_ns, *received_ns], output),
    }
    // The limits of frames and strings keep every message far below what the length can say.
    let length = u32::try_from(output.len() - start - LENGTH_LEN).unwrap_or(u32::MAX);
    output[start..start + LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn put_opening(output: &mut Vec<u8>) {
    output.extend(MAGIC);
    output.extend(VERSION.to_be_bytes());
}

fn put_hello(hello: &Hello, output: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_opening(output);
    output.push(hello.role.number());
    output.extend(hello.session.to_be_bytes());
    output.extend(hello.instance.to_be_bytes());
    put_name("tapferry", &hello.tapferry, output)?;
    output.extend(hello.vm_uuid);
    put_name("vm_name", &hello.vm_name, output)?;
    put_name("netdev_id", &hello.netdev_id, output)?;
    output.extend(hello.mac);
    output.extend(hello.mtu.to_be_bytes());
    output.extend(hello.offloads.to_be_bytes());
    output.push(hello.vnet_hdr.is_some().into());
    output.extend(hello.vnet_hdr.map(u8::from));
    put_numbers([hello.realtime_ns], output);
    output.push(hello.next_index.is_some().into());
    if let Some(next_index) = hello.next_index {
        put_numbers([next_index], output);
    }
    Ok(())
}

fn put_frame(frame: &Frame<'_>, output: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = frame.bytes.len();
    if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
        return Err(EncodeError::FrameLength { length });
    }
    put_numbers([frame.index, frame.timestamp_ns], output);
    output.extend(frame.vnet.to_bytes());
    output.push(frame.tag.is_some().into());
    if let Some(tag) = frame.tag {
        output.extend(tag.to_bytes());
    }
    output.extend_from_slice(frame.bytes);
    Ok(())
}

fn put_numbers<const N: usize>(numbers: [u64; N], output: &mut Vec<u8>) {
    for number in numbers {
        output.extend(number.to_be_bytes());
    }
}

/// What a name is compared by must arrive as it is, or not at all.
fn put_name(field: &'static str, name: &str, output: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = name.len();
    let written = u16::try_from(length).ok().filter(|_| length <= MAX_TEXT);
    let written = written.ok_or(EncodeError::LongName { field, length })?;
    if name.contains(char::is_control) {
        return Err(EncodeError::ControlCharacters { field });
    }
    output.extend(written.to_be_bytes());
    output.extend_from_slice(name.as_bytes());
    Ok(())
}

/// A length, and as much of the words as fits.
fn put_words(words: &str, output: &mut Vec<u8>) {
    let start = output.len();
    let mut length: u16 = 0;
    output.extend(length.to_be_bytes());
    for letter in words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }) {
        let mut bytes = [0; 4];
        let bytes = letter.encode_utf8(&mut bytes).as_bytes();
        if usize::from(length) + bytes.len() > MAX_TEXT {
            break;
        }
        output.extend_from_slice(bytes);
        length = length.saturating_add(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    }
    output[start..start + 2].copy_from_slice(&length.to_be_bytes());
}
