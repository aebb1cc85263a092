//! Live migration without a lost frame: what reaches a stopped source VM gets to the guest at the destination.
//!
//! - [`wire`]: what the two sides say to each other, as bytes. Pure, fuzzed.

#![forbid(unsafe_code)]

pub mod wire;
