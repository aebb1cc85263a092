//! An interface at one end of a redirector: up, down or missing, and for how long. One without a carrier, as a
//! TAP that nobody holds open, is as good as down: the kernel takes frames for it, and drops them.
//!
//! ```text
//!            down                 deleted
//!   Up  <------------>  Down  ---------------+
//!    |        up          ^                  v
//!    |                    +------------- Missing
//!    +--- deleted -->        re-created
//! ```

use tapferry_sys::link::{Link, LinkChange};
use tapferry_sys::netdev::{IfIndex, InterfaceName};

use crate::counters::Outages;
use crate::outage::OutageLog;

/// Where an interface stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Down,
    Missing,
}

/// A change an operator is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    WentDown,
    CameUp,
    Vanished,
    /// Present again under another ifindex: sockets must be bound anew.
    Returned(IfIndex),
}

/// An interface at one end.
#[derive(Debug)]
pub(crate) struct Endpoint {
    name: InterfaceName,
    state: State,
    link: Option<Link>,
    outages: OutageLog,
    /// tx_dropped of the current interface as last seen.
    tx_dropped: u64,
    lost: u64,
}

impl Endpoint {
    /// An endpoint that is as `link` says; `None`: missing.
    pub(crate) fn new(name: InterfaceName, link: Option<Link>, now: u64) -> Self {
        let mut endpoint = Self {
            name,
            state: State::Up,
            tx_dropped: link.as_ref().map_or(0, |link| link.tx_dropped),
            link,
            outages: OutageLog::default(),
            lost: 0,
        };
        let state = endpoint.state_of_link();
        endpoint.enter(state, now);
        endpoint
    }

    pub(crate) fn name(&self) -> &InterfaceName {
        &self.name
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Why it is not up, in words.
    pub(crate) fn trouble(&self) -> &'static str {
        match &self.link {
            None => "is gone; waiting for it",
            Some(link) if link.up => "has no carrier",
            Some(_) => "is down",
        }
    }

    pub(crate) fn ifindex(&self) -> Option<IfIndex> {
        self.link.as_ref().map(|link| link.ifindex)
    }

    /// Largest layer-3 packet in bytes; without an interface nothing is too large.
    pub(crate) fn mtu(&self) -> u32 {
        self.link.as_ref().map_or(u32::MAX, |link| link.mtu)
    }

    pub(crate) fn is_tap(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_tap)
    }

    /// Whether frames have an Ethernet header; of a missing interface nothing else is known.
    pub(crate) fn is_ethernet(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.is_ethernet)
    }

    /// Takes in the counters of a link, if it is ours; a new interface counts from zero.
    pub(crate) fn count_lost(&mut self, link: &Link) {
        if self.ifindex() == Some(link.ifindex) {
            self.lost += link.tx_dropped.saturating_sub(self.tx_dropped);
            self.tx_dropped = link.tx_dropped;
        }
    }

    /// Growth of the interface's tx_dropped, over re-creations.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Outages until `now` (CLOCK_MONOTONIC, nanoseconds).
    pub(crate) fn outages(&self, now: u64) -> Outages {
        self.outages.until(now)
    }

    /// Takes in a change of some interface, ours or not.
    pub(crate) fn observe(&mut self, change: &LinkChange, now: u64) -> Option<Transition> {
        match change {
            LinkChange::Gone(ifindex) if self.ifindex() == Some(*ifindex) => self.update(None, now),
            // The name counts only while there is nothing to hold on to: a renamed interface stays ours.
            LinkChange::Present(link) => match self.ifindex() {
                Some(ours) if ours == link.ifindex => self.update(Some(link.clone()), now),
                None if link.name == self.name.as_str() => self.update(Some(link.clone()), now),
                _ => None,
            },
            LinkChange::Gone(_) => None,
        }
    }

    /// Takes in what the interface is now; `None`: it does not exist.
    pub(crate) fn update(&mut self, link: Option<Link>, now: u64) -> Option<Transition> {
        let before = self.ifindex();
        self.link = link;
        if let Some(link) = self.link.clone() {
            if before != Some(link.ifindex) {
                self.tx_dropped = 0;
            }
            self.count_lost(&link);
        }
        let state = self.state_of_link();
        let was = self.enter(state, now);
        match (self.ifindex(), was, state) {
            (Some(after), ..) if before != Some(after) => Some(Transition::Returned(after)),
            (_, State::Missing, State::Missing) => None,
            (_, _, State::Missing) => Some(Transition::Vanished),
            (_, State::Up, State::Down) => Some(Transition::WentDown),
            (_, State::Down, State::Up) => Some(Transition::CameUp),
            _ => None,
        }
    }

    fn state_of_link(&self) -> State {
        match &self.link {
            None => State::Missing,
            Some(link) if link.up && link.carrier => State::Up,
            Some(_) => State::Down,
        }
    }

    /// Enters a state, beginning or ending an outage, and says which state it left.
    fn enter(&mut self, state: State, now: u64) -> State {
        match state {
            State::Up => self.outages.end(now),
            State::Down | State::Missing => self.outages.begin(now),
        }
        std::mem::replace(&mut self.state, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, up: bool, tx_dropped: u64) -> Link {
        Link {
            ifindex: IfIndex::from_netlink(index).unwrap(),
            name: name.to_owned(),
            up,
            carrier: up,
            mtu: 1500,
            is_ethernet: true,
            is_tap: true,
            vnet_header: Some(true),
            mac: None,
            tx_queue_length: 1000,
            tx_packets: 0,
            rx_packets: 0,
            tx_dropped,
        }
    }

    fn endpoint(link: Option<Link>) -> Endpoint {
        Endpoint::new(InterfaceName::new("tap0").unwrap(), link, 0)
    }

    #[test]
    fn down_and_up_is_one_outage_and_its_length_is_known_while_it_lasts() {
        let mut tap = endpoint(Some(link(3, "tap0", true, 0)));
        assert_eq!(
            tap.observe(&LinkChange::Present(link(3, "tap0", false, 0)), 10),
            Some(Transition::WentDown)
        );
        assert_eq!(tap.observe(&LinkChange::Present(link(3, "tap0", false, 0)), 15), None);
        assert_eq!(tap.outages(25), Outages { count: 1, total_ns: 15 });
        assert_eq!(tap.observe(&LinkChange::Present(link(3, "tap0", true, 0)), 30), Some(Transition::CameUp));
        assert_eq!(tap.outages(99), Outages { count: 1, total_ns: 20 });
    }

    #[test]
    fn deleted_and_re_created_is_one_outage_until_it_is_up() {
        let mut tap = endpoint(Some(link(3, "tap0", true, 0)));
        let gone = LinkChange::Gone(IfIndex::from_netlink(3).unwrap());
        assert_eq!(tap.observe(&gone, 10), Some(Transition::Vanished));
        assert_eq!(tap.observe(&gone, 11), None);
        let back = link(7, "tap0", false, 0);
        assert_eq!(
            tap.observe(&LinkChange::Present(back.clone()), 20),
            Some(Transition::Returned(back.ifindex))
        );
        assert_eq!(tap.observe(&LinkChange::Present(link(7, "tap0", true, 0)), 30), Some(Transition::CameUp));
        assert_eq!(tap.outages(99), Outages { count: 1, total_ns: 20 });
    }

    #[test]
    fn other_interfaces_and_renames_change_nothing() {
        let mut tap = endpoint(Some(link(3, "tap0", true, 0)));
        assert_eq!(tap.observe(&LinkChange::Present(link(3, "renamed", true, 0)), 10), None);
        assert_eq!(tap.observe(&LinkChange::Present(link(9, "tap0", true, 0)), 10), None);
        assert_eq!(tap.observe(&LinkChange::Gone(IfIndex::from_netlink(9).unwrap()), 10), None);
        assert_eq!(tap.state(), State::Up);
        assert_eq!(tap.ifindex(), IfIndex::from_netlink(3));
    }

    #[test]
    fn what_is_lost_at_the_output_counts_from_the_start_and_over_re_creations() {
        let mut tap = endpoint(Some(link(3, "tap0", true, 100)));
        tap.update(Some(link(3, "tap0", true, 105)), 1);
        tap.update(None, 2);
        tap.update(Some(link(4, "tap0", true, 2)), 3);
        assert_eq!(tap.lost(), 7);
    }
}
