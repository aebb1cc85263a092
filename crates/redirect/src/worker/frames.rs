//! Moving frames: from the capture or the pre-roll, past the gate, into the output.

use std::time::Duration;

use rustix::event::epoll;
use tapferry_sys::{Captured, Errno, clock};

use super::{Pumped, Token, Worker, nanos};
use crate::capture::Capture;
use crate::counters::{DropReason, count};
use crate::event::{Event, EventKind};
use crate::fate::{Fate, decide, wire_bytes};
use crate::gate::Gate;
use crate::outlet::{Progress, Run};

/// Runs of frames between two looks at the commands.
const RUNS_PER_TURN: usize = 64;
/// While frames come in, the kernel is asked this often whether it had to drop some.
const OVERFLOW_CHECK: Duration = Duration::from_secs(1);

impl Worker {
    /// Moves frames until there are none, the output is full or others must be heard.
    pub(super) fn pump(&mut self) {
        let mut pumped = self.pump_held();
        for _ in 0..RUNS_PER_TURN {
            if pumped == Pumped::Blocked {
                break;
            }
            pumped = self.pump_run();
            if pumped == Pumped::Idle {
                break;
            }
        }
        let was_blocked = self.pumped == Pumped::Blocked;
        self.pumped = pumped;
        if pumped == Pumped::Blocked && !was_blocked {
            self.await_output();
        }
        if let Some(refusal) = self.outlet.take_refusal() {
            self.note_refusal(refusal);
        }
        self.warn_of_drops();
        if self.outlet.limit_reached() && !self.announced_count {
            self.announced_count = true;
            self.tell(Event::new(
                EventKind::CountReached,
                format!("{} frames forwarded, as many as asked for", self.counters.forwarded),
            ));
        }
        let now = clock::monotonic_ns();
        if now.saturating_sub(self.overflow_checked) >= nanos(OVERFLOW_CHECK) {
            self.overflow_checked = now;
            self.account_overflow();
        }
    }

    /// Frames of the pre-roll whose time has come: the gate opened for them, or did not and will not.
    fn pump_held(&mut self) -> Pumped {
        let oldest_kept = clock::realtime_ns().saturating_sub(nanos(self.plan.pre_roll));
        let Self { hold, gate, output, outlet, counters, .. } = self;
        while hold.len() > 0 {
            let (run, end) = next_run(hold.frames(), gate, output.mtu());
            let (len, progress) = (run.len(), outlet.send(&run, counters));
            let ended = match end {
                _ if progress != Progress::Done => None,
                Some((frame, Fate::Hold)) if frame.timestamp_ns < oldest_kept => Some(DropReason::GateClosed),
                Some((_, Fate::Drop(reason))) => Some(reason),
                _ => None,
            };
            drop(run);
            if let Progress::Blocked(done) = progress {
                hold.advance(done);
                return Pumped::Blocked;
            }
            if let Some(reason) = ended {
                counters.drop(reason);
            }
            let taken = len + usize::from(ended.is_some());
            hold.advance(taken);
            if taken == 0 {
                break;
            }
        }
        if gate.is_open() {
            hold.release_memory();
        }
        Pumped::Idle
    }

    /// One run of captured frames.
    fn pump_run(&mut self) -> Pumped {
        let Self { capture, gate, output, outlet, counters, hold, .. } = self;
        let Some(capture) = capture else { return Pumped::Idle };
        match capture.fill() {
            Ok(true) => {}
            Ok(false) => return Pumped::Idle,
            Err(Errno::INVAL) => {
                counters.capture(1, 0);
                counters.drop(DropReason::UnsupportedOffload);
                return Pumped::More;
            }
            // An interface that is down or gone says so once here; netlink tells the rest.
            Err(_) => return Pumped::Idle,
        }
        let (run, end) = next_run(capture.frames(), gate, output.mtu());
        let (taken, pumped) = match outlet.send(&run, counters) {
            Progress::Blocked(done) => {
                counters.capture(done, run.bytes(done));
                (done, Pumped::Blocked)
            }
            Progress::Done => {
                counters.capture(run.len(), run.bytes(run.len()));
                if let Some((frame, fate)) = &end {
                    counters.capture(1, wire_bytes(frame.bytes, frame.beside));
                    match fate {
                        Fate::Drop(reason) => counters.drop(*reason),
                        // A run ends at a frame that is not sent; what is not dropped is held.
                        Fate::Hold | Fate::Send(_) => {
                            counters.drop_many(DropReason::PreRollFull, count(hold.push(frame)));
                        }
                    }
                }
                (run.len() + usize::from(end.is_some()), Pumped::More)
            }
        };
        drop(run);
        capture.advance(taken);
        pumped
    }

    /// Waits until the output takes frames again, and does not listen to the capture meanwhile.
    fn await_output(&mut self) {
        self.listen(epoll::EventFlags::empty());
        if let Some(injector) = self.outlet.injector() {
            epoll::add(&self.epoll, injector, Token::Output.data(), epoll::EventFlags::OUT).ok();
        }
    }

    pub(super) fn unblock(&mut self) {
        if let Some(injector) = self.outlet.injector() {
            injector.socket().take_error().ok();
            epoll::delete(&self.epoll, injector).ok();
        }
        self.listen(epoll::EventFlags::IN);
        self.pumped = Pumped::Idle;
    }

    fn listen(&self, flags: epoll::EventFlags) {
        for descriptor in self.capture.iter().flat_map(Capture::descriptors) {
            epoll::modify(&self.epoll, descriptor, Token::Capture.data(), flags).ok();
        }
    }
}

/// Frames that can be sent one after the other, and the first that cannot, with what becomes of it.
fn next_run<'a>(
    frames: impl Iterator<Item = Captured<'a>>,
    gate: &Gate,
    mtu: u32,
) -> (Run<'a>, Option<(Captured<'a>, Fate<'a>)>) {
    let mut run = Run::default();
    for frame in frames {
        match decide(&frame, gate, mtu) {
            Fate::Send(outgoing) => run.push(outgoing, frame.timestamp_ns),
            fate => return (run, Some((frame, fate))),
        }
        if run.is_full() {
            break;
        }
    }
    (run, None)
}
