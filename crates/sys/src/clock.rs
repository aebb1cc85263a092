//! Wall-clock time as the kernel stamps frames: CLOCK_REALTIME in nanoseconds since 1970. And how good the
//! machine's clocks are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_getres,
    clock_gettime, timerfd_create, timerfd_settime,
};

use crate::error::checked;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Nanoseconds since 1970 (CLOCK_REALTIME), as frames are stamped (clock_gettime(2)).
pub fn realtime_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    join(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned())
}

/// Nanoseconds since boot (CLOCK_MONOTONIC), for durations: steps of the wall clock do not touch it.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    join(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned())
}

pub(crate) fn join(seconds: u64, nanoseconds: u64) -> u64 {
    seconds.saturating_mul(NANOS_PER_SEC).saturating_add(nanoseconds)
}

/// How good this machine's clocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// Nanoseconds between two ticks of the kernel's jiffies, in which some of its timers count
    /// (clock_getres(2) of CLOCK_MONOTONIC_COARSE).
    pub jiffy_ns: u64,
    /// Something keeps the wall clock in step with others (adjtimex(2): no STA_UNSYNC).
    pub synchronized: bool,
    /// How far the wall clock may be off, in microseconds; grows while nothing corrects it.
    pub error_us: u64,
    /// Seconds from UTC to TAI; 0 where nobody has told the kernel.
    pub tai_offset: i32,
}

/// Asks the kernel how good its clocks are. Changes nothing, and needs no privilege.
pub fn quality() -> Result<Quality, Errno> {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    // SAFETY: a timex is plain data for which all zeros is a valid value: modes 0 asks, and sets nothing.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: adjtimex reads and writes one timex, which outlives the call.
    let state = checked(unsafe { libc::adjtimex(&raw mut clock) })?;
    Ok(Quality {
        jiffy_ns: join(tick.tv_sec.cast_unsigned(), tick.tv_nsec.cast_unsigned()),
        synchronized: state != libc::TIME_ERROR && clock.status & libc::STA_UNSYNC == 0,
        error_us: clock.maxerror.unsigned_abs(),
        tai_offset: clock.tai,
    })
}

/// A descriptor that becomes readable when somebody sets the wall clock (timerfd_create(2),
/// TFD_TIMER_CANCEL_ON_SET). Slewing by NTP does not count.
#[derive(Debug)]
pub struct StepWatch {
    timer: OwnedFd,
}

impl StepWatch {
    /// Starts to watch.
    pub fn new() -> Result<Self, Errno> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let watch = Self { timer };
        watch.arm()?;
        Ok(watch)
    }

    /// Whether the clock was set since the last call.
    pub fn stepped(&self) -> bool {
        let mut expirations = [0_u8; 8];
        let stepped = rustix::io::read(&self.timer, &mut expirations) == Err(Errno::CANCELED);
        if stepped {
            // A timer that cannot be armed again would only miss the next step; frames still flow.
            self.arm().ok();
        }
        stepped
    }

    fn arm(&self) -> Result<(), Errno> {
        // The far future: this timer exists to be cancelled, not to expire.
        let never = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: i64::from(u32::MAX) * 2, tv_nsec: 0 },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)
            .map(drop)
    }
}

impl AsFd for StepWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jiffy_is_one_to_ten_milliseconds() {
        let quality = quality().unwrap();
        assert!((1_000_000..=10_000_000).contains(&quality.jiffy_ns), "{quality:?}");
    }
}
