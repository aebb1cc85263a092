//! The frames of the measurements, and the host that sends them.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{Timespec, clock_gettime};
use tapferry_sys::netdev::{self, InterfaceName};
use tapferry_sys::packet::{Binding, PacketSocket};
use tapferry_testbed::craft::Packet;
use tapferry_testbed::vnet;

use crate::error::{Context, Result};
use crate::figures::float;
use crate::peers::{self, Field};
use crate::rig::{FRAME_MAX, Rig};

/// Where the time of sending stands in a frame: behind the Ethernet header.
const STAMP_OFFSET: usize = 14;
/// Payload bytes of a segment: what fits an MTU of 1500 beside the headers and TCP's timestamps.
const SEGMENT: u16 = 1448;
/// As many as a TAP takes in one frame: beyond 64 KiB with all headers the kernel would cut it up.
const SEGMENTS: usize = 45;
/// IEEE 802 local experimental 1.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A frame of so many bytes.
    Plain(usize),
    /// TCP over IPv4, [`SEGMENTS`] of [`SEGMENT`] bytes in one.
    Gso,
}

/// Where what is sent comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Of another TAP.
    Tap,
    /// Of a unix socket.
    Stream,
}

/// What is sent, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    /// As in tables and on the command line.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    pub(crate) to: To,
    /// Frames a second.
    pub(crate) rate: u32,
    /// Frames sent in one go; 1: evenly spaced.
    pub(crate) burst: u32,
    /// Also measured in quick mode.
    pub(crate) quick: bool,
}

/// The cases in which CPU time is measured.
pub(crate) const CPU_CASES: &[Case] = &[
    burst("64-burst", "64 bytes, 100 kpps in bursts of 32", 64, true),
    burst("512-burst", "512 bytes, 100 kpps in bursts of 32", 512, false),
    burst("1514-burst", "1514 bytes, 100 kpps in bursts of 32", 1514, true),
    even("64-even", "64 bytes, 40 kpps evenly spaced", 64, true),
    even("512-even", "512 bytes, 40 kpps evenly spaced", 512, false),
    even("1514-even", "1514 bytes, 40 kpps evenly spaced", 1514, false),
    GSO_BURST,
    Case {
        name: "gso-even",
        about: "64 KiB GSO frames, 4 kpps evenly spaced",
        kind: Kind::Gso,
        to: To::Tap,
        rate: 4_000,
        burst: 1,
        quick: false,
    },
];

/// The case in which it is looked at, too, whether GSO frames arrive as they were sent.
pub(crate) const GSO_BURST: Case = Case {
    name: "gso-burst",
    about: "64 KiB GSO frames, 4 kpps in bursts of 4",
    kind: Kind::Gso,
    to: To::Tap,
    rate: 4_000,
    burst: 4,
    quick: true,
};

/// The cases in which frames go to a unix socket: at a rate that every peer can take, for CPU time, and as fast as
/// the sender can.
pub(crate) const STREAM_CASES: &[Case] = &[
    Case {
        name: "stream-1514",
        about: "1514 bytes to a unix stream, 40 kpps in bursts of 32",
        kind: Kind::Plain(1514),
        to: To::Stream,
        rate: 40_000,
        burst: 32,
        quick: true,
    },
    Case {
        name: "stream-gso",
        about: "64 KiB GSO frames to a unix stream, 4 kpps in bursts of 4",
        to: To::Stream,
        ..GSO_BURST
    },
];

/// The cases in which the rate without loss is searched for; their own rates do not count.
pub(crate) const LOSS_FREE_CASES: &[Case] = &[
    burst("64-burst", "64 bytes in bursts of 32", 64, true),
    burst("1514-burst", "1514 bytes in bursts of 32", 1514, false),
];

/// The case in which latency is measured. Not quite 1000 a second, so that the frames drift through every
/// phase of a forwarder's millisecond timer instead of meeting always the same one.
pub(crate) const LATENCY_CASE: Case = Case {
    name: "latency",
    about: "64 bytes, 997 frames/s evenly spaced",
    kind: Kind::Plain(64),
    to: To::Tap,
    rate: 997,
    burst: 1,
    quick: true,
};

/// What finds out whether a forwarder forwards. Of a length that no case has, so that a frame that a forwarder
/// keeps back is not taken for what is measured.
pub(crate) const PRIMER: Case = Case {
    name: "primer",
    about: "60 bytes",
    kind: Kind::Plain(60),
    to: To::Tap,
    rate: 200,
    burst: 1,
    quick: true,
};

const fn burst(name: &'static str, about: &'static str, size: usize, quick: bool) -> Case {
    Case { name, about, kind: Kind::Plain(size), to: To::Tap, rate: 100_000, burst: 32, quick }
}

const fn even(name: &'static str, about: &'static str, size: usize, quick: bool) -> Case {
    Case { name, about, kind: Kind::Plain(size), to: To::Tap, rate: 40_000, burst: 1, quick }
}

impl Case {
    /// Whom the peers are compared with.
    pub(crate) fn reference(&self) -> &'static str {
        match self.field() {
            Field::Plain => peers::REFERENCE,
            Field::Gso => peers::GSO_REFERENCE,
            Field::Stream | Field::GsoStream => peers::STREAM_REFERENCE,
        }
    }

    /// Who takes part.
    pub(crate) fn field(&self) -> Field {
        match (self.to, self.kind) {
            (To::Tap, Kind::Plain(_)) => Field::Plain,
            (To::Tap, Kind::Gso) => Field::Gso,
            (To::Stream, Kind::Plain(_)) => Field::Stream,
            (To::Stream, Kind::Gso) => Field::GsoStream,
        }
    }

    /// The frame, behind a virtio-net header where one is needed.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self.kind {
            Kind::Plain(size) => {
                let mut frame = vec![0; size];
                frame[..6].fill(0xff);
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
                frame[12..14].copy_from_slice(&ETHERTYPE);
                frame
            }
            Kind::Gso => {
                let frame = Packet::default().tcp_gso(0, SEGMENTS * usize::from(SEGMENT), SEGMENT);
                [frame.header.to_bytes(vnet::LENGTH_LEGACY), frame.bytes].concat()
            }
        }
    }

    /// Bytes of the frame on the interface.
    pub(crate) fn frame_length(&self) -> usize {
        match self.kind {
            Kind::Plain(size) => size,
            Kind::Gso => self.bytes().len() - vnet::LENGTH_LEGACY,
        }
    }

    /// The same as a count.
    pub(crate) fn frame_bytes(&self) -> u64 {
        u64::try_from(self.frame_length()).unwrap_or(u64::MAX)
    }

    /// Into how many frames the frame may be cut up, and the bytes of each; all are of the same length.
    pub(crate) fn segments(&self) -> (usize, usize) {
        match self.kind {
            Kind::Plain(size) => (1, size),
            Kind::Gso => (SEGMENTS, self.frame_length() - (SEGMENTS - 1) * usize::from(SEGMENT)),
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) frames: u64,
    /// The sending thread's CPU time in and between the calls of a burst; its waiting is left out.
    pub(crate) cpu: Duration,
    /// How long it took, waiting and all.
    pub(crate) sending: Duration,
}

/// How fast to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// Frames a second.
    PerSecond(f64),
    /// As fast as the sender can.
    Unlimited,
}

/// What was sent by somebody who also looked at what came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchanged {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) sending: Duration,
}

impl Exchanged {
    /// Frames a second.
    pub(crate) fn rate(&self) -> f64 {
        float(self.sent) / self.sending.as_secs_f64()
    }
}

/// When a frame of [`Host::exchange`] was sent, on CLOCK_MONOTONIC, in nanoseconds. `frame` begins with the
/// virtio-net header of the TAP.
pub(crate) fn stamp_of(frame: &[u8]) -> Option<u64> {
    let stamp = frame.get(vnet::LENGTH_MODERN + STAMP_OFFSET..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*stamp))
}

/// A host that sends into an interface.
pub(crate) struct Host {
    socket: PacketSocket,
    bytes: Vec<u8>,
    case: Case,
}

impl Host {
    pub(crate) fn open(interface: &str, case: Case) -> Result<Self> {
        let name = InterfaceName::new(interface).on("naming", "an interface")?;
        let socket = PacketSocket::open().on("socket(AF_PACKET)", interface)?;
        if case.kind == Kind::Gso {
            socket.enable_vnet_header().on("PACKET_VNET_HDR", interface)?;
        }
        let ifindex = netdev::ifindex(&socket, &name).on("SIOCGIFINDEX", interface)?;
        socket.bind(ifindex, Binding::SendOnly).on("bind", interface)?;
        Ok(Self { socket, bytes: case.bytes(), case })
    }

    /// Sends a single frame.
    pub(crate) fn send_one(&self) -> Result<()> {
        self.send(&self.bytes)
    }

    /// Sends for that long, and measures what it costs the calling thread.
    pub(crate) fn send_for(&self, duration: Duration) -> Result<Sent> {
        let mut sent = Sent::default();
        let start = monotonic();
        loop {
            let due = self.due(sent.frames);
            if due >= duration {
                sent.sending = monotonic() - start;
                return Ok(sent);
            }
            // A sleep takes longer than the space between evenly spaced frames.
            if self.case.burst == 1 {
                spin_until(start + due);
            } else {
                sleep_until(start + due)?;
            }
            let before = thread_cpu();
            for _ in 0..self.case.burst {
                self.send(&self.bytes)?;
            }
            sent.cpu += thread_cpu() - before;
            sent.frames += u64::from(self.case.burst);
        }
    }

    /// Sends for that long, and is the guest behind the output at the same time: the calling thread never
    /// sleeps, so that nobody has to wake it. Then reads for `patience`, or until all have come. The guest behind
    /// the input reads nothing meanwhile: its share of the core is the sender's.
    ///
    /// Plain frames bear the time of their sending ([`stamp_of`]). A sender that falls behind does not make up
    /// for it: bursts stay as far apart as they are meant to be.
    pub(crate) fn exchange(
        &self,
        rig: &Rig,
        rate: Rate,
        duration: Duration,
        patience: Duration,
        mut arrive: impl FnMut(&[u8], Duration) -> bool,
    ) -> Result<Exchanged> {
        let mut buffer = vec![0; FRAME_MAX];
        let primer = PRIMER.frame_length();
        let mut arrived = 0;
        let mut read = || {
            rig.read_output(&mut buffer, |frame| {
                let is_primer = frame.len() == vnet::LENGTH_MODERN + primer;
                arrived += u64::from(!is_primer && arrive(frame, monotonic()));
            })?;
            Ok(arrived)
        };
        let Sent { frames: sent, sending, .. } = self.send_beside(rate, duration, || read().map(drop))?;
        let end = monotonic();
        let arrived = loop {
            let arrived = read()?;
            if arrived >= sent || monotonic() >= end + patience {
                break arrived;
            }
        };
        Ok(Exchanged { sent, lost: sent.saturating_sub(arrived), sending })
    }

    /// Sends for that long, and does something else whenever no frame is due. As [`Self::exchange`] does it.
    pub(crate) fn send_beside(
        &self,
        rate: Rate,
        duration: Duration,
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<Sent> {
        let mut bytes = self.bytes.clone();
        let gap = match rate {
            Rate::PerSecond(rate) => Duration::from_secs_f64(f64::from(self.case.burst) / rate),
            Rate::Unlimited => Duration::ZERO,
        };
        let mut sent = Sent::default();
        let start = monotonic();
        let mut due = start;
        loop {
            let now = monotonic();
            if now >= start + duration {
                sent.sending = now - start;
                return Ok(sent);
            }
            if now >= due {
                let before = thread_cpu();
                for _ in 0..self.case.burst {
                    if let Kind::Plain(_) = self.case.kind {
                        let stamp = nanoseconds(monotonic()).to_ne_bytes();
                        bytes[STAMP_OFFSET..STAMP_OFFSET + stamp.len()].copy_from_slice(&stamp);
                    }
                    self.send(&bytes)?;
                }
                sent.cpu += thread_cpu() - before;
                sent.frames += u64::from(self.case.burst);
                due = monotonic().max(due + gap);
            }
            between()?;
        }
    }

    fn due(&self, frame: u64) -> Duration {
        Duration::from_nanos(frame * 1_000_000_000 / u64::from(self.case.rate))
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        loop {
            match rustix::io::write(&self.socket, bytes) {
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None).on("poll", "the sender")?;
                }
                result => return result.map(drop).on("send", "the sender"),
            }
        }
    }
}

/// CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> Duration {
    to_duration(clock_gettime(rustix::time::ClockId::Monotonic))
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn thread_cpu() -> Duration {
    to_duration(clock_gettime(rustix::time::ClockId::ThreadCPUTime))
}

fn to_duration(time: Timespec) -> Duration {
    // The kernel never says a negative time for these clocks.
    Duration::try_from(time).unwrap_or_default()
}

fn spin_until(due: Duration) {
    while monotonic() < due {
        std::hint::spin_loop();
    }
}

fn sleep_until(due: Duration) -> Result<()> {
    let due = Timespec::try_from(due).on("sleeping", "a time beyond the kernel's range")?;
    loop {
        match clock_nanosleep_absolute(ClockId::Monotonic, &due) {
            Err(Errno::INTR) => {}
            result => return result.on("clock_nanosleep", "the sender"),
        }
    }
}
