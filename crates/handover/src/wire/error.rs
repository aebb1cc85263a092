//! Why a connection cannot be read on, in one line for an operator.

use super::kind::{Kind, MAX_LENGTH};
use super::message::Role;
use super::opening::stranger;
use super::{MAX_FRAME, MAX_TEXT, MIN_FRAME, VERSION};

/// Why a connection cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Somebody who speaks another protocol: a port scanner, a browser.
    #[error("not a tapferry handover: {}", stranger(*begins))]
    NotTapferry {
        /// The first bytes.
        begins: [u8; 4],
    },
    /// A tapferry of another age.
    #[error(
        "the peer speaks version {theirs} of the handover protocol, this tapferry speaks version {VERSION}"
    )]
    Version {
        /// The version that the peer speaks.
        theirs: u16,
    },
    /// No message has that length.
    #[error("a message of {length} bytes was announced, where 1 to {MAX_LENGTH} are possible")]
    Length {
        /// The length as announced, in bytes.
        length: u32,
    },
    /// There is no such type.
    #[error("a message of the unknown type {number}")]
    UnknownType {
        /// Its number.
        number: u8,
    },
    /// The type is the other side's to send.
    #[error("'{}' came from the {}", kind.name(), sender.name())]
    WrongSide {
        /// The type.
        kind: Kind,
        /// Who sent it.
        sender: Role,
    },
    /// A hello after the first message.
    #[error("'hello' came when the connection had begun already")]
    HelloAgain,
    /// No message of that type has that length.
    #[error("'{}' of {length} bytes was announced, where {} are possible", kind.name(), possible(*kind))]
    KindLength {
        /// The type.
        kind: Kind,
        /// The length as announced, in bytes.
        length: usize,
    },
    /// The message ends in the midst of a field.
    #[error("'{}' ends before the end of its field {field}", kind.name())]
    Short {
        /// The type.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// The message goes on after its last field.
    #[error("'{}' has {bytes} bytes after its last field", kind.name())]
    Trailing {
        /// The type.
        kind: Kind,
        /// How many.
        bytes: usize,
    },
    /// A field has a value that means nothing.
    #[error("'{}' has a field {field} of {value}, which means nothing", kind.name())]
    Value {
        /// The type.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// The value.
        value: u16,
    },
    /// A string is too long.
    #[error("'{}' has a field {field} of {length} bytes, where at most {MAX_TEXT} are allowed", kind.name())]
    LongText {
        /// The type.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// Its length as announced, in bytes.
        length: usize,
    },
    /// A string is none.
    #[error("'{}' has a field {field} that is not UTF-8", kind.name())]
    NotUtf8 {
        /// The type.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// A string is not one line of text.
    #[error("'{}' has a field {field} with control characters", kind.name())]
    ControlCharacters {
        /// The type.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// There is no frame of that length.
    #[error("'frame' has {length} bytes of frame, where {MIN_FRAME} to {MAX_FRAME} are possible")]
    FrameLength {
        /// The length, in bytes.
        length: usize,
    },
}

fn possible(kind: Kind) -> String {
    let (least, most) = kind.lengths().into_inner();
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}
