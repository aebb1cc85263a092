//! The handover of a live migration, as JavaScript steers it.
//!
//! - [`options`]: what each side is told before it starts, and the VM's receive queue when a migration begins
//! - [`source`], [`destination`]: the handles, their promises settled from libuv's thread pool
//! - [`rehearsal`]: what each learns of the other before the night
//! - [`event`]: what a handover tells
//! - [`report`]: what it counted

pub mod destination;
pub mod event;
pub mod options;
pub mod rehearsal;
pub mod report;
pub mod source;
