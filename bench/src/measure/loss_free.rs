//! The highest rate at which no frame is lost.
//!
//! A rate passes when all frames of a step come out, and come out in time: a forwarder that only stores what it
//! cannot forward would pass for as long as its buffer lasts. Others on the machine can make a forwarder lose
//! frames, never keep them, so a rate that failed is tried a second time.

use std::time::Duration;

use serde::Serialize;

use super::{Background, Bench, Span, patience};
use crate::error::Result;
use crate::peers::Peer;
use crate::rig::INPUT;
use crate::traffic::{Case, Host, Rate, monotonic, nanoseconds, stamp_of};

/// Below that many frames a second, the search ends.
const LEAST: f64 = 1_000.0;
/// How often a found rate must pass again.
const CONFIRMATIONS: usize = 2;
/// What becomes of a rate that does not.
const STEP_DOWN: f64 = 0.9;

/// A search's result.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LossFreeSample {
    pub(crate) round: u32,
    pub(crate) case: &'static str,
    pub(crate) peer: &'static str,
    /// Frames a second; 0: none was found.
    pub(crate) rate: f64,
    /// Nothing was lost when the sender sent as fast as it could.
    pub(crate) sender_is_limit: bool,
    pub(crate) steps: u32,
    /// Frames that the output's queue had no room for, in all steps: the guest's delay, not the forwarder's.
    pub(crate) lost_at_output: u64,
    pub(crate) background: Background,
}

/// What became of a step.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Frames a second that were sent.
    rate: f64,
    passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    rate: f64,
    sender_is_limit: bool,
}

impl Bench<'_> {
    pub(crate) fn loss_free(&self, round: u32, case: &Case, peer: &'static Peer) -> Result<LossFreeSample> {
        let forwarder = self.start(peer)?;
        let host = Host::open(INPUT, *case)?;
        host.exchange(
            self.rig,
            Rate::PerSecond(f64::from(case.rate)),
            self.times.warm_up,
            patience(peer),
            |_, _| true,
        )?;
        let lost_before = self.rig.lost_at_output()?;
        let span = Span::begin(&forwarder)?;
        let mut steps = 0;
        let found = search(self.times.precision, |rate| {
            steps += 1;
            self.step(&host, rate, peer)
        })?;
        let (_, background) = span.end(&forwarder)?;
        Ok(LossFreeSample {
            round,
            case: case.name,
            peer: peer.name,
            rate: found.rate,
            sender_is_limit: found.sender_is_limit,
            steps,
            lost_at_output: self.rig.lost_at_output()? - lost_before,
            background,
        })
    }

    fn step(&self, host: &Host, rate: Rate, peer: &Peer) -> Result<Step> {
        // What an earlier step left behind comes late, and with an earlier stamp.
        let start = nanoseconds(monotonic());
        let in_time: Duration = peer.holds + self.times.step / 10;
        let exchanged = host.exchange(self.rig, rate, self.times.step, in_time, |frame, _| {
            stamp_of(frame).is_some_and(|stamp| stamp >= start)
        })?;
        Ok(Step { rate: exchanged.rate(), passed: exchanged.lost == 0 })
    }
}

/// Halves the range, on a logarithmic scale, until its ends are near each other.
fn search(precision: f64, mut step: impl FnMut(Rate) -> Result<Step>) -> Result<Found> {
    let mut try_twice = |rate| {
        let first = step(rate)?;
        if first.passed { Ok(first) } else { step(rate) }
    };
    let fastest = try_twice(Rate::Unlimited)?;
    let (mut good, mut bad) = (LEAST, fastest.rate);
    if fastest.passed {
        good = fastest.rate;
    }
    while bad / good > precision {
        let middle = (good * bad).sqrt();
        if try_twice(Rate::PerSecond(middle))?.passed {
            good = middle;
        } else {
            bad = middle;
        }
    }
    let mut rate = if fastest.passed { Rate::Unlimited } else { Rate::PerSecond(good) };
    while good >= LEAST {
        // Others only ever slow the sender down: the fastest of the steps that passed counts.
        let mut fastest = 0.0_f64;
        let mut confirmed = 0;
        while confirmed < CONFIRMATIONS {
            let again = try_twice(rate)?;
            if !again.passed {
                break;
            }
            fastest = fastest.max(again.rate);
            confirmed += 1;
        }
        if confirmed == CONFIRMATIONS {
            return Ok(Found { rate: fastest, sender_is_limit: rate == Rate::Unlimited });
        }
        good *= STEP_DOWN;
        rate = Rate::PerSecond(good);
    }
    Ok(Found { rate: 0.0, sender_is_limit: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forwarder that loses frames above `limit`, behind a sender that cannot go beyond 400 000 a second.
    fn found(limit: f64, disturbed: impl Fn(u32) -> bool) -> Found {
        let mut steps = 0;
        search(1.05, |rate| {
            steps += 1;
            let rate = match rate {
                Rate::PerSecond(rate) => rate.min(400_000.0),
                Rate::Unlimited => 400_000.0,
            };
            Ok(Step { rate, passed: rate <= limit && !disturbed(steps) })
        })
        .unwrap()
    }

    #[test]
    fn the_rate_is_found_from_below() {
        for limit in [2_000.0, 50_000.0, 399_000.0] {
            let Found { rate, sender_is_limit } = found(limit, |_| false);
            assert!(rate <= limit && rate * 1.05 >= limit, "{rate} for {limit}");
            assert!(!sender_is_limit);
        }
    }

    #[test]
    fn a_sender_that_is_too_slow_is_named() {
        assert_eq!(found(1e9, |_| false), Found { rate: 400_000.0, sender_is_limit: true });
    }

    #[test]
    fn a_step_that_others_disturb_is_done_again() {
        let calm = found(50_000.0, |_| false);
        let disturbed = found(50_000.0, |step| step % 3 == 1);
        assert_eq!(calm.rate, disturbed.rate);
    }

    #[test]
    fn who_loses_at_every_rate_has_none() {
        assert_eq!(found(0.0, |_| false), Found { rate: 0.0, sender_is_limit: false });
    }
}
