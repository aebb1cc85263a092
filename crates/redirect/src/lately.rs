//! What was told lately: whoever tries again and again must not fill a log.

use std::time::Duration;

use tapferry_sys::clock;

use crate::worker::nanos;

/// The same is told again after this long.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// What was told lately, and when.
#[derive(Debug)]
pub struct Lately {
    /// Different things told in that time at most: nor must one fill it who comes with another each time.
    kinds: usize,
    /// CLOCK_MONOTONIC, nanoseconds.
    told: Vec<(String, u64)>,
}

impl Lately {
    /// Nothing yet; so many different things at most.
    pub fn new(kinds: usize) -> Self {
        Self { kinds, told: Vec::new() }
    }

    /// Whether this is to be told now: it counts as told then.
    pub fn is_to_be_told(&mut self, what: &str) -> bool {
        self.is_to_be_told_at(what, clock::monotonic_ns())
    }

    fn is_to_be_told_at(&mut self, what: &str, now: u64) -> bool {
        self.told.retain(|(_, at)| now.saturating_sub(*at) < nanos(TELL_AGAIN));
        let is_new = self.told.len() < self.kinds && self.told.iter().all(|(told, _)| told != what);
        if is_new {
            self.told.push((what.to_owned(), now));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while_and_so_many_different_things_at_most() {
        let mut lately = Lately::new(2);
        let again = nanos(TELL_AGAIN);
        let told = ["a", "a", "b", "c"].map(|what| lately.is_to_be_told_at(what, 1));
        assert_eq!(told, [true, false, true, false]);
        assert!(!lately.is_to_be_told_at("a", again));
        assert!(lately.is_to_be_told_at("c", again + 1) && lately.is_to_be_told_at("a", again + 1));
    }
}
