//! The types of messages: their numbers, names and lengths, and who sends them.

use std::ops::RangeInclusive;

use super::message::Role;
use super::{MAX_FRAME, MAX_TEXT, MIN_FRAME};

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Who one is; once, before everything else.
    Hello,
    /// Why one goes; the last message, and the first where no hello is given.
    Refusal,
    /// A captured frame.
    Frame,
    /// The source VM has stopped.
    Stopped,
    /// Which frame is the first that the guest has not got.
    Cut,
    /// The destination VM runs.
    Resumed,
    /// Nothing is to be injected.
    Discard,
    /// No more frames.
    End,
    /// Up to where frames are dealt with.
    Ack,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

impl Kind {
    /// All, in the order of their numbers, which begin at 1.
    pub const ALL: [Self; 11] = [
        Self::Hello,
        Self::Refusal,
        Self::Frame,
        Self::Stopped,
        Self::Cut,
        Self::Resumed,
        Self::Discard,
        Self::End,
        Self::Ack,
        Self::Ping,
        Self::Pong,
    ];

    /// The type with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Refusal => 2,
            Self::Frame => 3,
            Self::Stopped => 4,
            Self::Cut => 5,
            Self::Resumed => 6,
            Self::Discard => 7,
            Self::End => 8,
            Self::Ack => 9,
            Self::Ping => 10,
            Self::Pong => 11,
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Refusal => "refusal",
            Self::Frame => "frame",
            Self::Stopped => "stopped",
            Self::Cut => "cut",
            Self::Resumed => "resumed",
            Self::Discard => "discard",
            Self::End => "end",
            Self::Ack => "ack",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    /// The only side that sends it; `None` if both do.
    #[must_use]
    pub const fn sender(self) -> Option<Role> {
        match self {
            Self::Frame | Self::Stopped | Self::Cut | Self::End => Some(Role::Source),
            Self::Resumed | Self::Ack => Some(Role::Destination),
            Self::Hello | Self::Refusal | Self::Discard | Self::Ping | Self::Pong => None,
        }
    }

    /// Bytes that such a message can have, its type among them.
    #[must_use]
    pub const fn lengths(self) -> RangeInclusive<usize> {
        const TYPE: usize = 1;
        const MAGIC_AND_VERSION: usize = 10;
        const STRING: usize = 2;
        const HELLO: usize = TYPE + MAGIC_AND_VERSION + 1 + 3 * 16 + 3 * STRING + 6 + 4 + 4 + 1 + 8 + 1;
        const REFUSAL: usize = TYPE + MAGIC_AND_VERSION + 2 + STRING;
        const FRAME: usize = TYPE + 8 + 8 + 10 + 1;
        const TAG: usize = 4;

        match self {
            Self::Hello => HELLO..=HELLO + 3 * MAX_TEXT + 1 + 8,
            Self::Refusal => REFUSAL..=REFUSAL + MAX_TEXT,
            Self::Frame => FRAME + MIN_FRAME..=FRAME + TAG + MAX_FRAME,
            Self::Stopped | Self::Resumed | Self::Ping => TYPE + 8..=TYPE + 8,
            Self::Cut => TYPE + 8 + 1 + 1..=TYPE + 8 + 1 + 1,
            Self::Discard => TYPE + STRING..=TYPE + STRING + MAX_TEXT,
            Self::End => TYPE + 4 * 8..=TYPE + 4 * 8,
            Self::Ack => TYPE + 5 * 8..=TYPE + 5 * 8,
            Self::Pong => TYPE + 2 * 8..=TYPE + 2 * 8,
        }
    }
}

/// Bytes of a message at most, its type among them.
pub(crate) const MAX_LENGTH: usize = *Kind::Frame.lengths().end();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_one_and_have_no_gap() {
        for (kind, number) in Kind::ALL.into_iter().zip(1..) {
            assert_eq!(kind.number(), number, "{kind:?}");
            assert_eq!(Kind::from_number(number), Some(kind));
        }
        assert_eq!((Kind::from_number(0), Kind::from_number(12)), (None, None));
    }

    #[test]
    fn only_frames_are_longer_than_four_kibibytes() {
        for kind in Kind::ALL {
            assert_eq!(*kind.lengths().end() > 4096, kind == Kind::Frame, "{kind:?}");
            assert!(*kind.lengths().end() <= MAX_LENGTH, "{kind:?}");
        }
    }
}
