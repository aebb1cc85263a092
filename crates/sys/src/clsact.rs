//! An eBPF program at an interface's way out as a filter of traffic control: the classifier `bpf` in direct-action mode
//! at clsact (tc-bpf(8), tc(8); Linux 4.5), before all other filters there.
//!
//! Unlike one at tcx it outlives its process, and so does clsact. Hence its signs: priority, handle, and a name that
//! says whether clsact was made for it. A clsact around such a filter is the one that was made, because nobody can
//! remove that without the filter; it goes with it, unless somebody else has put filters into it. What does not have
//! all the signs is never touched. A process that is killed between the two leaves an empty clsact, which does nothing.

use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use crate::error::Error;
use crate::netdev::IfIndex;
use crate::netlink;
use crate::traffic_control::{ALL_PROTOCOLS, Direction, Filter, Hooks, TrafficControl, place};

const CLSACT: &str = "clsact";
/// The first; of filters of the kind `bpf` that share it, the newest comes first (net/sched/cls_bpf.c).
const PRIORITY: u16 = 1;
/// A process's number below makes it a handle: one filter for each process at each interface. Numbers are less than
/// 2^22 (proc(5), pid_max).
const HANDLE: u32 = 0x7400_0000;
const NAME: &str = "tapferry_gate";
/// The name of one for which clsact was made.
const NAME_WITH_CLSACT: &str = "tapferry_gate+clsact";

/// A program that is there. It leaves when this is dropped in the network namespace of the interface.
#[derive(Debug)]
pub(crate) struct ClsactFilter {
    ifindex: IfIndex,
}

impl ClsactFilter {
    /// The interface is in the calling thread's network namespace.
    ///
    /// `Errno::EXIST`: there is an `ingress` where clsact would be, or a filter of this process. `Errno::INVAL`: a filter
    /// of another kind has the first place. `Errno::NOENT`: the kernel has no clsact, or no classifier `bpf`.
    pub(crate) fn attach(program: &OwnedFd, ifindex: IfIndex) -> Result<Self, Error> {
        let has_made = make_clsact(ifindex)?;
        let name = if has_made { NAME_WITH_CLSACT } else { NAME };
        let result = add(program, ifindex, name).map_err(Error::on(
            "put a filter before all others at clsact egress (priority 1)",
            &object(ifindex),
        ));
        if has_made && result.is_err() {
            // What is in the way is told; that this fails as well is not.
            remove_clsact_if_empty(ifindex).ok();
        }
        result.map(|()| Self { ifindex })
    }
}

impl Drop for ClsactFilter {
    fn drop(&mut self) {
        // It fails when the interface is gone, and the filter with it.
        remove_filter_of(self.ifindex, std::process::id()).ok();
    }
}

/// Takes away the filter that a process of that number put at an interface in the calling thread's network namespace,
/// and the clsact that was made for it. `false`: there is none. `Errno::PERM` without CAP_NET_ADMIN.
pub(crate) fn remove_filter_of(ifindex: IfIndex, process: u32) -> Result<bool, Error> {
    let handle = HANDLE | process;
    let filters = TrafficControl::open()?.classifiers(ifindex, Direction::Egress)?;
    let Some(filter) = filters.iter().find(|filter| is_ours(filter, handle)) else { return Ok(false) };
    let request = RouteNetlinkMessage::DelTrafficFilter(filter_message(ifindex, handle));
    netlink::change(NETLINK_ROUTE, request)
        .map_err(Error::on("remove a filter at clsact egress", &object(ifindex)))?;
    if filter.program_name.as_deref() == Some(NAME_WITH_CLSACT) {
        remove_clsact_if_empty(ifindex)?;
    }
    Ok(true)
}

fn is_ours(filter: &Filter, handle: u32) -> bool {
    let is_named =
        filter.program_name.as_deref().is_some_and(|name| [NAME, NAME_WITH_CLSACT].contains(&name));
    is_named && (filter.priority, filter.handle) == (PRIORITY, handle)
}

/// Whether it was not there before.
fn make_clsact(ifindex: IfIndex) -> Result<bool, Error> {
    let request = RouteNetlinkMessage::NewQueueDiscipline(clsact_message(ifindex));
    match netlink::create(NETLINK_ROUTE, request) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) if TrafficControl::open()?.hooks(ifindex) == Some(Hooks::Both) => Ok(false),
        // A filter would go to the wrong direction there.
        Err(Errno::EXIST) => {
            let operation = "make room for a filter at egress beside the queueing discipline 'ingress'";
            Err(Error::new(operation, object(ifindex), Errno::EXIST))
        }
        Err(errno) => Err(Error::new("create the queueing discipline clsact", object(ifindex), errno)),
    }
}

fn remove_clsact_if_empty(ifindex: IfIndex) -> Result<(), Error> {
    let control = TrafficControl::open()?;
    for direction in [Direction::Ingress, Direction::Egress] {
        if !control.classifiers(ifindex, direction)?.is_empty() {
            return Ok(());
        }
    }
    netlink::change(NETLINK_ROUTE, RouteNetlinkMessage::DelQueueDiscipline(clsact_message(ifindex)))
        .map_err(Error::on("remove the queueing discipline clsact", &object(ifindex)))
}

fn add(program: &OwnedFd, ifindex: IfIndex, name: &str) -> Result<(), Errno> {
    let mut message = filter_message(ifindex, HANDLE | std::process::id());
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    message.attributes.push(TcAttribute::Options(options.map(TcOption::Bpf).into()));
    netlink::create(NETLINK_ROUTE, RouteNetlinkMessage::NewTrafficFilter(message))
}

fn filter_message(ifindex: IfIndex, handle: u32) -> TcMessage {
    let mut message = message(ifindex, TcFilterBpf::KIND);
    message.header.parent = place(Direction::Egress);
    message.header.handle = handle.into();
    // tcm_info: the priority above, the protocol in network byte order below.
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS.to_be());
    message
}

fn clsact_message(ifindex: IfIndex) -> TcMessage {
    let mut message = message(ifindex, CLSACT);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message
}

fn message(ifindex: IfIndex, kind: &str) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.0);
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

fn object(ifindex: IfIndex) -> String {
    format!("ifindex {}", ifindex.get())
}
