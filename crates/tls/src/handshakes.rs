//! The handshakes of a server: several at once, so that a stranger who says nothing does not keep the real peer out.
//!
//! One descriptor stands for all of it ([`AsFd`]): it is readable when there is something to do, by
//! [`Handshakes::next`]. A listener may be watched with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::channel::{Channel, Progress};
use crate::failure::Failure;

/// Handshakes at once.
pub const PLACES: usize = 8;
/// For a handshake: enough for a host that is busy, at the other end of the world.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// When all places are taken and others wait, for whoever has said nothing yet.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

/// Peers whose handshake is not over.
#[derive(Debug)]
pub struct Handshakes {
    pending: Vec<Pending>,
    epoll: OwnedFd,
    /// Rings when the next deadline may be over.
    timer: OwnedFd,
}

#[derive(Debug)]
struct Pending {
    channel: Channel,
    since: Instant,
}

impl Handshakes {
    /// None yet.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        Ok(Self { pending: Vec::new(), epoll, timer })
    }

    /// Is readable when this descriptor is, too.
    pub fn watch(&self, listener: impl AsFd) -> Result<(), Errno> {
        epoll::add(&self.epoll, listener, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
    }

    /// No more.
    pub fn unwatch(&self, listener: impl AsFd) {
        epoll::delete(&self.epoll, listener).ok();
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.pending.len() < PLACES
    }

    /// Begins one.
    pub fn begin(&mut self, channel: Channel) -> Result<(), Errno> {
        epoll::add(&self.epoll, &channel, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        self.pending.push(Pending { channel, since: Instant::now() });
        self.set_timer();
        Ok(())
    }

    /// Goes on with all of them as far as possible, up to the first that is over: with a peer, or without one.
    pub fn next(&mut self) -> Option<Result<Channel, Failure>> {
        let patience = self.patience();
        for place in 0..self.pending.len() {
            let Pending { channel, since } = &mut self.pending[place];
            let over = match channel.handshake() {
                Ok(Progress::Done) => Ok(()),
                Ok(progress) if since.elapsed() < patience => {
                    let flags = match progress {
                        Progress::WaitsForRoom => epoll::EventFlags::OUT,
                        _ => epoll::EventFlags::IN,
                    };
                    epoll::modify(&self.epoll, &*channel, epoll::EventData::new_u64(0), flags).ok();
                    continue;
                }
                Ok(_) => Err(channel.gave_up()),
                Err(failure) => Err(failure),
            };
            let Pending { channel, .. } = self.pending.remove(place);
            epoll::delete(&self.epoll, &channel).ok();
            self.set_timer();
            return Some(over.map(|()| channel));
        }
        self.set_timer();
        None
    }

    /// Gives those that wait as much time as if they had just come: nobody has looked after them for a while.
    pub fn resume(&mut self) {
        for pending in &mut self.pending {
            pending.since = Instant::now();
        }
        self.set_timer();
    }

    fn patience(&self) -> Duration {
        if self.has_room() { PATIENCE } else { SHORT_PATIENCE }
    }

    /// Rings when the patience with the oldest is over. Setting it also hushes it.
    fn set_timer(&self) {
        let oldest = self.pending.iter().map(|pending| pending.since.elapsed()).max();
        // Zero would disarm it: that is for when nobody is left.
        let left = oldest
            .map_or(Duration::ZERO, |age| self.patience().saturating_sub(age).max(Duration::from_millis(1)));
        let it_value = Timespec::try_from(left).unwrap_or_default();
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).ok();
    }
}

impl AsFd for Handshakes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
