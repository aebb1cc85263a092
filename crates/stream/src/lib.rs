//! QEMU's framing of Ethernet frames on a byte stream: what filter-mirror, filter-redirector, colo-compare,
//! `-netdev socket`, `-netdev stream` and passt speak.
//!
//! Pure: bytes in, records out, and the other way round; nothing here reads, writes or waits. What is on the wire for
//! one frame, numbers in network byte order:
//!
//! | `vnet_hdr_support` | bytes |
//! | --- | --- |
//! | off | `u32 length`, then `length` bytes: the Ethernet frame |
//! | off, at a TAP with `vnet_hdr=on` (QEMU's defaults with virtio-net) | `u32 length`, then `length` bytes: a virtio-net header that nothing announces, then the frame |
//! | on | `u32 length`, `u32 vnet_hdr_len`, then `length` bytes: `vnet_hdr_len` of virtio-net header, then the frame |
//!
//! `length` counts the virtio-net header and the frame, never the fields before them. Source: `net_fill_rstate` of
//! QEMU's `net/net.c`, `filter_send` of its `net/filter-mirror.c`.
//!
//! The announcement of a network card (RARP) that QEMU sends of its own, after a migration, has no header in any case,
//! and with vnet_hdr_support `vnet_hdr_len` is the card's all the same: [`Decoder`] hands it out whole.
//!
//! - [`Framing`]: what both ends must agree on, the limits, and a [`Record`]. [`Unannounced`]: headers that nothing
//!   announces.
//! - [`Prefix`]: the encoder: the fields before a record.
//! - [`Decoder`]: bytes as they come, records as they were sent.
//! - [`FramingError`]: why a stream cannot be read on, and which end to change.
//!
//! Invariants:
//!
//! - Any split of the same bytes into reads gives the same records and the same error.
//! - No input panics, and none makes the buffer grow: it is allocated once.
//! - A declared length is judged as soon as its bytes are there; nobody waits for a record that cannot come.
//! - An error is for good: only [`Decoder::reset`], for a new connection, goes on.
//! - A stream that is plausible as configured is never refused: an error that blames the other end's
//!   `vnet_hdr_support` rests on both readings of the bytes.
//! - A frame that is plausible as it came loses no bytes: a header that nothing announces is taken off only where its
//!   fields and the frame behind it show it, or where [`Unannounced::Len`] says so.

#![forbid(unsafe_code)]

mod decode;
mod diagnosis;
mod encode;
mod error;
mod framing;
mod likeness;
mod unannounced;

pub use decode::Decoder;
pub use encode::Prefix;
pub use error::FramingError;
pub use framing::{Framing, MAX_LENGTH, Record, Unannounced, VNET_HDR_LENGTHS};
