//! The handover protocol: what source and destination say to each other over one connection for each netdev.
//!
//! Pure: bytes in, messages out, and the other way round; nothing here reads, writes or waits, and nothing is allocated
//! for a frame. `docs/handover-protocol.md` has every field, who says what when, and the time-outs. On the wire, numbers
//! in network byte order:
//!
//! ```text
//! u32 length | u8 type | payload            length counts type and payload
//! ```
//!
//! - [`Message`] and what is in it: `message.rs`. Its types and their lengths: `kind.rs`.
//! - [`encode`](mod@encode): a message to bytes.
//! - [`Decoder`]: bytes as they come, messages as they were sent. `opening.rs`: is it a handover at all, and of which
//!   version; `fields.rs`: one field after the other.
//! - [`WireError`]: why a connection cannot be read on, in one line. [`EncodeError`]: what cannot be said.
//!
//! Invariants:
//!
//! - Any split of the same bytes into reads gives the same messages and the same error.
//! - No input panics, and none makes the decoder's buffer grow: it is allocated once.
//! - A declared length is judged as soon as it and the type are there; nobody waits for a message that cannot come.
//! - Every message has one encoding: what was decoded encodes to the same bytes.
//! - An error is for good: where the next message begins is not known.
//! - What a peer says in words is one line without control characters.

mod decode;
mod encode;
mod error;
mod fields;
mod kind;
mod message;
mod opening;

pub use decode::Decoder;
pub use encode::{EncodeError, encode};
pub use error::WireError;
pub use kind::Kind;
pub use message::{Ack, Cut, End, Frame, Hello, Message, Method, Refusal, RefusalCode, Role};

/// The version of the protocol that is spoken here, and the only one that is understood.
pub const VERSION: u16 = 1;

/// What every connection begins with in either direction, after the length and the type.
pub const MAGIC: [u8; 8] = *b"TAPFERRY";

/// Bytes of a string at most.
pub const MAX_TEXT: usize = 1024;

/// Bytes of a frame at least: its Ethernet header.
pub const MIN_FRAME: usize = tapferry_frame::ethernet::ETHERNET_HEADER_LEN;

/// Bytes of a frame at most, without a tag that is held beside it. As much as QEMU reads: its `NET_BUFSIZE`.
pub const MAX_FRAME: usize = 69_632;

/// Bytes of the length before each message.
const LENGTH_LEN: usize = 4;
