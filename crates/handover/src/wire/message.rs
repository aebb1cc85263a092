//! What source and destination can say.

use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;

use super::kind::Kind;

/// One message. What is rare owns its words; a frame lies where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Who one is; once, before everything else.
    Hello(Hello),
    /// Why one goes; the last message, and the first where no hello is given.
    Refusal(Refusal),
    /// From the source: a captured frame.
    Frame(Frame<'a>),
    /// From the source: the VM has stopped there.
    Stopped {
        /// When, by the source's clock: nanoseconds since 1970.
        at_ns: u64,
    },
    /// From the source: which frame is the first that the guest has not got.
    Cut(Cut),
    /// From the destination: the VM runs there.
    Resumed {
        /// Since when, by the destination's clock: nanoseconds since 1970.
        at_ns: u64,
    },
    /// The migration came to nothing: what was sent is to be forgotten, nothing is injected.
    Discard {
        /// Why, in one line.
        reason: &'a str,
    },
    /// From the source: no more frames.
    End(End),
    /// From the destination: up to where frames are dealt with.
    Ack(Ack),
    /// Are you there?
    Ping {
        /// When it was sent, by the sender's clock. Comes back in the pong.
        sent_ns: u64,
    },
    /// I am.
    Pong {
        /// The ping's `sent_ns`.
        ping_ns: u64,
        /// When the ping was received, by the clock of this message's sender.
        received_ns: u64,
    },
}

impl Message<'_> {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Refusal(_) => Kind::Refusal,
            Self::Frame(_) => Kind::Frame,
            Self::Stopped { .. } => Kind::Stopped,
            Self::Cut(_) => Kind::Cut,
            Self::Resumed { .. } => Kind::Resumed,
            Self::Discard { .. } => Kind::Discard,
            Self::End(_) => Kind::End,
            Self::Ack(_) => Kind::Ack,
            Self::Ping { .. } => Kind::Ping,
            Self::Pong { .. } => Kind::Pong,
        }
    }
}

/// Which side one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Where the VM comes from.
    Source,
    /// Where it goes to.
    Destination,
    /// Either of them, for a look: what it says of itself holds, and there is no handover.
    Rehearsal,
}

impl Role {
    /// All, in the order of their numbers, which begin at 1.
    pub const ALL: [Self; 3] = [Self::Source, Self::Destination, Self::Rehearsal];

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Source => 1,
            Self::Destination => 2,
            Self::Rehearsal => 3,
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Rehearsal => "rehearsal",
        }
    }
}

/// Who a side is, and what its netdev is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Which side.
    pub role: Role,
    /// Made by the source, one for each time that it is armed; the destination repeats it. Indices count within it.
    /// Zero: a rehearsal, which has none.
    pub session: u128,
    /// One for each process and netdev: another one is a tapferry that was started anew. Zero: a rehearsal.
    pub instance: u128,
    /// The version of the sender's tapferry, for people. As long as a name may be.
    pub tapferry: String,
    /// QEMU's UUID of the VM, in the order in which it is written; zeros: not known.
    pub vm_uuid: [u8; 16],
    /// QEMU's name of the VM; empty: it has none. At most [`MAX_TEXT`](super::MAX_TEXT) bytes, no control characters.
    pub vm_name: String,
    /// QEMU's id of the netdev. As long as a name may be.
    pub netdev_id: String,
    /// The network card's address; zeros: not known.
    pub mac: [u8; 6],
    /// The interface's MTU, in bytes.
    pub mtu: u32,
    /// The offloads that are on, as bits: `TUN_F_*` of `linux/if_tun.h`. Those that the guest has allowed for what it
    /// receives; none while its VM waits to be migrated.
    pub offloads: u32,
    /// Whether a virtio-net header goes before each frame between QEMU and the interface; `None`: not known.
    pub vnet_hdr: Option<bool>,
    /// The sender's clock when it wrote this: nanoseconds since 1970.
    pub realtime_ns: u64,
    /// From the destination: the first index of this session that it still wants; `None`: it knows nothing of the
    /// session. From the source: `None`.
    pub next_index: Option<u64>,
}

/// Why one goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: one line. [`encode`](super::encode()) makes it one, and cuts it to
    /// [`MAX_TEXT`](super::MAX_TEXT) bytes.
    pub text: String,
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// Another version of the protocol.
    Version,
    /// Both are the source, or both the destination.
    Role,
    /// Another VM.
    OtherVm,
    /// There is no such netdev.
    UnknownNetdev,
    /// Another connection has this netdev.
    Busy,
    /// Not in this state: the handover is over, or has not begun.
    State,
    /// What was received is not the protocol.
    Malformed,
}

impl RefusalCode {
    /// All, in the order of their numbers, which begin at 1.
    pub const ALL: [Self; 7] = [
        Self::Version,
        Self::Role,
        Self::OtherVm,
        Self::UnknownNetdev,
        Self::Busy,
        Self::State,
        Self::Malformed,
    ];

    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::Role => 2,
            Self::OtherVm => 3,
            Self::UnknownNetdev => 4,
            Self::Busy => 5,
            Self::State => 6,
            Self::Malformed => 7,
        }
    }
}

/// A captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its place among the captured frames of the session, from 0 on.
    pub index: u64,
    /// When the source's kernel saw it: nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// What offloads left undone on it.
    pub vnet: VnetHeader,
    /// The VLAN tag that the kernel held beside it.
    pub tag: Option<VlanTag>,
    /// From its Ethernet header on: [`MIN_FRAME`](super::MIN_FRAME) to [`MAX_FRAME`](super::MAX_FRAME) bytes.
    pub bytes: &'a [u8],
}

/// Which frame is the first that the guest has not got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The frame's index; one past the last if the guest has got all.
    pub index: u64,
    /// Whether it stays so. A provisional cut is never below the final one.
    pub is_final: bool,
    /// How it was found.
    pub method: Method,
}

/// How a cut was found, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// By the lengths in the virtqueue's used ring.
    UsedRing,
    /// By the virtqueue's used index.
    UsedIndex,
    /// By the same, as the VM's monitor has told it. The guest may lack one or two before it.
    QueueStatus,
    /// By the interface's count of frames that QEMU has read. The guest may lack two before it.
    TxPackets,
    /// By the time of STOP.
    Timestamp,
}

impl Method {
    /// The stable name, as in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsedRing => "used_ring",
            Self::UsedIndex => "used_index",
            Self::QueueStatus => "queue_status",
            Self::TxPackets => "tx_packets",
            Self::Timestamp => "timestamp",
        }
    }

    /// All, in the order of their numbers, which begin at 1.
    pub const ALL: [Self; 5] =
        [Self::UsedRing, Self::UsedIndex, Self::QueueStatus, Self::TxPackets, Self::Timestamp];

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::UsedRing => 1,
            Self::UsedIndex => 2,
            Self::QueueStatus => 3,
            Self::TxPackets => 4,
            Self::Timestamp => 5,
        }
    }
}

/// No more frames, and what became of those there were at the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// One past the last index of the session.
    pub next_index: u64,
    /// Frames captured.
    pub captured: u64,
    /// Frames sent, each counted once.
    pub sent: u64,
    /// Frames that should have been sent and could not: the hold was full, or the kernel had no room.
    pub lost: u64,
}

/// Up to where frames are dealt with, and what became of them at the destination: counts since the session began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ack {
    /// All below are dealt with and will never be asked for again.
    pub next_index: u64,
    /// Frames that had to wait for the cut.
    pub parked: u64,
    /// Frames injected.
    pub injected: u64,
    /// Frames that had reached the interface directly as well.
    pub deduplicated: u64,
    /// Frames that could not be injected.
    pub dropped: u64,
}
