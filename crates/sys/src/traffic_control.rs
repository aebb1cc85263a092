//! What traffic control does with an interface's frames before a bridge or a guest sees them: filters at clsact
//! or ingress (tc(8), rtnetlink), and eBPF programs at tcx (bpf(2), BPF_PROG_QUERY, Linux 6.6).

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcHandle, TcHeader, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use crate::bpf::{TCX_EGRESS, TCX_INGRESS, tcx_programs};
use crate::error::Error;
use crate::netdev::IfIndex;
use crate::netlink::{self, attributes, number, text};

/// Length of what stands before a message's attributes (struct tcmsg, linux/rtnetlink.h).
const HEADER: usize = 20;
/// TCA_KIND and TCA_OPTIONS (linux/rtnetlink.h).
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
/// TCA_ACT_KIND, inside an action (linux/pkt_cls.h).
const ACTION_KIND: u16 = 1;
/// The program of a filter of the kind `bpf`, and what whoever made it calls it (linux/pkt_cls.h).
const BPF_NAME: u16 = 7;
const BPF_ID: u16 = 11;
/// ETH_P_ALL: all protocols.
pub(crate) const ALL_PROTOCOLS: u16 = 3;

/// Which way the frames go, as the host sees it: out of a TAP is towards its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received from the interface.
    Ingress,
    /// Sent out of the interface.
    Egress,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// For frames of that direction.
    pub direction: Direction,
    /// Its classifier's name: `u32`, `flower`, `matchall`, `bpf`; or `tcx`.
    pub kind: String,
    /// Its place: the lowest comes first. For tcx, its place in the list, from 0 on.
    pub priority: u16,
    /// Ethertype of the frames it looks at; ETH_P_ALL (3) is all.
    pub protocol: u16,
    /// Its number among those of the same priority; 0 for tcx.
    pub handle: u32,
    /// The names of its actions in order: `mirred`, `gact`.
    pub actions: Vec<String>,
    /// The eBPF program that decides.
    pub program_id: Option<u32>,
    /// What whoever made the filter calls that program. Of a filter of the kind `bpf`.
    pub program_name: Option<String>,
}

/// Where a queueing discipline lets filters be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hooks {
    /// `clsact`.
    Both,
    /// `ingress`.
    Ingress,
}

/// Reads the filters of one network namespace.
#[derive(Debug)]
pub struct TrafficControl {
    hooks: BTreeMap<i32, Hooks>,
}

impl TrafficControl {
    /// For the calling thread's network namespace, with the queueing disciplines that are there now.
    pub fn open() -> Result<Self, Error> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let rows = netlink::dump(NETLINK_ROUTE, request)
            .map_err(Error::on("list queueing disciplines", "NETLINK_ROUTE"))?;
        let hooks = rows.iter().filter_map(|row| {
            let header = TcHeader::parse(row).ok()?;
            let kind = attributes(row.get(HEADER..)?)
                .find_map(|(kind, value)| (kind == KIND).then(|| text(value)))?;
            match kind.as_str() {
                "clsact" => Some((header.index, Hooks::Both)),
                "ingress" => Some((header.index, Hooks::Ingress)),
                _ => None,
            }
        });
        Ok(Self { hooks: hooks.collect() })
    }

    /// The filters of an interface: ingress first, and what comes first on each way. Programs at tcx, which run
    /// before all others, are there when the kernel knows tcx and lets us ask (CAP_NET_ADMIN).
    pub fn filters(&self, ifindex: IfIndex) -> Result<Vec<Filter>, Error> {
        let mut filters = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            filters.extend(programs(ifindex, direction).unwrap_or_default());
            filters.extend(self.classifiers(ifindex, direction)?);
        }
        Ok(filters)
    }

    /// Where filters can be put on an interface.
    pub(crate) fn hooks(&self, ifindex: IfIndex) -> Option<Hooks> {
        self.hooks.get(&ifindex.0).copied()
    }

    /// The filters of one direction, without programs at tcx; what comes first is first.
    pub(crate) fn classifiers(&self, ifindex: IfIndex, direction: Direction) -> Result<Vec<Filter>, Error> {
        let hooked = match self.hooks(ifindex) {
            Some(Hooks::Both) => true,
            // Asked for those of egress, the kernel would answer with those of ingress.
            Some(Hooks::Ingress) => direction == Direction::Ingress,
            None => false,
        };
        let on = Error::on("list tc filters", &format!("ifindex {}", ifindex.get()));
        if hooked { classifiers(ifindex, direction).map_err(on) } else { Ok(Vec::new()) }
    }
}

/// Where clsact has the filters of a direction.
pub(crate) fn place(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: TcHandle::CLSACT.major, minor }
}

fn classifiers(ifindex: IfIndex, direction: Direction) -> Result<Vec<Filter>, Errno> {
    let mut request = TcMessage::with_index(ifindex.0);
    request.header.parent = place(direction);
    let rows = netlink::dump(NETLINK_ROUTE, RouteNetlinkMessage::GetTrafficFilter(request))?;
    Ok(rows.iter().filter_map(|row| describe(row, direction)).collect())
}

/// Attributes are looked at one by one: the crate for rtnetlink would refuse the whole filter for one option of a
/// classifier that it does not know.
fn describe(row: &[u8], direction: Direction) -> Option<Filter> {
    let header = TcHeader::parse(row).ok()?;
    // tcm_info: the priority above, the protocol in network byte order below.
    let protocol = u16::try_from(header.info & 0xffff).ok()?;
    let mut filter = Filter {
        direction,
        kind: String::new(),
        priority: u16::try_from(header.info >> 16).ok()?,
        protocol: u16::from_be(protocol),
        handle: header.handle.into(),
        actions: Vec::new(),
        program_id: None,
        program_name: None,
    };
    for (kind, value) in attributes(row.get(HEADER..)?) {
        match kind {
            KIND => filter.kind = text(value),
            OPTIONS => add_options(&mut filter, value),
            _ => {}
        }
    }
    (!is_a_place_for_filters(&filter)).then_some(filter)
}

/// A dump has a line for each priority, and for each hash table of the classifier u32; they match nothing.
fn is_a_place_for_filters(filter: &Filter) -> bool {
    filter.handle == 0 || (filter.kind == "u32" && filter.handle & 0xfff == 0)
}

fn add_options(filter: &mut Filter, options: &[u8]) {
    let list = actions_attribute(&filter.kind);
    for (kind, value) in attributes(options) {
        if Some(kind) == list {
            // Each action stands in an attribute whose kind is its place.
            filter.actions = attributes(value)
                .filter_map(|(_, action)| attributes(action).find(|(kind, _)| *kind == ACTION_KIND))
                .map(|(_, name)| text(name))
                .collect();
        } else if filter.kind == "bpf" {
            match kind {
                BPF_NAME => filter.program_name = Some(text(value)),
                BPF_ID => filter.program_id = Some(number(value)),
                _ => {}
            }
        }
    }
}

/// Which option holds a classifier's actions (TCA_*_ACT, linux/pkt_cls.h).
fn actions_attribute(kind: &str) -> Option<u16> {
    Some(match kind {
        "bpf" | "cgroup" => 1,
        "matchall" => 2,
        "basic" | "flower" => 3,
        "fw" => 4,
        "route" => 6,
        "u32" => 7,
        "flow" => 9,
        _ => return None,
    })
}

/// The programs at tcx of an interface in the calling thread's network namespace.
fn programs(ifindex: IfIndex, direction: Direction) -> Result<Vec<Filter>, Errno> {
    let attach_type = match direction {
        Direction::Ingress => TCX_INGRESS,
        Direction::Egress => TCX_EGRESS,
    };
    let ids = tcx_programs(ifindex, attach_type)?;
    Ok(ids
        .into_iter()
        .zip(0..)
        .map(|(id, priority)| Filter {
            direction,
            kind: "tcx".into(),
            priority,
            protocol: ALL_PROTOCOLS,
            handle: 0,
            actions: Vec::new(),
            program_id: Some(id),
            program_name: None,
        })
        .collect())
}
