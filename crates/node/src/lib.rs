//! The binding: what JavaScript sees of the core. Glue only, one file per exposed type.
//!
//! - [`options`]: a plan, as JavaScript writes it
//! - [`redirector`]: the handle, its promises settled from libuv's thread pool
//! - [`event`]: what a redirector tells
//! - [`statistics`]: what it counts
//! - [`namespace`]: network namespaces by their path
//! - [`handover`]: both sides of a live migration
//! - [`network`]: what there is on the host, for those who look before they start
//! - [`credentials`]: directories of certificates, looked at
//! - [`gate`]: whether one could be closed; [`leftovers`]: what of an interface is put right after a kill
//! - [`scheduling`]: the calling thread's place among others
//! - [`promise`]: work for libuv's thread pool
//! - [`error`]: failures with their stable code
//!
//! Frames never pass through here. Nothing blocks the JavaScript thread: starting, asking and stopping
//! wait for the redirector's thread in the thread pool.

pub mod credentials;
pub mod error;
pub mod event;
pub mod gate;
pub mod handover;
pub mod leftovers;
pub mod namespace;
pub mod network;
pub mod options;
pub mod promise;
pub mod redirector;
pub mod scheduling;
pub mod statistics;

use napi_derive::napi;

/// The version of the addon, which is that of the package.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
