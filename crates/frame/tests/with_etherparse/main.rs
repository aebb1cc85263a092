//! The crate against etherparse: frames that it builds, segments that it reads and whose checksums it computes.
//!
//! - `frames`: what is segmented, as a strategy of proptest.
//! - `segmentation`: what comes out of the segmenter.
//! - `mtu`: what `fit` lets through.
//! - `views`: offsets and completed checksums.
//! - `hostile`: bytes that are no frames, and frames with false fields.

#[cfg(test)]
mod frames;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mtu;
#[cfg(test)]
mod segmentation;
#[cfg(test)]
mod views;
