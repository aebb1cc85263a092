//! Policy rules that look at a packet's mark (ip-rule(8), `fwmark`): they may send what tapferry has marked
//! somewhere else.

use netlink_packet_core::Parseable;
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use crate::error::Error;
use crate::netlink;

/// A rule for packets whose mark, under the mask, is `mark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRule {
    /// Its place: the lowest comes first.
    pub priority: u32,
    /// What the masked mark must be.
    pub mark: u32,
    /// The bits that count.
    pub mask: u32,
    /// The routing table it leads to; 0 for a rule that leads to none.
    pub table: u32,
    /// For IPv6, not IPv4.
    pub ipv6: bool,
}

/// The rules of the calling thread's network namespace that look at the mark; IPv4 first.
pub fn list() -> Result<Vec<MarkRule>, Error> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        match netlink::dump(NETLINK_ROUTE, RouteNetlinkMessage::GetRule(request)) {
            Ok(rows) => rules.extend(
                rows.iter().filter_map(|row| RuleMessage::parse(row).ok()).filter_map(|rule| describe(&rule)),
            ),
            // A kernel without that family, or without policy rules, has none.
            Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(Error::new("list policy rules", "NETLINK_ROUTE", errno)),
        }
    }
    Ok(rules)
}

fn describe(rule: &RuleMessage) -> Option<MarkRule> {
    let find = |read: fn(&RuleAttribute) -> Option<u32>| rule.attributes.iter().find_map(read);
    let mark = find(|attribute| match attribute {
        RuleAttribute::FwMark(mark) => Some(*mark),
        _ => None,
    });
    let mask = find(|attribute| match attribute {
        RuleAttribute::FwMask(mask) => Some(*mask),
        _ => None,
    });
    if mark.is_none() && mask.is_none() {
        return None;
    }
    Some(MarkRule {
        // The kernel leaves out what is zero.
        priority: find(|attribute| match attribute {
            RuleAttribute::Priority(priority) => Some(*priority),
            _ => None,
        })
        .unwrap_or(0),
        mark: mark.unwrap_or(0),
        mask: mask.unwrap_or(u32::MAX),
        table: find(|attribute| match attribute {
            RuleAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or_else(|| rule.header.table.into()),
        ipv6: rule.header.family == AddressFamily::Inet6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(attributes: Vec<RuleAttribute>) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.table = 254;
        rule.attributes = attributes;
        rule
    }

    #[test]
    fn a_rule_without_a_mark_is_none() {
        assert_eq!(describe(&rule(vec![RuleAttribute::Priority(32766), RuleAttribute::Table(254)])), None);
    }

    #[test]
    fn what_the_kernel_leaves_out_is_zero_and_a_missing_mask_is_all_bits() {
        let expected = MarkRule { priority: 0, mark: 7, mask: u32::MAX, table: 254, ipv6: false };
        assert_eq!(describe(&rule(vec![RuleAttribute::FwMark(7)])), Some(expected));
        let unmarked = MarkRule { mark: 0, mask: 0xff, ..expected };
        assert_eq!(describe(&rule(vec![RuleAttribute::FwMask(0xff)])), Some(unmarked));
    }
}
