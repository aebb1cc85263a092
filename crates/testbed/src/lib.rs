//! The testbed: private network namespaces, TAPs, hosts that send and guests that count.
//!
//! It is shared by the Rust integration tests, the ava tests, the demo and the benches, and it is never
//! shipped. It is a witness: it shares no code with what it judges (crates sys and redirect), so a mistake
//! there cannot hide here. Even the virtio-net header and the checksums are its own.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`namespace`] | a network namespace for the calling thread, or the reason why there is none |
//! | [`link`](mod@link) | interfaces: up, down, MTU, veth, bridge, counters |
//! | [`tap`] | a TAP device, seen from the guest's side |
//! | [`probe`] | numbered frames |
//! | [`craft`] | UDP and TCP over IPv4 and IPv6, whole or in GSO frames, with whole or partial checksums |
//! | [`vnet`] | the virtio-net header |
//! | [`sender`] | a host that sends into an interface, in bursts or paced |
//! | [`reader`] | a guest or a host that reads all frames and keeps a [`tally`] |
//! | [`tally`] | what was seen: counts, ranges of numbers, duplicates, bad checksums |
//! | [`ebpf`] | eBPF maps that can no longer be written to |
//! | `certificates` | directories of credentials in QEMU's layout |
//! | [`memory`] | what this process has, for tests of leaks |
//! | [`lab`] | all of it behind JSON lines, for tests that are not written in Rust |
//! | [`pass`] | a TAP handed over by descriptor to a program |
//! | [`guest`] | the disk-less image of a real guest for QEMU |
//!
//! A test reads like this:
//!
//! ```no_run
//! use std::time::Duration;
//! use tapferry_testbed::{namespace::Namespace, probe::Probe, reader::Reader, sender::Sender, tap::{Tap, TapOptions}};
//!
//! fn one_thousand_frames_reach_the_guest() {
//!     let Some(_namespace) = Namespace::enter_or_skip() else { return };
//!     let guest = Reader::on_tap(Tap::create("tapA", &TapOptions::default()).unwrap());
//!     Sender::open("tapA").unwrap().send_probes(&Probe::default(), 60, 0..1000).unwrap();
//!     let tally = guest.wait_for(1000, Duration::from_secs(5));
//!     assert_eq!(tally.ranges(0), [(0, 999)]);
//! }
//! ```

#![deny(unsafe_code)]

#[cfg(feature = "certificates")]
pub mod certificates;
pub mod craft;
pub mod ebpf;
pub mod error;
pub mod guest;
pub mod inspect;
pub mod lab;
pub mod link;
pub mod memory;
pub mod namespace;
mod netlink;
pub mod pass;
pub mod probe;
pub mod reader;
pub mod sender;
mod sys;
pub mod tally;
pub mod tap;
pub mod vnet;

pub use error::{Error, Result};
