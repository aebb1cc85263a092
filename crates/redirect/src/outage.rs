//! How often and how long an end was out of service.

use crate::counters::Outages;

/// The outages of one end. All times are of CLOCK_MONOTONIC, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct OutageLog {
    ended: Outages,
    since: Option<u64>,
}

impl OutageLog {
    /// An outage begins, unless one is going on.
    pub(crate) fn begin(&mut self, now: u64) {
        if self.since.is_none() {
            self.ended.count += 1;
            self.since = Some(now);
        }
    }

    /// The outage that is going on is over.
    pub(crate) fn end(&mut self, now: u64) {
        if let Some(since) = self.since.take() {
            self.ended.total_ns += now.saturating_sub(since);
        }
    }

    /// All outages until `now`, one that is going on included.
    pub(crate) fn until(&self, now: u64) -> Outages {
        let current = self.since.map_or(0, |since| now.saturating_sub(since));
        Outages { total_ns: self.ended.total_ns + current, ..self.ended }
    }
}
