//! Redirectors: one input, one gate, one output.
//!
//! ```text
//! in_netdev --> capture --+                                            +--> inject --> out_netdev
//!                         +--> gate ----------------> buffer --> outlet +
//! indev ------> reader ---+      |                      (hold)         +--> writer --> outdev
//!                              pre-roll, while an event may still open the gate for the past
//! ```
//!
//! - [`plan`]: what a redirector is to do, validated
//! - [`redirector`]: the handle: start, steer, ask, stop; [`thread`]: any such handle of a thread
//! - [`worker`]: the thread behind it: commands, both ends, the clock
//! - [`pipeline`]: the only place where frames move, from source to outlet; [`frame`]: what moves
//! - [`capture`]: a plain socket or a ring, as the traffic calls for, without losing a frame between them
//! - [`source`]: the two behind one face; [`successor`]: one that is being hooked in; [`traffic`]: when
//! - [`stream`]: peers on sockets: how they come, frames from them, frames to them
//! - [`datagram`]: frames in datagrams, one in each; [`whole`]: a frame for whom nothing can finish
//! - [`gate`]: status and run state over time, and the judgement of a timestamp
//! - [`queue`]: frames that wait, bounded; [`buffer`]: those between gate and output, on hold or late
//! - [`outlet`]: batches into the output, and what its refusals mean; [`outgoing`]: a frame as an interface takes it
//! - [`recent`]: what was forwarded lately, for an event that closes the gate in the past
//! - [`endpoint`]: an interface that is up, down or missing; [`outage`]: how often and how long
//! - [`counters`]: where every frame ends, exactly once
//! - [`event`]: what a redirector tells of itself; [`lately`]: what is not told again for a while
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
pub mod thread;

mod buffer;
mod capture;
mod datagram;
mod endpoint;
mod frame;
mod lately;
mod outage;
mod outgoing;
mod outlet;
mod pipeline;
mod queue;
mod recent;
mod source;
mod stream;
mod successor;
mod traffic;
mod whole;
mod worker;

/// What a pipeline is built of, for another one: that of a handover, in which frames are counted and may be sent again.
pub mod parts {
    pub use crate::capture::Capture;
    pub use crate::frame::{Carried, Frame, FrameSource};
    pub use crate::lately::Lately;
    pub use crate::outlet::{NetdevExit, Step};
    pub use crate::queue::{FrameQueue, PushedOver};
    pub use crate::stream::notice::Notice;
    pub use crate::stream::peers::{Next, Peers};
}

pub use counters::{DropReason, Statistics};
pub use error::{Attempt, Lack, StartError, StreamError};
pub use event::{Event, EventKind};
pub use plan::{
    Address, BufferPlan, DatagramPlan, Destination, End, Hold, HostPort, Latency, Netdev, Plan, Queue,
    StreamPlan, WhenFull, WhenStopped,
};
pub use redirector::Redirector;
