//! The system below tapferry: the only shipped crate with unsafe code.
//!
//! One file a subject, each safe to call:
//!
//! - [`error`]: what failed, on which object, with which errno
//! - [`namespace`]: network namespaces, and visits to them
//! - [`netdev`]: interface names and what an ioctl tells of them
//! - [`packet`]: the AF_PACKET socket and its options
//! - [`filter`]: classic BPF programs that decide in the kernel what is captured
//! - [`ring`]: capture through a TPACKET_V3 ring
//! - [`receive`]: capture through non-blocking recvmmsg
//! - [`inject`]: batches through sendmmsg
//! - [`grace`]: a wait for frames on their way to a capture
//! - [`link`]: interfaces coming, going and changing, and their counters, by rtnetlink
//! - [`interfaces`]: the whole description of all of them, once
//! - [`offloads`]: what an interface leaves to its hardware or driver
//! - [`traffic_control`]: tc filters and tcx programs
//! - [`egress_gate`]: a way out of an interface that is closed to all but marked frames
//! - [`queue_length`]: how many frames may wait in a TAP
//! - [`scheduling`]: how soon a thread gets a processor
//! - [`rules`]: policy rules that look at the mark
//! - [`datagrams`]: batches through recvmmsg on a socket of datagrams, and what is told of lost ones
//! - [`unread`]: what a peer has not taken yet
//! - [`unix_peers`]: which unix sockets are connected to each other
//! - [`inherited`]: descriptors that the process was started with
//! - [`tap`]: a TAP's descriptor in another process: what it tells, and holding it
//! - [`process_memory`]: what lies in another process's memory
//! - [`pages`]: shared memory and large buffers
//! - [`stamping`]: the kernel's timestamps, from when on they are made
//! - [`clock`]: wall-clock time in the unit of the kernel's frame timestamps, and how good the clocks are
//! - [`random`]: numbers that nobody can guess
//!
//! Invariants: descriptors are owned and never leave this crate as bare numbers; a frame handed out
//! borrows the memory it lies in, so that the kernel cannot get it back while somebody reads it; every
//! socket belongs to the network namespace of the thread that opened it.

pub mod clock;
pub mod datagrams;
pub mod egress_gate;
pub mod error;
pub mod filter;
pub mod grace;
pub mod inherited;
pub mod inject;
pub mod interfaces;
pub mod link;
pub mod namespace;
pub mod netdev;
pub mod offloads;
pub mod packet;
pub mod pages;
pub mod process_memory;
pub mod queue_length;
pub mod random;
pub mod receive;
pub mod ring;
pub mod rules;
pub mod scheduling;
pub mod stamping;
pub mod tap;
pub mod traffic_control;
pub mod unix_peers;
pub mod unread;

mod bpf;
mod captured;
mod clsact;
mod control;
mod netlink;

pub use captured::Captured;
pub use error::Error;
pub use rustix::io::Errno;
