//! The decoder and the encoder as the engine uses them.
//!
//! - `check`: a naive decoder as the model, and the comparison with it; the fuzz target includes it, too.
//! - `corpus`: the fuzzer's corpus through that check.
//! - `decoder`: records, however their bytes come, and what is no record.
//! - `mismatch`: ends that differ in vnet_hdr_support, and frames that only look like it.
//! - `unannounced`: virtio-net headers that nothing announces, and frames that only look like it.
//! - `frames`: the frames of these tests. `wire`: records as they go over the wire.

#[cfg(test)]
mod check;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod decoder;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod mismatch;
#[cfg(test)]
mod unannounced;
#[cfg(test)]
mod wire;
