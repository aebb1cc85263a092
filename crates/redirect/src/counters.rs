//! Where every captured frame ends: forwarded, held, or dropped for a named reason.
//!
//! The counters belong to the redirector's thread alone; others see copies that the thread made between
//! two frames, so the sum is exact in each: `captured = forwarded + dropped + held`.

use std::fmt;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable name, as in statistics and documentation.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

drop_reasons! {
    /// The gate was closed when the frame was sent.
    GateClosed = "gate_closed",
    /// The gate was closed as far as was known, and the pre-roll had no room to wait for an event.
    PreRollFull = "pre_roll_full",
    /// The kernel found no room in the capture ring or receive buffer; also in that of a dgram indev.
    RingFull = "ring_full",
    /// Longer than the output's MTU or a datagram allows, and not a frame that may be segmented.
    TooLong = "too_long",
    /// The output interface was down.
    OutputDown = "output_down",
    /// The output interface did not exist.
    OutputMissing = "output_missing",
    /// The output's queue was full, or the buffer before an output that takes no more.
    OutputFull = "output_full",
    /// outdev had no peer connected, or nobody takes its datagrams.
    NoPeer = "no_peer",
    /// The buffer was full of frames on hold.
    HoldFull = "hold_full",
    /// The capture held less than the frame: never sent cut.
    Truncated = "truncated",
    /// Offloads that a virtio-net header cannot express, or of a kind not known here.
    UnsupportedOffload = "unsupported_offload",
    /// Not an Ethernet frame, or its virtio-net header contradicts it.
    Malformed = "malformed",
    /// The kernel refused it for another reason; `last_error` has the latest.
    Refused = "refused",
    /// `--count` frames had been forwarded already.
    CountReached = "count_reached",
    /// Still waiting for the output when the redirector was stopped.
    Stopped = "stopped",
}

impl DropReason {
    /// What to tell an operator the first time. `None` for what is expected, or told as an event.
    pub(crate) fn warning(self) -> Option<&'static str> {
        match self {
            Self::GateClosed
            | Self::OutputDown
            | Self::OutputMissing
            | Self::CountReached
            | Self::Stopped => None,
            Self::PreRollFull => Some("the pre-roll is full: its oldest frames give way"),
            Self::RingFull => Some("frames come faster than they are taken: the kernel drops some"),
            Self::TooLong => {
                Some("frames are longer than the output's MTU or a datagram, and cannot be cut smaller")
            }
            Self::OutputFull => Some("the output takes frames more slowly than they come"),
            Self::NoPeer => Some("no peer is connected, and frames are dropped until one is"),
            Self::HoldFull => Some("the buffer is full of frames on hold"),
            Self::Truncated => Some("frames are longer than a capture can hold, and none is sent cut"),
            Self::UnsupportedOffload => {
                Some("frames have offloads that cannot be told to the output, as inside a tunnel")
            }
            Self::Malformed => Some("frames are no Ethernet frames, or contradict their own headers"),
            Self::Refused => Some("the kernel refuses frames"),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Frames dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped([u64; DropReason::ALL.len()]);

impl Default for Dropped {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Dropped {
    /// Frames dropped for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Frames dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().map(|reason| (*reason, self.of(*reason)))
    }
}

/// The frame counters of a redirector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames taken from the capture, and those the kernel had no room for.
    pub captured: u64,
    /// Bytes of the frames taken from the capture, tags included.
    pub captured_bytes: u64,
    /// Frames that the output took.
    pub forwarded: u64,
    /// Their bytes.
    pub forwarded_bytes: u64,
    /// Forwarded before it was known that the gate had closed, though stamped after; part of `forwarded`.
    pub forwarded_late: u64,
    /// Frames that wait: in the pre-roll, on hold, or for the output.
    pub held: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// Frames dropped, by reason.
    pub dropped: Dropped,
}

impl Counters {
    pub(crate) fn capture(&mut self, frames: usize, bytes: usize) {
        self.captured += count(frames);
        self.captured_bytes += count(bytes);
    }

    pub(crate) fn forward(&mut self, bytes: usize) {
        self.forwarded += 1;
        self.forwarded_bytes += count(bytes);
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    pub(crate) fn drop_many(&mut self, reason: DropReason, frames: u64) {
        self.dropped.0[reason as usize] += frames;
    }

    /// Frames that the kernel counted but had no room for.
    pub(crate) fn overflow(&mut self, frames: u64) {
        self.captured += frames;
        self.drop_many(DropReason::RingFull, frames);
    }

    /// Whether every captured frame is accounted for.
    pub fn balance(&self) -> bool {
        self.captured == self.forwarded + self.dropped.total() + self.held
    }
}

/// How frames are captured at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Through a TPACKET_V3 ring.
    Ring,
    /// Through recvmmsg on a plain socket.
    Socket,
    /// Not captured: a peer sends them.
    Stream,
    /// Not at all: the gate is closed for good, or the interface is missing.
    Closed,
}

/// How often and how long an interface was down or missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outages {
    /// Outages begun, one still going on included.
    pub count: u64,
    /// Their length in nanoseconds, one still going on included.
    pub total_ns: u64,
}

/// A copy of all that a redirector counts, at one moment.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Frames.
    pub counters: Counters,
    /// Whether the gate is open.
    pub gate_open: bool,
    /// `status`.
    pub status: bool,
    /// Whether the VM runs, as far as is known.
    pub running: bool,
    /// How frames are captured.
    pub engine: Engine,
    /// Growth of the output's tx_dropped since the start, whoever sent; outside the sum of the frames.
    pub lost_at_output: u64,
    /// Outages of the input.
    pub input_outages: Outages,
    /// Outages of the output.
    pub output_outages: Outages,
    /// Connections that were closed because what the peer sent was no stream of frames.
    pub framing_errors: u64,
    /// Connections that TLS refused, here or at the peer, or that broke its rules.
    pub tls_failures: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

pub(crate) fn count(len: usize) -> u64 {
    // A usize has at most 64 bits.
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_in_snake_case() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn an_overflow_of_the_kernel_is_captured_and_dropped() {
        let mut counters = Counters::default();
        counters.capture(1, 64);
        counters.forward(64);
        counters.overflow(3);
        assert_eq!(counters.captured, 4);
        assert_eq!(counters.dropped.of(DropReason::RingFull), 3);
        assert!(counters.balance());
    }
}
