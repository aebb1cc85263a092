//! Ethernet frames as bytes: what is in them, and what an output may be given.
//!
//! Frames are read in place and written into buffers of the caller; nothing here opens, sends, waits or
//! allocates per frame. Map:
//!
//! - [`ethernet`]: lengths and types of the Ethernet header, and the VLAN tag.
//! - [`vnet`]: the virtio-net header that travels beside a frame, saying what offloads left undone.
//! - [`layers`]: where the headers of a frame begin and end.
//! - [`checksum`]: the Internet checksum, and completing one that was left to hardware.
//! - [`gso`]: segments of frames that are longer than the wire allows: whether they fit, and how to make them.
//!
//! Invariants: no input panics, however short or false its lengths; offsets count from the first byte of the
//! Ethernet header; numbers are in host order, bytes in the order of the wire.

#![forbid(unsafe_code)]

pub mod checksum;
pub mod ethernet;
pub mod gso;
pub mod layers;
pub mod vnet;

mod bytes;
