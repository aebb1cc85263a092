//! The handshakes of a server: several at once, so that a stranger who says nothing does not keep the real peer out.
//!
//! One descriptor stands for all of it ([`AsFd`]): it is readable when there is something to do, by
//! [`Handshakes::advance`]. A listener may be watched with it.

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
/// The same when all places are taken: others may wait.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// A place stays empty for so long after a handshake that failed: each costs a signature, and whoever tries again and again
/// must not have all our time.
const REST: Duration = Duration::from_millis(200);

/// Whatever wakes it, all are looked at.
const ANY: epoll::EventData = epoll::EventData::new_u64(0);

/// Peers whose handshake is not over.
#[derive(Debug)]
pub struct Handshakes {
    places: Vec<Place>,
    epoll: OwnedFd,
    /// Rings when the next deadline may be over.
    timer: OwnedFd,
}

/// A place that is taken.
#[derive(Debug)]
struct Place {
    /// None: its handshake has failed.
    channel: Option<Channel>,
    since: Instant,
}

impl Handshakes {
    /// None yet.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, ANY, epoll::EventFlags::IN)?;
        Ok(Self { places: Vec::new(), epoll, timer })
    }

    /// Is readable when this descriptor is, too.
    pub fn watch(&self, listener: impl AsFd) -> Result<(), Errno> {
        epoll::add(&self.epoll, listener, ANY, epoll::EventFlags::IN)
    }

    /// No more.
    pub fn unwatch(&self, listener: impl AsFd) {
        epoll::delete(&self.epoll, listener).ok();
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.places.len() < PLACES
    }

    /// Begins one.
    pub fn begin(&mut self, channel: Channel) -> Result<(), Errno> {
        epoll::add(&self.epoll, &channel, ANY, epoll::EventFlags::IN)?;
        self.places.push(Place { channel: Some(channel), since: Instant::now() });
        self.set_timer();
        Ok(())
    }

    /// Goes on with all of them as far as possible, up to the first that is over: with a peer, or without one.
    pub fn advance(&mut self) -> Option<Result<Channel, Failure>> {
        self.places.retain(|place| place.channel.is_some() || place.since.elapsed() < REST);
        let over = self.first_over();
        self.set_timer();
        over
    }

    fn first_over(&mut self) -> Option<Result<Channel, Failure>> {
        let patience = self.patience();
        for (index, place) in self.places.iter_mut().enumerate() {
            let Some(channel) = &mut place.channel else { continue };
            let over = match channel.handshake() {
                Ok(Progress::Done) => Ok(()),
                Ok(progress) if place.since.elapsed() < patience => {
                    let flags = match progress {
                        Progress::WaitsForRoom => epoll::EventFlags::OUT,
                        Progress::WaitsForPeer | Progress::Done => epoll::EventFlags::IN,
                    };
                    epoll::modify(&self.epoll, &*channel, ANY, flags).ok();
                    continue;
                }
                Ok(_) => Err(channel.gave_up()),
                Err(failure) => Err(failure),
            };
            epoll::delete(&self.epoll, &*channel).ok();
            return match over {
                Ok(()) => self.places.remove(index).channel.map(Ok),
                Err(failure) => {
                    *place = Place { channel: None, since: Instant::now() };
                    Some(Err(failure))
                }
            };
        }
        None
    }

    /// Gives those that wait as much time as if they had just come: nobody has looked after them for a while.
    pub fn resume(&mut self) {
        for place in &mut self.places {
            place.since = Instant::now();
        }
        self.set_timer();
    }

    fn patience(&self) -> Duration {
        if self.has_room() { PATIENCE } else { SHORT_PATIENCE }
    }

    /// Rings when the first of them has had its time. Setting it also hushes it.
    fn set_timer(&self) {
        let left = self.places.iter().map(|place| {
            let time = if place.channel.is_some() { self.patience() } else { REST };
            let left = time.saturating_sub(place.since.elapsed());
            let doubt_left = place.channel.as_ref().and_then(Channel::doubt_left);
            // Zero would disarm it: that is for when nobody is left.
            doubt_left.map_or(left, |doubt| doubt.min(left)).max(Duration::from_millis(1))
        });
        let it_value = Timespec::try_from(left.min().unwrap_or_default()).unwrap_or_default();
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).ok();
    }
}

impl AsFd for Handshakes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
