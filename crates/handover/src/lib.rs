//! Live migration without a lost frame: what reaches a VM that has stopped at the source gets to its guest at the
//! destination, once and in order.
//!
//! ```text
//!   source                                              destination
//!   armed      the VM runs, nothing is captured          gated     the gate keeps floods from the TAP
//!   calibrate  it migrates: capture, count, compare
//!   stopping   it has stopped: where is the cut?
//!   forward    frames from the cut on are sent  ------>  parked    until the cut is known
//!                                                        injecting
//!   drain      the VM runs there: the last ones ------>  passing   the gate is open; nothing comes twice
//!   done                                                 done
//!   cancelled  the VM runs on here                       discarded
//! ```
//!
//! - [`plan`]: what each side is told before it starts
//! - [`source`], [`destination`]: the two sides, each a handle and a thread with a state machine
//! - [`wire`]: what they say to each other; [`connection`]: over a socket
//! - [`cut`]: which frames the guest had when the VM stopped; [`evidence`]: what is known of that
//! - [`rehearsal`]: both sides before the night; [`survey`], [`compare`]: what they are like, and what differs
//! - [`event`], [`voice`]: what a handover tells of itself; [`report`]: what it counted
//! - [`error`]: why one could not start
//!
//! Invariants: each frame has an index, and the destination injects it at most once, whatever breaks in between; a gate
//! ends with its process; nothing here knows of JavaScript or QMP.

#![forbid(unsafe_code)]

pub mod compare;
pub mod cut;
pub mod destination;
pub mod error;
pub mod event;
pub mod plan;
pub mod rehearsal;
pub mod report;
pub mod source;
pub mod wire;

mod connection;
mod evidence;
mod survey;
mod voice;

pub use compare::{Difference, Weight};
pub use cut::{RamBlock, RingLocation};
pub use destination::Destination;
pub use error::HandoverError;
pub use event::{Event, EventKind, Observer};
pub use plan::{DestinationPlan, Identity, SourcePlan};
pub use rehearsal::{Encounter, Rehearsal};
pub use report::{DestinationReport, Outcome, SourceReport};
pub use source::Source;
