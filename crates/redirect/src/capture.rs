//! The capture of a redirector: a plain socket, a ring, or the one that suits the traffic.
//!
//! An armed ring raises a thousand timer interrupts a second and takes 50 MiB even when no frame comes; a
//! plain socket wakes its reader, at the sender's expense, for every frame. So a balanced capture begins
//! on a socket, moves to a ring when frames come fast, and back when they have ceased.
//!
//! ```text
//! Settled --> Opening --> Overlapping --> Draining --> Settled
//!             both are    the cut is      the old one
//!             hooked      made            runs dry
//! ```
//!
//! Moving loses nothing and takes nothing twice: for a while both sources are hooked, and a moment in that
//! time is the cut. The kernel stamps a frame once for all its readers, so each frame is on one side of the
//! cut: what was sent before is taken from the old source, the rest from the new one. A grace period of the
//! kernel before the cut and one after make each side complete, however long a CPU took over a frame.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tapferry_sys::filter::Program;
use tapferry_sys::netdev::{IfIndex, InterfaceName};
use tapferry_sys::packet::Binding;
use tapferry_sys::stamping::Stamping;
use tapferry_sys::{Captured, Errno, Error, clock};

use crate::counters::Engine;
use crate::plan::Latency;
use crate::source::Source;
use crate::successor::{Stage, Successor};
use crate::traffic::{Move, Traffic};
use crate::worker::nanos;

/// Between two looks at a move under way, when no frame comes.
const LOOK: Duration = Duration::from_millis(5);

/// An open capture on an interface.
pub(crate) struct Capture {
    name: InterfaceName,
    filter: Program,
    /// The interface, if it is to be in promiscuous mode for as long as this is open.
    promiscuous: Option<IfIndex>,
    source: Source,
    moving: Moving,
    /// Frames stamped before belong to the source's predecessor (nanoseconds since 1970).
    from: u64,
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
    /// Both are hooked and the cut is made.
    Overlapping(Successor, Next),
    /// The old source takes no more.
    Draining(Next),
}

/// The source that takes over.
struct Next {
    source: Source,
    /// Frames stamped from here on are its own (nanoseconds since 1970); `None` after a step of the clock:
    /// what each source has is its own.
    cut: Option<u64>,
}

impl Capture {
    /// Opens a capture of what passes `filter`, in the way that suits `latency`.
    pub(crate) fn open(name: &InterfaceName, filter: Program, latency: Latency) -> Result<Self, Error> {
        let stamping = Stamping::start().map_err(Error::on("enable timestamps", name.as_str()))?;
        let mut source = Source::socket(name, &filter)?;
        let mut traffic = (latency == Latency::Balanced).then(Traffic::new);
        if traffic.is_some() && !source.bridges_bursts() {
            // A burst would overflow it before a ring is there, so there is one from the beginning.
            source = Source::ring(name, &filter)?;
            traffic = None;
        }
        Ok(Self {
            name: name.clone(),
            filter,
            promiscuous: None,
            source,
            moving: Moving::Settled,
            from: 0,
            overflow: 0,
            traffic,
            _stamping: stamping,
        })
    }

    pub(crate) fn engine(&self) -> Engine {
        self.source.engine()
    }

    /// Follows the interface to its new ifindex.
    pub(crate) fn rebind(&mut self, ifindex: IfIndex) -> Result<(), Errno> {
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
    pub(crate) fn take_error(&self) {
        for source in self.sources() {
            source.packet_socket().take_error().ok();
        }
    }

    /// Whether a frame is there. `Errno::INVAL`: one was, but cannot be read; it counts as taken.
    pub(crate) fn fill(&mut self) -> Result<bool, Errno> {
        while self.source.fill()? {
            match self.source.frames().next() {
                Some(frame) if !self.is_ours(frame.timestamp_ns) => self.source.advance(1),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Frames at hand that were not advanced over, up to one that is left to the other source.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Captured<'_>> {
        self.source.frames().take_while(|frame| self.is_ours(frame.timestamp_ns))
    }

    /// Steps over `frames` frames at hand.
    pub(crate) fn advance(&mut self, frames: usize) {
        self.source.advance(frames);
        if let Some(traffic) = &mut self.traffic {
            traffic.note(frames);
        }
    }

    /// Asks the kernel what it counted since the last time, and returns the frames it had no room for.
    pub(crate) fn take_overflow(&mut self) -> u64 {
        std::mem::take(&mut self.overflow) + self.source.take_overflow()
    }

    /// From now on nothing new is captured; what is there already can still be read.
    pub(crate) fn refuse_more(&mut self) {
        self.traffic = None;
        // Before the cut the new source has nothing that the old one does not have.
        if matches!(self.moving, Moving::Opening(..)) {
            self.moving = Moving::Settled;
        }
        for source in self.sources() {
            // Where this is refused, draining ends at its time limit.
            source.packet_socket().attach(&Program::refuse_all()).ok();
        }
    }

    /// Whether every frame that the kernel delivered has been taken. Only as fresh as the last
    /// [`Capture::take_overflow`].
    pub(crate) fn is_drained(&self) -> bool {
        matches!(self.moving, Moving::Settled) && self.source.is_drained()
    }

    /// After a step of the clock, old and new timestamps do not compare.
    pub(crate) fn forget_history(&mut self) {
        self.from = 0;
        if let Moving::Overlapping(_, next) | Moving::Draining(next) = &mut self.moving {
            next.cut = None;
        }
    }

    /// Moves to the other way of capturing when the traffic calls for it; one step a call. Says whether
    /// there is another descriptor to wait for.
    ///
    /// An error is a source that could not be had: the capture goes on as it is.
    pub(crate) fn adapt(&mut self, now: u64) -> Result<bool, Error> {
        match std::mem::replace(&mut self.moving, Moving::Settled) {
            Moving::Settled => {
                let engine = self.engine();
                if let Some(way) = self.traffic.as_mut().and_then(|traffic| traffic.wanted(engine, now)) {
                    self.begin(way).or_else(|error| self.stay(error, now))?;
                }
            }
            Moving::Opening(successor, rebound) => match successor.poll() {
                None => self.moving = Moving::Opening(successor, rebound),
                Some(Ok(Stage::Hooked(source))) => {
                    if let Some(ifindex) = rebound {
                        source.packet_socket().bind(ifindex, Binding::Capture).ok();
                    }
                    // What was taken so far was sent before; what is sent from now on reaches both.
                    let cut = Some(clock::realtime_ns());
                    successor.cut();
                    self.moving = Moving::Overlapping(successor, Next { source, cut });
                }
                Some(Ok(Stage::Passed)) => {}
                Some(Err(error)) => self.stay(error, now)?,
            },
            Moving::Overlapping(successor, next) => {
                if matches!(successor.poll(), Some(Ok(Stage::Passed))) {
                    self.source.packet_socket().attach(&Program::refuse_all()).ok();
                    self.moving = Moving::Draining(next);
                } else {
                    self.moving = Moving::Overlapping(successor, next);
                }
            }
            Moving::Draining(next) => {
                self.moving = Moving::Draining(next);
                self.overflow += self.source.take_overflow();
                if self.fill() == Ok(false) && self.source.is_drained() {
                    return Ok(self.take_over());
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

    /// Puts the new source in the place of the old one, whatever that still has. Says whether there was one.
    pub(crate) fn take_over(&mut self) -> bool {
        match std::mem::replace(&mut self.moving, Moving::Settled) {
            Moving::Overlapping(_, next) | Moving::Draining(next) => {
                self.overflow += self.source.take_overflow();
                self.source = next.source;
                self.from = next.cut.unwrap_or(0);
                // What it brought is not known yet: until then it would seem drained.
                self.overflow += self.source.take_overflow();
                true
            }
            Moving::Settled | Moving::Opening(..) => false,
        }
    }

    fn begin(&mut self, way: Move) -> Result<(), Error> {
        let successor = Successor::begin(way, &self.name, &self.filter, self.promiscuous)?;
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

    fn next(&self) -> Option<&Next> {
        match &self.moving {
            Moving::Settled | Moving::Opening(..) => None,
            Moving::Overlapping(_, next) | Moving::Draining(next) => Some(next),
        }
    }

    fn is_ours(&self, timestamp: u64) -> bool {
        let cut = self.next().and_then(|next| next.cut);
        timestamp >= self.from && cut.is_none_or(|cut| timestamp < cut)
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        std::iter::once(&self.source).chain(self.next().map(|next| &next.source))
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
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
        let name = InterfaceName::new("tapA").unwrap();
        Capture::open(&name, Program::capture(Direction::Outgoing, 1), Latency::Balanced).unwrap()
    }

    /// Takes what is there; how often each number came.
    fn take(capture: &mut Capture, seen: &mut BTreeMap<u64, u32>) {
        while capture.fill().unwrap() {
            let numbers: Vec<_> = capture
                .frames()
                .filter_map(|frame| probe::parse(frame.bytes))
                .map(|(record, _)| record)
                .collect();
            for record in &numbers {
                *seen.entry(record.sequence).or_default() += 1;
            }
            capture.advance(numbers.len());
        }
    }

    /// Moves the capture to a ring as far as the cut.
    fn overlapping(capture: &mut Capture) {
        capture.begin(Move::ToRing).unwrap();
        while !matches!(capture.moving, Moving::Overlapping(..)) {
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
        overlapping(&mut capture);
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
