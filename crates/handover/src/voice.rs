//! What one netdev's handover tells: every event, and each warning once.

use crate::compare::{Difference, Weight};
use crate::event::{Event, EventKind, Observer};

/// Speaks for a netdev.
pub(crate) struct Voice {
    observer: Observer,
    netdev: String,
    warned: Vec<&'static str>,
}

impl Voice {
    /// For the netdev of that id.
    pub(crate) fn new(observer: Observer, netdev: &str) -> Self {
        Self { observer, netdev: netdev.to_owned(), warned: Vec::new() }
    }

    /// Tells of something in `state`.
    pub(crate) fn tell(&self, kind: EventKind, state: &'static str, message: impl Into<String>) {
        (self.observer)(Event::new(kind, state, message).about(&self.netdev));
    }

    /// Warns, once for each code.
    pub(crate) fn warn(&mut self, code: &'static str, state: &'static str, message: &str) {
        if !self.warned.contains(&code) {
            self.warned.push(code);
            let event = Event::new(EventKind::Warning, state, message).with_code(code);
            (self.observer)(event.about(&self.netdev));
        }
    }

    /// Warns of differences between the two sides that cost something.
    pub(crate) fn warn_of(&mut self, differences: &[Difference], state: &'static str) {
        for Difference { code, message, .. } in differences.iter().filter(|each| each.weight != Weight::Note)
        {
            self.warn(code, state, message);
        }
    }
}
