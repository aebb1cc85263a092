//! What there is on the host. Its promises are settled from libuv's thread pool.

use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Env, Result};
use napi_derive::napi;
use tapferry_inspect::{InspectError, Privilege};
use tapferry_sys::Errno;
use tapferry_sys::interfaces::{PortState, Tun};
use tapferry_sys::namespace::Namespace;
use tapferry_sys::traffic_control::{Direction, Filter};

use crate::error::Failure;
use crate::namespace::open_namespace;
use crate::promise::{Work, promise};
use crate::statistics::number;

/// What there is in a network namespace, at one moment.
#[napi(object, object_from_js = false)]
pub struct NetworkView {
    /// `net:[4026531840]`.
    pub namespace: String,
    /// By ifindex.
    pub interfaces: Vec<HostInterface>,
    /// AF_PACKET sockets, whoever has them.
    pub packet_sockets: Vec<PacketSocket>,
    /// Policy rules that look at the mark.
    pub mark_rules: Vec<MarkRule>,
}

/// A network interface.
#[napi(object, object_from_js = false)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Other names it answers to.
    pub alt_names: Vec<String>,
    /// Its number.
    pub ifindex: u32,
    /// rtnetlink's word for its driver; empty where there is none.
    pub kind: String,
    /// Its frames have an Ethernet header.
    pub ethernet: bool,
    /// Set up by the administrator.
    pub up: bool,
    /// Has a carrier.
    pub carrier: bool,
    /// Bytes.
    pub mtu: u32,
    /// `52:54:00:12:34:56`; empty where there is none.
    pub mac: String,
    /// Queues for transmission.
    pub tx_queues: u32,
    /// Queues for reception.
    pub rx_queues: u32,
    /// Frames.
    pub tx_queue_length: u32,
    /// Bytes.
    pub gso_max_size: u32,
    /// Its root queueing discipline.
    pub qdisc: String,
    /// ifindex of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// `forwarding` or another, for a bridge port.
    pub bridge_port_state: Option<&'static str>,
    /// ifindex of a veth's peer, or of the lower interface.
    pub link: Option<u32>,
    /// That one is in another network namespace.
    pub link_elsewhere: bool,
    /// What is particular to TUN and TAP.
    pub tun: Option<TunFacts>,
    /// Active ones, by the names of `ethtool -k`.
    pub offloads: Vec<String>,
    /// Frames received by the host.
    pub rx_packets: f64,
    /// Frames sent by the host.
    pub tx_packets: f64,
    /// Frames not received.
    pub rx_dropped: f64,
    /// Frames not sent.
    pub tx_dropped: f64,
    /// What traffic control does with its frames.
    pub filters: Vec<TrafficFilter>,
}

/// What is particular to TUN and TAP.
#[napi(object, object_from_js = false)]
pub struct TunFacts {
    /// A TAP, not a TUN.
    pub tap: bool,
    /// A virtio-net header before each frame.
    pub vnet_header: bool,
    /// Outlives its descriptors.
    pub persistent: bool,
    /// May be opened several times.
    pub multi_queue: bool,
    /// Descriptors in use.
    pub queues: u32,
    /// Descriptors not in use.
    pub disabled_queues: u32,
    /// User id that may open it.
    pub owner: Option<u32>,
    /// Group id that may open it.
    pub group: Option<u32>,
}

/// A filter of traffic control, or a program at tcx.
#[napi(object, object_from_js = false)]
pub struct TrafficFilter {
    /// `ingress` or `egress`, as the host sees it.
    pub direction: &'static str,
    /// `u32`, `flower`, `bpf`, `tcx` and so on.
    pub kind: String,
    /// The lowest comes first.
    pub priority: u32,
    /// Ethertype; 3 is all.
    pub protocol: u32,
    /// Its number.
    pub handle: u32,
    /// `mirred`, `gact` and so on.
    pub actions: Vec<String>,
    /// The eBPF program that decides.
    pub program_id: Option<u32>,
}

/// A socket that captures, or only sends.
#[napi(object, object_from_js = false)]
pub struct PacketSocket {
    /// 0: all interfaces.
    pub ifindex: u32,
    /// Ethertype; 3 is all, 0 is none.
    pub protocol: u32,
    /// As `/proc/PID/fd` shows it.
    pub inode: f64,
    /// Its owner.
    pub uid: u32,
    /// Hooked in.
    pub running: bool,
}

/// A policy rule that looks at the mark.
#[napi(object, object_from_js = false)]
pub struct MarkRule {
    /// The lowest comes first.
    pub priority: u32,
    /// What the masked mark must be.
    pub mark: u32,
    /// The bits that count.
    pub mask: u32,
    /// The routing table it leads to.
    pub table: u32,
    /// For IPv6.
    pub ipv6: bool,
}

/// A TAP's descriptor.
#[napi(object, object_from_js = false)]
pub struct TapDescriptor {
    /// Its interface's name.
    #[napi(js_name = "interface")]
    pub name: String,
    /// Where the interface is; absent where the kernel does not tell.
    pub namespace: Option<String>,
    /// A TAP, not a TUN.
    pub tap: bool,
    /// One of several queues.
    pub multi_queue: bool,
    /// A virtio-net header before each frame.
    pub vnet_header: bool,
    /// Its length; 0 without one.
    pub vnet_header_bytes: u32,
}

/// One end of a connection of unix sockets.
#[napi(object, object_from_js = false)]
pub struct UnixPeer {
    /// As `/proc/PID/fd` shows it.
    pub inode: u32,
    /// The other end's.
    pub peer: u32,
    /// Where it is bound.
    pub path: Option<String>,
}

/// How good this machine's clocks are.
#[napi(object, object_from_js = false)]
pub struct ClockFacts {
    /// Nanoseconds between two ticks.
    pub jiffy_ns: f64,
    /// Something keeps the wall clock in step.
    pub synchronized: bool,
    /// Microseconds it may be off.
    pub error_us: f64,
    /// Seconds from UTC to TAI; 0 where it is not known.
    pub tai_offset: i32,
}

/// What became of a try.
#[napi(object, object_from_js = false)]
pub struct PrivilegeProbe {
    /// `packet_socket`, `mark`, `receive_buffer` or `ring`.
    pub what: &'static str,
    /// The kernel did it.
    pub allowed: bool,
    /// `EPERM` and so on.
    pub errno: Option<String>,
    /// One line for people.
    pub message: Option<String>,
}

/// What there is in the network namespace of that path; without it, in this process's own.
#[napi(catch_unwind, ts_return_type = "Promise<NetworkView>")]
pub fn inspect_network(netns: Option<String>) -> AsyncTask<Work<NetworkView>> {
    ask_in(netns, |namespace| tapferry_inspect::network(namespace).map(Into::into))
}

/// Which interface a descriptor of another process belongs to.
#[napi(catch_unwind, ts_return_type = "Promise<TapDescriptor>")]
pub fn inspect_tap_descriptor(pid: i32, fd: i32) -> AsyncTask<Work<TapDescriptor>> {
    promise(move || Ok(tapferry_inspect::tap_descriptor(pid, fd)?.into()))
}

/// The connected unix sockets of the network namespace of that path; without it, of this process's own.
#[napi(catch_unwind, ts_return_type = "Promise<UnixPeer[]>")]
pub fn inspect_unix_peers(netns: Option<String>) -> AsyncTask<Work<Vec<UnixPeer>>> {
    ask_in(netns, |namespace| {
        Ok(tapferry_inspect::unix_peers(namespace)?.into_iter().map(Into::into).collect())
    })
}

/// How good this machine's clocks are. Throws an error with a stable `code`.
#[napi(catch_unwind)]
pub fn inspect_clock(env: Env) -> Result<ClockFacts> {
    let quality = tapferry_inspect::clock().map_err(|error| Failure::from(error).into_rejection(env))?;
    Ok(ClockFacts {
        jiffy_ns: number(quality.jiffy_ns),
        synchronized: quality.synchronized,
        error_us: number(quality.error_us),
        tai_offset: quality.tai_offset,
    })
}

/// What the kernel allows this process in the network namespace of that path; without it, in its own.
#[napi(catch_unwind, ts_return_type = "Promise<PrivilegeProbe[]>")]
pub fn probe_privileges(netns: Option<String>) -> AsyncTask<Work<Vec<PrivilegeProbe>>> {
    ask_in(netns, |namespace| {
        Ok(tapferry_inspect::privileges(namespace)?.into_iter().map(Into::into).collect())
    })
}

fn ask_in<T>(
    netns: Option<String>,
    question: impl FnOnce(Option<&Namespace>) -> std::result::Result<T, InspectError> + Send + 'static,
) -> AsyncTask<Work<T>>
where
    T: Send + ToNapiValue + TypeName + 'static,
{
    promise(move || {
        let namespace = netns.as_deref().map(open_namespace).transpose()?;
        Ok(question(namespace.as_ref())?)
    })
}

impl From<tapferry_inspect::NetworkView> for NetworkView {
    fn from(view: tapferry_inspect::NetworkView) -> Self {
        Self {
            namespace: view.namespace.to_string(),
            interfaces: view.interfaces.into_iter().map(Into::into).collect(),
            packet_sockets: view.packet_sockets.into_iter().map(Into::into).collect(),
            mark_rules: view.mark_rules.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<tapferry_inspect::HostInterface> for HostInterface {
    fn from(host: tapferry_inspect::HostInterface) -> Self {
        let interface = host.interface;
        Self {
            name: interface.name,
            alt_names: interface.alt_names,
            ifindex: interface.ifindex.get(),
            kind: interface.kind,
            ethernet: interface.is_ethernet,
            up: interface.up,
            carrier: interface.carrier,
            mtu: interface.mtu,
            mac: interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            tx_queues: interface.tx_queues,
            rx_queues: interface.rx_queues,
            tx_queue_length: interface.tx_queue_length,
            gso_max_size: interface.gso_max_size,
            qdisc: interface.qdisc,
            controller: interface.controller.map(|ifindex| ifindex.get()),
            bridge_port_state: interface.bridge_port.map(port_state),
            link: interface.link.map(|ifindex| ifindex.get()),
            link_elsewhere: interface.link_elsewhere,
            tun: interface.tun.map(Into::into),
            offloads: host.offloads,
            rx_packets: number(interface.counters.rx_packets),
            tx_packets: number(interface.counters.tx_packets),
            rx_dropped: number(interface.counters.rx_dropped),
            tx_dropped: number(interface.counters.tx_dropped),
            filters: host.filters.into_iter().map(Into::into).collect(),
        }
    }
}

fn port_state(state: PortState) -> &'static str {
    match state {
        PortState::Disabled => "disabled",
        PortState::Listening => "listening",
        PortState::Learning => "learning",
        PortState::Forwarding => "forwarding",
        PortState::Blocking => "blocking",
    }
}

impl From<Tun> for TunFacts {
    fn from(tun: Tun) -> Self {
        Self {
            tap: tun.tap,
            vnet_header: tun.vnet_header,
            persistent: tun.persistent,
            multi_queue: tun.multi_queue,
            queues: tun.queues,
            disabled_queues: tun.disabled_queues,
            owner: tun.owner,
            group: tun.group,
        }
    }
}

impl From<Filter> for TrafficFilter {
    fn from(filter: Filter) -> Self {
        Self {
            direction: match filter.direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            },
            kind: filter.kind,
            priority: filter.priority.into(),
            protocol: filter.protocol.into(),
            handle: filter.handle,
            actions: filter.actions,
            program_id: filter.program_id,
        }
    }
}

impl From<tapferry_inspect::PacketSocket> for PacketSocket {
    fn from(socket: tapferry_inspect::PacketSocket) -> Self {
        Self {
            ifindex: socket.ifindex,
            protocol: socket.protocol.into(),
            inode: number(socket.inode),
            uid: socket.uid,
            running: socket.running,
        }
    }
}

impl From<tapferry_sys::rules::MarkRule> for MarkRule {
    fn from(rule: tapferry_sys::rules::MarkRule) -> Self {
        Self { priority: rule.priority, mark: rule.mark, mask: rule.mask, table: rule.table, ipv6: rule.ipv6 }
    }
}

impl From<tapferry_sys::tap::TapDescriptor> for TapDescriptor {
    fn from(descriptor: tapferry_sys::tap::TapDescriptor) -> Self {
        Self {
            name: descriptor.interface,
            namespace: descriptor.namespace.map(|namespace| namespace.to_string()),
            tap: descriptor.tap,
            multi_queue: descriptor.multi_queue,
            vnet_header: descriptor.vnet_header,
            vnet_header_bytes: descriptor.vnet_header_bytes,
        }
    }
}

impl From<tapferry_sys::unix_peers::UnixPeer> for UnixPeer {
    fn from(end: tapferry_sys::unix_peers::UnixPeer) -> Self {
        Self { inode: end.inode, peer: end.peer, path: end.path }
    }
}

impl From<tapferry_inspect::Probe> for PrivilegeProbe {
    fn from(probe: tapferry_inspect::Probe) -> Self {
        Self {
            what: match probe.what {
                Privilege::PacketSocket => "packet_socket",
                Privilege::Mark => "mark",
                Privilege::ReceiveBuffer => "receive_buffer",
                Privilege::Ring => "ring",
            },
            allowed: probe.refusal.is_none(),
            errno: probe.refusal.as_ref().map(|error| errno_name(error.errno)),
            message: probe.refusal.map(|error| error.to_string()),
        }
    }
}

/// The name of what these calls are refused with (errno(3)); the number of anything else.
fn errno_name(errno: Errno) -> String {
    match errno {
        Errno::PERM => "EPERM".into(),
        Errno::ACCESS => "EACCES".into(),
        Errno::NOMEM => "ENOMEM".into(),
        Errno::NOBUFS => "ENOBUFS".into(),
        Errno::MFILE => "EMFILE".into(),
        Errno::NFILE => "ENFILE".into(),
        Errno::INVAL => "EINVAL".into(),
        Errno::NOPROTOOPT => "ENOPROTOOPT".into(),
        Errno::AFNOSUPPORT => "EAFNOSUPPORT".into(),
        other => format!("errno {}", other.raw_os_error()),
    }
}
