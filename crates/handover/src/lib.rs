//! Live migration without a lost frame: what reaches a stopped source VM gets to the guest at the destination.

#![forbid(unsafe_code)]

pub mod cut;
