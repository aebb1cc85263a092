//! A capture of either kind behind one face, with the waits that tests need. The frames it returns are copies
//! in the testbed's terms, so that the testbed can judge them.
//!
//! Bursts are of 200 small frames at most, or are read as they come: in a user namespace a receiver has no more
//! room than net.core.rmem_max, which is about 500 of them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;
use tapferry_sys::filter::{Direction, Program};
use tapferry_sys::inject::{Injector, Outgoing};
use tapferry_sys::link::{Link, Links};
use tapferry_sys::netdev::{IfIndex, InterfaceName};
use tapferry_sys::packet::PacketSocket;
use tapferry_sys::receive::Receiver;
use tapferry_sys::ring::{Geometry, Ring};
use tapferry_sys::{Captured, Errno};
use tapferry_testbed::craft::Frame;
use tapferry_testbed::inspect::{Content, inspect};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::{Tap, TapOptions};
use tapferry_testbed::{link, vnet};

/// Long enough for anything that is going to happen on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for what must not happen: many times the four milliseconds after which a ring hands over a block.
pub(crate) const QUIET: Duration = Duration::from_millis(50);
/// What tapferry marks its own frames with.
pub(crate) const MARK: u32 = 0x3074;

/// The ways to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ring,
    Receiver,
}

pub(crate) const BOTH: [Way; 2] = [Way::Ring, Way::Receiver];

/// A frame that was captured, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) timestamp_ns: u64,
    pub(crate) vnet: VnetHeader,
    pub(crate) beside: Option<VlanTag>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) wire_len: u32,
    pub(crate) is_truncated: bool,
}

impl Seen {
    fn of(captured: Captured<'_>) -> Self {
        Self {
            timestamp_ns: captured.timestamp_ns,
            vnet: captured.vnet,
            beside: captured.beside,
            bytes: captured.bytes.to_vec(),
            wire_len: captured.wire_len,
            is_truncated: captured.is_truncated(),
        }
    }

    /// The frame as the testbed knows it.
    pub(crate) fn frame(&self) -> Frame {
        Frame { header: witness_header(self.vnet), bytes: self.bytes.clone() }
    }

    /// The frame as it is sent on.
    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing { vnet: self.vnet, beside: self.beside, bytes: &self.bytes }
    }
}

/// A header of the frame crate as the testbed's.
pub(crate) fn witness_header(header: VnetHeader) -> vnet::VnetHeader {
    vnet::VnetHeader::from_bytes(&header.to_bytes()).expect("ten bytes are a header")
}

/// A frame of the testbed as the injector takes it.
pub(crate) fn outgoing(frame: &Frame) -> Outgoing<'_> {
    let header = frame.header.to_bytes(VnetHeader::LEN).try_into().expect("ten bytes are a header");
    Outgoing { vnet: VnetHeader::from_bytes(header), beside: None, bytes: &frame.bytes }
}

/// A frame that needs nothing done.
pub(crate) fn plain(bytes: &[u8]) -> Outgoing<'_> {
    Outgoing { vnet: VnetHeader::default(), beside: None, bytes }
}

/// The numbers that frames carry, in the order of capture. A frame that is damaged or not numbered panics.
pub(crate) fn numbers(frames: &[Seen]) -> Vec<u64> {
    let number = |frame: &Seen| match inspect(Some(&witness_header(frame.vnet)), &frame.bytes).content {
        Content::Numbered(records) if records.iter().all(|record| record.intact) => {
            records.into_iter().map(|record| record.sequence).collect::<Vec<_>>()
        }
        other => panic!("not a numbered frame: {other:?}, {} bytes", frame.bytes.len()),
    };
    frames.iter().flat_map(number).collect()
}

/// An open capture.
#[derive(Debug)]
pub(crate) enum Capture {
    Ring(Ring),
    Receiver(Box<Receiver>),
}

impl Capture {
    /// Captures what the host sends into an interface, but for what bears [`MARK`].
    pub(crate) fn open(way: Way, interface: &str) -> Self {
        Self::with(way, interface, Direction::Outgoing, MARK)
    }

    pub(crate) fn with(way: Way, interface: &str, direction: Direction, mark: u32) -> Self {
        let (name, filter) = (name(interface), Program::capture(direction, mark));
        match way {
            Way::Ring => Self::Ring(Ring::open(&name, &filter, Geometry::DEFAULT).expect("a ring")),
            Way::Receiver => Self::Receiver(Box::new(Receiver::open(&name, &filter).expect("a receiver"))),
        }
    }

    /// A ring of another size.
    pub(crate) fn ring(interface: &str, block_bytes: u32, blocks: u32) -> Self {
        let filter = Program::capture(Direction::Outgoing, MARK);
        let geometry = Geometry { block_bytes, blocks };
        Self::Ring(Ring::open(&name(interface), &filter, geometry).expect("a ring"))
    }

    pub(crate) fn socket(&self) -> &PacketSocket {
        match self {
            Self::Ring(ring) => ring.socket(),
            Self::Receiver(receiver) => receiver.socket(),
        }
    }

    pub(crate) fn fill(&mut self) -> Result<bool, Errno> {
        match self {
            Self::Ring(ring) => Ok(ring.fill()),
            Self::Receiver(receiver) => receiver.fill(),
        }
    }

    /// The frames at hand.
    fn take_batch(&mut self) -> Vec<Seen> {
        match self {
            Self::Ring(ring) => {
                let frames: Vec<_> = ring.frames().map(Seen::of).collect();
                ring.advance(frames.len());
                frames
            }
            Self::Receiver(receiver) => {
                let frames: Vec<_> = receiver.frames().map(Seen::of).collect();
                receiver.advance(frames.len());
                frames
            }
        }
    }

    /// Waits for so many frames and returns them with whatever came along.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        while frames.len() < count {
            if self.fill().expect("frames are read") {
                frames.extend(self.take_batch());
            } else if Instant::now() < deadline {
                events(self.socket(), Duration::from_millis(100));
            } else {
                panic!("{} of {count} frames came", frames.len());
            }
        }
        frames
    }

    /// What comes until nothing has come for a while.
    pub(crate) fn rest(&mut self) -> Vec<Seen> {
        let mut frames = Vec::new();
        let mut last = Instant::now();
        while last.elapsed() < QUIET {
            if self.fill().expect("frames are read") {
                frames.extend(self.take_batch());
                last = Instant::now();
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        frames
    }

    /// Frames that passed the filter since the last call, lost ones included.
    pub(crate) fn packets(&self) -> u32 {
        self.socket().take_counts().expect("the kernel counts").packets
    }
}

pub(crate) fn name(interface: &str) -> InterfaceName {
    InterfaceName::new(interface).expect("a valid name")
}

pub(crate) fn ifindex(interface: &str) -> IfIndex {
    IfIndex::from_netlink(link::index(interface).expect("it exists")).expect("a valid number")
}

/// What poll reports of a descriptor, waiting at most so long for something to read or an error.
pub(crate) fn events(of: impl AsFd, timeout: Duration) -> PollFlags {
    let timeout = Timespec::try_from(timeout).expect("a short time");
    let mut polled = [PollFd::new(&of, PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).expect("poll");
    polled[0].revents()
}

/// What poll reports right now.
pub(crate) fn events_now(of: impl AsFd) -> PollFlags {
    events(of, Duration::ZERO)
}

/// Waits until the condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A TAP as QEMU makes it.
pub(crate) fn tap(name: &str) -> Tap {
    tap_with(name, &TapOptions::like_qemu())
}

pub(crate) fn tap_with(name: &str, options: &TapOptions) -> Tap {
    Tap::create(name, options).expect("a TAP")
}

/// Sends numbered frames of 64 bytes into an interface.
pub(crate) fn send(interface: &str, sequences: std::ops::Range<u64>) {
    Sender::open(interface)
        .and_then(|sender| sender.send_probes(&Probe::default(), 64, sequences))
        .expect("all are sent");
}

pub(crate) fn injector(interface: &str) -> Injector {
    Injector::open(&name(interface), MARK).expect("an injector")
}

/// Sends all frames.
pub(crate) fn inject(into: &mut Injector, frames: &[Outgoing<'_>]) {
    let mut sent = 0;
    while sent < frames.len() {
        match into.send(&frames[sent..]) {
            Ok(count) => sent += count,
            Err(Errno::AGAIN | Errno::NOBUFS) => std::thread::yield_now(),
            Err(errno) => panic!("frame {sent} is refused: {errno}"),
        }
    }
}

/// What netlink knows of an interface.
pub(crate) fn state(interface: &str) -> Link {
    let mut links = Links::open().expect("a netlink socket");
    links.by_name(&name(interface)).expect("an answer").expect("it exists")
}

/// Leaves the calling thread without capabilities, for good.
pub(crate) fn drop_capabilities() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .expect("a thread may give them up");
}

/// A process that a test has started. Killed on any way out of the test.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the command is there"))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id().try_into().expect("a pid")
    }

    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("and waited for");
    }
}
