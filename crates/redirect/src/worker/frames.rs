//! Having frames moved, and waiting where they cannot be.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::epoll;
use tapferry_sys::clock;

use super::ends::Input;
use super::{Token, Worker, nanos};
use crate::capture::Capture;
use crate::event::{Event, EventKind};
use crate::outlet::Exit;
use crate::pipeline::Pumped;

/// While frames come in, the kernel is asked this often whether it had to drop some.
const OVERFLOW_CHECK: Duration = Duration::from_secs(1);
/// How long what is being closed may take to hand over what it holds: the ring's timer, even where it counts in
/// jiffies of 10 ms, and a good part of a second for an output that is stuck.
const DRAIN_TIME: Duration = Duration::from_millis(250);
/// Between two looks while something drains.
const DRAIN_LOOK: Duration = Duration::from_micros(500);

impl Worker {
    /// Moves frames until there are none, the output is full or others must be heard.
    pub(super) fn pump(&mut self) {
        let mtu = self.ends.output.mtu();
        let pumped = match &mut self.ends.input {
            Input::Netdev { capture, .. } => self.pipeline.pump(capture.as_deref_mut(), mtu),
            Input::Stream { reader, .. } => self.pipeline.pump(Some(reader), mtu),
            Input::Datagram { reader, .. } => self.pipeline.pump(Some(reader), mtu),
        };
        self.wait_for_room(pumped);
        if let Some(refusal) = self.pipeline.outlet.take_refusal() {
            self.note_refusal(refusal);
        }
        self.warn_of_drops();
        if self.pipeline.outlet.limit_reached() && !self.announced_count {
            self.announced_count = true;
            let forwarded = self.pipeline.counters.forwarded;
            self.tell(Event::new(
                EventKind::CountReached,
                format!("{forwarded} frames forwarded, as many as asked for"),
            ));
        }
        let now = clock::monotonic_ns();
        if now.saturating_sub(self.overflow_checked) >= nanos(OVERFLOW_CHECK) {
            self.overflow_checked = now;
            self.account_overflow();
        }
    }

    /// Waits for the output while it takes no more, and does not listen to a capture that has to wait with it.
    fn wait_for_room(&mut self, pumped: Pumped) {
        let was_blocked = self.pumped == Pumped::Blocked;
        self.pumped = pumped;
        if was_blocked != (pumped == Pumped::Blocked) {
            self.listen_to_capture();
        }
        let is_blocked = self.pipeline.outlet.is_blocked();
        if is_blocked == self.awaits_output.is_some() {
            return;
        }
        self.awaits_output = is_blocked.then(clock::monotonic_ns);
        match self.pipeline.outlet.exit() {
            Exit::Netdev(exit) => {
                let Some(injector) = exit.injector() else { return };
                self.listen_for_room(injector, is_blocked);
            }
            Exit::Datagram(writer) => self.listen_for_room(writer, is_blocked),
            Exit::Stream(_) => self.listen_to_output_peer(),
        }
    }

    /// Listens to a socket that has nothing to say but that it takes more.
    fn listen_for_room(&self, socket: impl AsFd, is_blocked: bool) {
        if is_blocked {
            epoll::add(&self.epoll, socket, Token::Output.data(), epoll::EventFlags::OUT).ok();
        } else {
            epoll::delete(&self.epoll, socket).ok();
        }
    }

    /// Listens to the capture, unless its frames have to wait.
    fn listen_to_capture(&mut self) {
        let flags = self.capture_flags();
        let Input::Netdev { capture: Some(capture), .. } = &self.ends.input else { return };
        for descriptor in capture.descriptors() {
            epoll::modify(&self.epoll, descriptor, Token::Input.data(), flags).ok();
        }
    }

    pub(super) fn capture_flags(&self) -> epoll::EventFlags {
        if self.pumped == Pumped::Blocked { epoll::EventFlags::empty() } else { epoll::EventFlags::IN }
    }

    /// The output takes frames again, or has failed: trying will tell.
    pub(super) fn unblock(&mut self) {
        if let Exit::Netdev(exit) = self.pipeline.outlet.exit()
            && let Some(injector) = exit.injector()
        {
            injector.socket().take_error().ok();
        }
        self.pipeline.outlet.unblock();
    }

    /// Takes what the capture still holds, and closes it: nothing is hooked into the interface then.
    pub(super) fn close_capture(&mut self) {
        let Some(capture) = self.ends.input.capture_mut() else { return };
        capture.refuse_more();
        self.drain(|worker| {
            worker.account_overflow();
            worker.ends.input.capture_mut().is_none_or(|capture| {
                capture.adapt(clock::monotonic_ns()).ok();
                capture.is_drained()
            })
        });
        self.account_overflow();
        if let Input::Netdev { capture, .. } = &mut self.ends.input
            && let Some(mut capture) = capture.take()
        {
            self.pipeline.drop_from(&mut *capture);
        }
        // Whether the gate would have opened for them is not going to be known.
        self.pipeline.drop_pre_roll();
        self.pumped = Pumped::Idle;
    }

    /// Takes what the peer has sent so far, and reads no more.
    fn close_reader(&mut self) {
        self.drain(|worker| worker.pumped == Pumped::Idle);
        self.account_overflow();
        match &mut self.ends.input {
            Input::Netdev { .. } => {}
            Input::Stream { reader, .. } => {
                reader.close();
                self.pipeline.drop_from(reader);
            }
            Input::Datagram { reader, .. } => {
                reader.close();
                self.pipeline.drop_from(reader);
            }
        }
    }

    /// The end: what is here leaves, if the output takes it in time.
    pub(super) fn finish(&mut self) {
        self.close_capture();
        self.close_reader();
        self.pipeline.release_at_the_end();
        self.drain(|worker| !worker.pipeline.has_released());
        self.warn_of_unread();
        self.pipeline.drop_all();
    }

    /// Moves frames until `is_drained`, or until the time for it is over.
    fn drain(&mut self, mut is_drained: impl FnMut(&mut Self) -> bool) {
        let deadline = clock::monotonic_ns() + nanos(DRAIN_TIME);
        loop {
            self.unblock();
            self.pump();
            if is_drained(self) || clock::monotonic_ns() >= deadline {
                break;
            }
            // The ring hands over its last block when its timer runs out; an output says nothing here.
            std::thread::sleep(DRAIN_LOOK);
        }
    }

    /// Lets the capture change its way of capturing, and waits for its new descriptor then.
    pub(super) fn adapt_capture(&mut self) -> Result<(), crate::error::StartError> {
        let Some(capture) = self.ends.input.capture_mut() else { return Ok(()) };
        match capture.adapt(clock::monotonic_ns()) {
            Ok(true) => self.listen_to_source(),
            Ok(false) => Ok(()),
            Err(error) => {
                self.warn("ring_refused", || format!("{error}; capturing goes on without a ring"));
                Ok(())
            }
        }
    }

    /// Waits for the capture's first descriptor, too. One leaves the epoll instance when it is closed.
    pub(super) fn listen_to_source(&mut self) -> Result<(), crate::error::StartError> {
        let flags = self.capture_flags();
        let Input::Netdev { end, capture } = &self.ends.input else { return Ok(()) };
        let source = capture.as_deref().and_then(|capture: &Capture| capture.descriptors().next());
        source
            .map_or(Ok(()), |source| epoll::add(&self.epoll, source, Token::Input.data(), flags))
            .map_err(|errno| tapferry_sys::Error::new("add to epoll", end.netdev.name.as_str(), errno).into())
    }
}
