//! Redirectors: one input, one gate, one output.
//!
//! ```text
//! in_netdev --> capture --> gate --> inject --> out_netdev
//!                             |
//!                           hold (pre-roll, while an event may still open the gate for the past)
//! ```
//!
//! - [`plan`]: what a redirector is to do, validated
//! - [`redirector`]: the handle: start, steer, ask, stop
//! - [`worker`]: the thread behind it; the only place where frames move
//! - [`capture`]: a plain socket or a ring, as the traffic calls for, without losing a frame between them
//! - [`source`]: the two behind one face; [`successor`]: one that is being hooked in; [`traffic`]: when
//! - [`fate`]: what becomes of one frame
//! - [`gate`]: status and run state over time, and the judgement of a timestamp
//! - [`hold`]: frames kept back, bounded in bytes and time
//! - [`outlet`]: batches into the output, and what its refusals mean
//! - [`recent`]: what was forwarded lately, for an event that closes the gate in the past
//! - [`endpoint`]: an interface that is up, down or missing, and its outages
//! - [`counters`]: where every frame ends, exactly once
//! - [`event`]: what a redirector tells of itself
//! - [`error`]: why one could not start
//!
//! Invariants: `captured = forwarded + dropped + held` in every snapshot; a frame that piled up while
//! the gate was closed never comes out; nothing here knows of JavaScript or QMP. Each redirector has a
//! thread of its own: a stalled output, the opening of a large ring or a close that waits for the
//! kernel's grace period then concern nobody else.

#![forbid(unsafe_code)]

pub mod counters;
pub mod error;
pub mod event;
pub mod gate;
pub mod plan;
pub mod redirector;

mod capture;
mod endpoint;
mod fate;
mod hold;
mod outlet;
mod recent;
mod source;
mod successor;
mod traffic;
mod worker;

pub use counters::{DropReason, Statistics};
pub use error::StartError;
pub use event::{Event, EventKind};
pub use plan::{Latency, Netdev, Plan, Queue, WhenStopped};
pub use redirector::Redirector;
