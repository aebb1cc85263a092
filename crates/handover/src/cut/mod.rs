//! Where the cut is: the first captured frame that the guest had not got when its VM stopped.
//!
//! The guest's own receive queue tells, read through the memory of the QEMU process without asking QEMU, which
//! answers only when its migration thread lets it. Where the queue cannot tell, counts do, and last a timestamp.
//! Pure: memory comes through a trait, and nothing here waits. Map:
//!
//! - [`memory`]: the guest's memory in another process, and which address is where.
//! - [`virtqueue`]: the used ring of a split virtqueue, and what is in its buffers.
//! - [`calibration`]: how the counters of capture, TAP and queue relate while the VM runs.
//! - [`told`]: what the VM's monitor tells of the queue instead.
//! - [`frames`]: captured frames as the guest sees them.
//! - [`find()`]: the cut.
//! - [`give_back()`]: after a cancelled migration, the frames that QEMU threw away.
//!
//! Invariants: no memory, however wrong, panics or holds anybody up; what cannot be read is no evidence; a cut is
//! never beyond the newest captured frame + 1.

pub mod calibration;
pub mod find;
pub mod frames;
pub mod give_back;
pub mod memory;
pub mod told;
pub mod virtqueue;

mod contents;
mod lengths;

pub(crate) use calibration::MAX_UNDELIVERED;
pub use calibration::{Calibration, Counts, Instability, Sample};
pub use find::{Cut, Evidence, Reason, find};
pub use frames::Seen;
pub use give_back::{Basis, GiveBack, Resumed, give_back};
pub use memory::{GuestMemory, RamBlock};
pub use told::Told;
pub use virtqueue::{QueueError, Receive, RingLocation, used_index};
