//! The decoder against a naive one. Shared by the tests and by the fuzz target, so it takes no more than the crate,
//! the frame crate's types and `std`.
//!
//! - [`model`]: the naive decoder, over all of the bytes at once.
//! - [`pace`]: lets the decoder read in pieces, and compares.
//! - [`input`]: what a fuzz input means.

pub(crate) mod input;
pub(crate) mod model;
pub(crate) mod pace;
