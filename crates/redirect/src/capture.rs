//! The capture of a redirector: a plain socket, a ring, or the one that suits the traffic.
//!
//! An armed ring raises 250 timer interrupts a second and takes 80 MiB even when no frame comes; a
//! plain socket wakes its reader, at the sender's expense, for every frame. So a balanced capture begins
//! on a socket, moves to a ring when frames come fast, and back when they have ceased.
//!
//! ```text
//! Settled --> Opening --> Trailing --> Closing --> Settled
//!             both are    the cut is made: the new source is read,
//!             hooked      and of the old one what was sent before
//! ```
//!
//! Moving loses nothing and takes nothing twice: for a while both sources are hooked, and a moment in that
//! time is the cut. The kernel stamps a frame once for all its readers, so each frame is on one side of the
//! cut: what was sent before is taken from the old source, the rest from the new one. A grace period of the
//! kernel before the cut and one after make each side complete, however long a CPU took over a frame. All that the
//! kernel takes its time for, closing as well, happens on another thread, and frames are taken meanwhile.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tapferry_sys::filter::Program;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::packet::Binding;
use tapferry_sys::stamping::Stamping;
use tapferry_sys::{Errno, Error, clock};

use crate::counters::Engine;
use crate::frame::{Frame, FrameSource};
use crate::plan::{Latency, Netdev};
use crate::source::Source;
use crate::successor::{Stage, Successor};
use crate::traffic::{Move, Traffic};
use crate::worker::nanos;

/// Between two looks at a move under way, when no frame comes.
const LOOK: Duration = Duration::from_millis(5);

/// An open capture on an interface.
pub struct Capture {
    netdev: Netdev,
    filter: Program,
    /// The interface, if it is to be in promiscuous mode for as long as this is open.
    promiscuous: Option<IfIndex>,
    source: Source,
    /// Frames of the source stamped before belong to its predecessor (nanoseconds since 1970).
    from: u64,
    moving: Moving,
    /// Which source the frames at hand are of.
    at_hand: AtHand,
    /// What the kernel had no room for in the source's predecessors, and was not asked for yet.
    overflow: u64,
    /// Only a balanced capture moves.
    traffic: Option<Traffic>,
    /// Both sources are given the same timestamps, from the first frame on.
    _stamping: Stamping,
}

/// A move from one source to another.
enum Moving {
    Settled,
    /// The new source is on its way; the interface may have come back under another number meanwhile.
    Opening(Successor, Option<IfIndex>),
    /// The cut is made. The old source may still be given frames from before it.
    Trailing(Predecessor),
    /// The old source has nothing more.
    Closing(Successor),
}

struct Predecessor {
    source: Source,
    /// Frames stamped from here on are the successor's (nanoseconds since 1970).
    until: u64,
    /// Waits for the grace period after the cut.
    successor: Successor,
    /// That is over, and the source takes no more.
    has_passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtHand {
    Predecessor,
    Source,
}

impl Capture {
    /// Opens a capture of what passes `filter`, in the way that suits `latency`.
    pub fn open(netdev: &Netdev, filter: Program, latency: Latency) -> Result<Self, Error> {
        let stamping = Stamping::start().map_err(Error::on("enable timestamps", netdev.name.as_str()))?;
        let mut source = Source::socket(netdev, &filter)?;
        let mut traffic = (latency == Latency::Balanced).then(Traffic::new);
        if traffic.is_some() && !source.bridges_bursts() {
            // A burst would overflow it before a ring is there, so there is one from the beginning.
            source = Source::ring(netdev, &filter)?;
            traffic = None;
        }
        Ok(Self {
            netdev: netdev.clone(),
            filter,
            promiscuous: None,
            source,
            from: 0,
            moving: Moving::Settled,
            at_hand: AtHand::Source,
            overflow: 0,
            traffic,
            _stamping: stamping,
        })
    }

    pub(crate) fn engine(&self) -> Engine {
        self.source.engine()
    }

    /// Whether it has room for what comes in the time that a busy host takes to read it.
    pub fn bridges_bursts(&self) -> bool {
        self.source.bridges_bursts()
    }

    /// Follows the interface to its new ifindex.
    pub fn rebind(&mut self, ifindex: IfIndex) -> Result<(), Errno> {
        if let Moving::Opening(_, rebound) = &mut self.moving {
            *rebound = Some(ifindex);
        }
        self.sources().try_for_each(|source| source.packet_socket().bind(ifindex, Binding::Capture))
    }

    /// Sets the interface to promiscuous mode for as long as this is open.
    pub(crate) fn join_promiscuous(&mut self, ifindex: IfIndex) -> Result<(), Errno> {
        self.promiscuous = Some(ifindex);
        self.sources().try_for_each(|source| source.packet_socket().join_promiscuous(ifindex))
    }

    /// Clears the error that keeps a ring's descriptor from being waited for.
    pub fn take_error(&self) {
        for source in self.sources() {
            source.packet_socket().take_error().ok();
        }
    }

    /// Asks the kernel what it counted since the last time, and returns the frames it had no room for.
    pub fn take_overflow(&mut self) -> u64 {
        std::mem::take(&mut self.overflow) + self.source.take_overflow()
    }

    /// From now on nothing new is captured; what is there already can still be read.
    pub fn refuse_more(&mut self) {
        self.traffic = None;
        // Before the cut the new source has nothing that the old one does not have.
        if matches!(self.moving, Moving::Opening(..)) {
            self.moving = Moving::Settled;
        }
        for source in self.sources() {
            source.refuse_more();
        }
    }

    /// Whether every frame that the kernel delivered has been taken. Only as fresh as the last
    /// [`Capture::take_overflow`].
    pub fn is_drained(&self) -> bool {
        matches!(self.moving, Moving::Settled | Moving::Closing(..)) && self.source.is_drained()
    }

    /// After a step of the clock, old and new timestamps do not compare: what is captured from now on is the
    /// new source's, and what the old one still has was sent before.
    pub fn forget_history(&mut self) {
        self.from = 0;
        if let Moving::Trailing(old) = &self.moving {
            old.source.refuse_more();
        }
    }

    /// Moves to the other way of capturing when the traffic calls for it; one step a call. Says whether
    /// the first of the descriptors is a new one. One that is not needed any more is closed.
    ///
    /// An error is a source that could not be had: the capture goes on as it is.
    pub(crate) fn adapt(&mut self, now: u64) -> Result<bool, Error> {
        match std::mem::replace(&mut self.moving, Moving::Settled) {
            Moving::Settled => {
                let engine = self.engine();
                let wanted = self.traffic.as_mut().and_then(|traffic| traffic.wanted(engine, now));
                // Without stamps nobody could say on which side of the cut a frame is.
                if let Some(way) = wanted.filter(|_| self.source.is_stamping()) {
                    self.begin(way).or_else(|error| self.stay(error, now))?;
                }
            }
            Moving::Opening(successor, rebound) => match successor.poll() {
                Some(Ok(Stage::Hooked(source))) => {
                    if let Some(ifindex) = rebound {
                        source.packet_socket().bind(ifindex, Binding::Capture).ok();
                    }
                    self.cut(source, successor);
                    return Ok(true);
                }
                Some(Err(error)) => self.stay(error, now)?,
                None | Some(Ok(Stage::Passed | Stage::Closed)) => {
                    self.moving = Moving::Opening(successor, rebound);
                }
            },
            Moving::Trailing(mut old) => {
                if !old.has_passed && old.successor.has_passed() {
                    old.source.refuse_more();
                    old.has_passed = true;
                }
                // What overflows here from now on was sent after the cut.
                old.source.take_overflow();
                let until = old.until;
                let empty = old.source.fill_with(|timestamp| timestamp < until) == Ok(false);
                self.moving = if old.has_passed && empty && old.source.is_drained() {
                    old.successor.close(old.source);
                    Moving::Closing(old.successor)
                } else {
                    Moving::Trailing(old)
                };
            }
            Moving::Closing(successor) => {
                if !successor.has_closed() {
                    self.moving = Moving::Closing(successor);
                }
            }
        }
        Ok(false)
    }

    /// When [`Capture::adapt`] wants to be called although nothing happens (CLOCK_MONOTONIC, nanoseconds).
    pub(crate) fn adapt_at(&self, now: u64) -> Option<u64> {
        match (&self.moving, &self.traffic) {
            (Moving::Settled, Some(traffic)) if self.engine() == Engine::Ring => Some(traffic.idle_at()),
            (Moving::Settled, _) => None,
            _ => Some(now + nanos(LOOK)),
        }
    }

    /// Makes the cut: what was taken so far was sent before, what is sent from now on reaches both sources.
    fn cut(&mut self, mut source: Source, successor: Successor) {
        self.overflow += self.source.take_overflow();
        // Everything in it so far is in the old source as well, and must not take room.
        source.discard();
        self.from = clock::realtime_ns();
        let old = std::mem::replace(&mut self.source, source);
        successor.cut();
        self.moving =
            Moving::Trailing(Predecessor { source: old, until: self.from, successor, has_passed: false });
        self.at_hand = AtHand::Source;
    }

    fn begin(&mut self, way: Move) -> Result<(), Error> {
        let successor = Successor::begin(way, &self.netdev, &self.filter, self.promiscuous)?;
        self.moving = Moving::Opening(successor, None);
        Ok(())
    }

    /// Goes on as it is for a while. An interface that is gone is no error: its return will be announced.
    fn stay(&mut self, error: Error, now: u64) -> Result<(), Error> {
        if let Some(traffic) = &mut self.traffic {
            traffic.note_refusal(now);
        }
        if error.errno == Errno::NODEV { Ok(()) } else { Err(error) }
    }

    /// What to wait for: the source's descriptor, and its predecessor's while there is one.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources().map(AsFd::as_fd)
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        let old = match &self.moving {
            Moving::Trailing(old) => Some(&old.source),
            Moving::Settled | Moving::Opening(..) | Moving::Closing(..) => None,
        };
        std::iter::once(&self.source).chain(old)
    }
}

impl FrameSource for Capture {
    fn fill(&mut self) -> Result<bool, Errno> {
        if let Moving::Trailing(Predecessor { source, until, .. }) = &mut self.moving {
            self.at_hand = AtHand::Predecessor;
            if source.fill_with(|timestamp| timestamp < *until)? {
                return Ok(true);
            }
        }
        self.at_hand = AtHand::Source;
        let from = self.from;
        self.source.fill_with(|timestamp| timestamp >= from)
    }

    /// Up to a frame that is left to the other source.
    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let (source, ours) = match (&self.moving, self.at_hand) {
            (Moving::Trailing(old), AtHand::Predecessor) => (&old.source, 0..old.until),
            _ => (&self.source, self.from..u64::MAX),
        };
        source.frames().take_while(move |frame| ours.contains(&frame.timestamp_ns)).map(Frame::from)
    }

    fn advance(&mut self, frames: usize) {
        match (&mut self.moving, self.at_hand) {
            (Moving::Trailing(old), AtHand::Predecessor) => old.source.advance(frames),
            _ => self.source.advance(frames),
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.note(frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use tapferry_sys::filter::Direction;
    use tapferry_testbed::namespace::{Namespace, Skip};
    use tapferry_testbed::probe::{self, Probe};
    use tapferry_testbed::sender::Sender;
    use tapferry_testbed::tap::{Tap, TapOptions};

    use super::*;

    fn open() -> Capture {
        let netdev = Netdev::here("tapA").unwrap();
        Capture::open(&netdev, Program::capture(Direction::Outgoing, 1), Latency::Balanced).unwrap()
    }

    /// Takes what is there; how often each number came.
    fn take(capture: &mut Capture, seen: &mut BTreeMap<u64, u32>) {
        while capture.fill().unwrap() {
            let numbers: Vec<_> = capture
                .frames()
                .filter_map(|frame| probe::parse(frame.captured.bytes))
                .map(|(record, _)| record)
                .collect();
            for record in &numbers {
                *seen.entry(record.sequence).or_default() += 1;
            }
            capture.advance(numbers.len());
        }
    }

    /// Moves the capture to a ring as far as the cut.
    fn move_to_the_cut(capture: &mut Capture) {
        capture.begin(Move::ToRing).unwrap();
        while !matches!(capture.moving, Moving::Trailing(..)) {
            capture.adapt(clock::monotonic_ns()).unwrap();
        }
    }

    #[test]
    fn a_capture_that_is_closed_while_it_moves_still_brings_what_came_after_the_cut() {
        let Some(_namespace) = Namespace::enter_or_skip() else { return };
        let _tap = Tap::create("tapA", &TapOptions::like_qemu()).unwrap();
        let mut capture = open();
        let sender = Sender::open("tapA").unwrap();
        sender.send_probes(&Probe::default(), 64, 0..10).unwrap();
        move_to_the_cut(&mut capture);
        sender.send_probes(&Probe::default(), 64, 10..20).unwrap();

        let mut seen = BTreeMap::new();
        capture.refuse_more();
        while !capture.is_drained() {
            capture.take_overflow();
            take(&mut capture, &mut seen);
            capture.adapt(clock::monotonic_ns()).unwrap();
        }
        assert_eq!(seen, (0..20).map(|number| (number, 1)).collect());
    }

    #[test]
    fn frames_are_taken_while_the_kernel_closes_the_old_source() {
        let Some(_namespace) = Namespace::enter_or_skip() else { return };
        let _tap = Tap::create("tapA", &TapOptions::like_qemu()).unwrap();
        let mut capture = open();
        move_to_the_cut(&mut capture);
        let mut seen = BTreeMap::new();
        while !matches!(capture.moving, Moving::Closing(..)) {
            take(&mut capture, &mut seen);
            capture.adapt(clock::monotonic_ns()).unwrap();
        }
        Sender::open("tapA").unwrap().send_probes(&Probe::default(), 64, 0..10).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while (seen.len() < 10 || !matches!(capture.moving, Moving::Settled)) && Instant::now() < end {
            take(&mut capture, &mut seen);
            capture.adapt(clock::monotonic_ns()).unwrap();
        }
        assert_eq!(seen, (0..10).map(|number| (number, 1)).collect());
        assert_eq!(capture.descriptors().count(), 1);
        assert!(matches!(capture.moving, Moving::Settled));
    }

    #[test]
    fn frames_without_a_stamp_keep_a_capture_where_it_is() {
        let Some(_namespace) = Namespace::enter_or_skip() else { return };
        let _tap = Tap::create("tapA", &TapOptions::like_qemu()).unwrap();
        let mut capture = open();
        if capture.traffic.is_none() {
            Skip("SO_RCVBUFFORCE is refused".into()).announce();
            return;
        }
        let sender = Sender::open("tapA").unwrap();
        let mut seen = BTreeMap::new();
        for (is_stamped, first) in [(false, 0), (true, 1000)] {
            capture.source.packet_socket().set_timestamps(is_stamped).unwrap();
            sender.send_probes(&Probe::default(), 64, first..first + 1000).unwrap();
            take(&mut capture, &mut seen);
            capture.adapt(clock::monotonic_ns()).unwrap();
            assert_eq!(matches!(capture.moving, Moving::Settled), !is_stamped);
        }
        assert_eq!(seen, (0..2000).map(|number| (number, 1)).collect());
    }

    #[test]
    fn moving_back_and_forth_under_traffic_loses_nothing_and_takes_nothing_twice() {
        let Some(namespace) = Namespace::enter_or_skip() else { return };
        let handle = namespace.handle();
        let _tap = Tap::create("tapA", &TapOptions::like_qemu()).unwrap();
        let mut capture = open();
        if capture.traffic.is_none() {
            Skip("SO_RCVBUFFORCE is refused".into()).announce();
            return;
        }
        let mut seen = BTreeMap::new();
        let mut moves = 0;
        let total = 60_000;
        std::thread::scope(|scope| {
            // Two senders, whose frames come from two processors.
            let senders = [0, 1].map(|half| {
                let handle = &handle;
                scope.spawn(move || {
                    let _inside = handle.enter().unwrap();
                    let sender = Sender::open("tapA").unwrap();
                    for sequence in (half * total / 2)..((half + 1) * total / 2) {
                        sender.send_probes(&Probe::default(), 64, sequence..sequence + 1).unwrap();
                        std::thread::sleep(Duration::from_micros(20));
                    }
                })
            });
            let mut move_at = Instant::now();
            while !senders.iter().all(|sender| sender.is_finished()) {
                take(&mut capture, &mut seen);
                let settled = matches!(capture.moving, Moving::Settled);
                if settled && move_at.elapsed() > Duration::from_millis(50) {
                    let way = match capture.engine() {
                        Engine::Socket => Move::ToRing,
                        _ => Move::ToSocket,
                    };
                    capture.begin(way).unwrap();
                    move_at = Instant::now();
                } else if !settled {
                    moves += u32::from(capture.adapt(clock::monotonic_ns()).unwrap());
                }
            }
        });
        let end = Instant::now() + Duration::from_secs(5);
        while seen.len() < usize::try_from(total).unwrap() && Instant::now() < end {
            take(&mut capture, &mut seen);
            moves += u32::from(capture.adapt(clock::monotonic_ns()).unwrap());
        }
        assert!(moves >= 4, "{moves} moves");
        assert_eq!(capture.take_overflow(), 0, "{:?} after {moves} moves", capture.engine());
        assert_eq!(seen.len(), usize::try_from(total).unwrap(), "lost some in {moves} moves");
        assert!(seen.values().all(|times| *times == 1), "took some twice in {moves} moves");
    }
}
