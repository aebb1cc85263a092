//! What a redirector is to do. A plan is checked once, here; nothing later doubts it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tapferry_sys::Error;
use tapferry_sys::filter::Direction;
use tapferry_sys::namespace::Namespace;
use tapferry_sys::netdev::{InterfaceName, InvalidName};

/// SO_MARK of everything tapferry injects, unless told otherwise; no capture takes frames that bear it.
///
/// The bits keep clear of those that kube-proxy (0x4000, 0x8000), Cilium (0x0f00) and Calico (the
/// upper half) give a meaning to.
pub const DEFAULT_MARK: u32 = 0x3074;
/// How far back an event may open the gate. Events come 0.15 ms (median) to 0.7 ms (p90) after their
/// timestamp, later on a busy host.
pub const DEFAULT_PRE_ROLL: Duration = Duration::from_millis(50);
/// Bytes of memory that the pre-roll may take.
pub const DEFAULT_PRE_ROLL_BYTES: usize = 16 * 1024 * 1024;
/// Bounds of the buffer between gate and output.
pub const DEFAULT_BUFFER: BufferPlan =
    BufferPlan { bytes: 16 * 1024 * 1024, frames: 65_536, when_full: WhenFull::DropNewest };

/// Which frames of in_netdev are captured, in QEMU's word for the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Frames to the guest: what the host sends out of the interface.
    Tx,
    /// Frames from the guest: what the interface receives.
    Rx,
    /// Both.
    All,
}

impl Queue {
    pub(crate) fn direction(self) -> Direction {
        match self {
            Self::Tx => Direction::Outgoing,
            Self::Rx => Direction::Incoming,
            Self::All => Direction::Both,
        }
    }
}

/// What matters more: work per frame or time per frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Least work: a plain socket while frames are few, and a ring, with up to four milliseconds of delay,
    /// while they are many.
    Balanced,
    /// Least delay: always a plain socket, tens of microseconds, about twice the work under load.
    Low,
}

/// Whether frames pass while the VM is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStopped {
    /// `enable_when_stopped=off`: only while it runs.
    Off,
    /// `enable_when_stopped=on`: while it runs and while it is stopped.
    On,
    /// Only while it is stopped.
    Only,
}

/// A network interface, where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netdev {
    /// Its name, in its namespace.
    pub name: InterfaceName,
    /// Its network namespace; `None`: that of the thread which starts the redirector.
    pub namespace: Option<Namespace>,
}

impl Netdev {
    /// An interface of the namespace in which the redirector is started.
    pub fn here(name: &str) -> Result<Self, InvalidName> {
        Ok(Self { name: InterfaceName::new(name)?, namespace: None })
    }

    /// Brings the calling thread to where the interface is: what it opens now belongs there.
    pub fn enter(&self) -> Result<(), Error> {
        self.namespace.as_ref().map_or(Ok(()), Namespace::enter)
    }
}

impl fmt::Display for Netdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Where a stream is.
#[derive(Debug, Clone)]
pub enum Address {
    /// A unix socket.
    Unix {
        /// Where it is bound.
        path: PathBuf,
        /// Whether it is bound here and peers connect to it, or the other way round.
        server: bool,
    },
    /// TCP.
    Tcp {
        /// A name or an address; empty for a server on all addresses.
        host: String,
        /// Its port.
        port: u16,
        /// Whether it is bound here and peers connect to it, or the other way round.
        server: bool,
    },
    /// A stream socket that the process was started with. One that listens has peers like a server; one that is
    /// connected has this one peer.
    Passed {
        /// Its number in the process, for people.
        number: u32,
        /// A duplicate of our own.
        descriptor: Arc<OwnedFd>,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "tcp:{}", host_and_port(host, *port)),
            Self::Passed { number, .. } => write!(f, "fd:{number}"),
        }
    }
}

/// A stream of frames in QEMU's framing, QEMU's chardev.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// Where it is.
    pub address: Address,
    /// QEMU's `vnet_hdr_support`: the length of a virtio-net header is announced before each frame. Both ends must
    /// agree.
    pub vnet_hdr: bool,
    /// Bytes of that header, announced or not. `None`: an input sees for itself; an output writes the header that a
    /// frame brought from a stream of the same kind, else 12 bytes where they are announced, and none where not.
    pub vnet_hdr_len: Option<usize>,
    /// The network namespace for TCP; `None`: that of the thread which starts the redirector.
    pub namespace: Option<Namespace>,
    /// QEMU's `tls-creds`: the directory of credentials (`tls-creds-x509`, its `dir`); `None`: no TLS. A client
    /// has to have dialled a host, whose name the server's certificate must bear.
    pub tls_creds: Option<PathBuf>,
}

/// A host and a port of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address; empty for all addresses of this host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_and_port(&self.host, self.port))
    }
}

/// As people write them: an address of IPv6 stands in brackets.
fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Where datagrams go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A unix socket, where it is bound.
    Unix(PathBuf),
    /// UDP.
    Udp {
        /// Where: an input is bound there.
        to: HostPort,
        /// Where from: an output is bound there, an input takes frames from nowhere else. `None`: from anywhere.
        from: Option<HostPort>,
    },
}

/// Frames as datagrams, one in each, without a virtio-net header: QEMU's `-netdev dgram`.
#[derive(Debug, Clone)]
pub struct DatagramPlan {
    /// Where they go.
    pub destination: Destination,
    /// The network namespace for UDP; `None`: that of the thread which starts the redirector.
    pub namespace: Option<Namespace>,
}

impl fmt::Display for DatagramPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            Destination::Unix(path) => write!(f, "dgram:unix:{}", path.display()),
            Destination::Udp { to, .. } => write!(f, "dgram:{to}"),
        }
    }
}

/// One end of a redirector.
#[derive(Debug, Clone)]
pub enum End {
    /// in_netdev or out_netdev.
    Netdev(Netdev),
    /// indev or outdev.
    Stream(StreamPlan),
    /// indev or outdev, without a connection.
    Datagram(DatagramPlan),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netdev(netdev) => netdev.fmt(f),
            Self::Stream(stream) => stream.address.fmt(f),
            Self::Datagram(datagram) => datagram.fmt(f),
        }
    }
}

impl End {
    fn namespace(&mut self) -> &mut Option<Namespace> {
        match self {
            Self::Netdev(netdev) => &mut netdev.namespace,
            Self::Stream(stream) => &mut stream.namespace,
            Self::Datagram(datagram) => &mut datagram.namespace,
        }
    }
}

/// When frames that have passed the gate may leave; QEMU's filter-buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// All that have come, this often.
    Every(Duration),
    /// When the VM runs, and at once while it does.
    UntilRunning,
}

/// What goes when a buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The frame that finds no room.
    DropNewest,
    /// Those that have waited longest.
    DropOldest,
}

/// The buffer between gate and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferPlan {
    /// Bytes that may wait.
    pub bytes: usize,
    /// Frames that may wait.
    pub frames: usize,
    /// What goes when it is full.
    pub when_full: WhenFull,
}

/// A redirector.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where frames come from.
    pub input: End,
    /// Where frames go. May be the interface that they come from.
    pub output: End,
    /// Direction of capture; of an interface alone.
    pub queue: Queue,
    /// How to capture from an interface.
    pub latency: Latency,
    /// `status`, to begin with.
    pub status: bool,
    /// The gate's rule for a stopped VM.
    pub when_stopped: WhenStopped,
    /// Whether the VM runs, to begin with; `true` without a monitor.
    pub running: bool,
    /// How far back an event may open the gate. Zero: not at all, and a closed gate costs nothing.
    pub pre_roll: Duration,
    /// Bytes of memory that the pre-roll may take.
    pub pre_roll_bytes: usize,
    /// When frames that have passed the gate may leave; `None`: at once.
    pub hold: Option<Hold>,
    /// Bounds of what waits for that, or for an output that takes no more. From interface to interface without
    /// a hold, frames wait in the capture instead.
    pub buffer: BufferPlan,
    /// Whether every frame leaves through an outdev with its checksum complete and cut into segments, although a
    /// virtio-net header could say what is left to do.
    pub complete_offloads: bool,
    /// SO_MARK of injected frames; frames that bear it are not captured.
    pub mark: u32,
    /// Wait for an interface or a peer that is missing at the start, instead of failing.
    pub wait: bool,
    /// Forward at most this many frames.
    pub count: Option<u64>,
}

impl Plan {
    /// A plan with every default, for two interfaces.
    pub fn new(in_netdev: &str, out_netdev: &str) -> Result<Self, InvalidName> {
        let [input, output] = [Netdev::here(in_netdev)?, Netdev::here(out_netdev)?].map(End::Netdev);
        Ok(Self::between(input, output))
    }

    /// A plan with every default.
    pub fn between(input: End, output: End) -> Self {
        Self {
            input,
            output,
            queue: Queue::Tx,
            latency: Latency::Balanced,
            status: true,
            when_stopped: WhenStopped::Off,
            running: true,
            pre_roll: DEFAULT_PRE_ROLL,
            pre_roll_bytes: DEFAULT_PRE_ROLL_BYTES,
            hold: None,
            buffer: DEFAULT_BUFFER,
            complete_offloads: false,
            mark: DEFAULT_MARK,
            wait: false,
            count: None,
        }
    }

    /// Names the namespace of an end that has none: a thread that has left it would not find back.
    pub(crate) fn pin_namespaces(&mut self) -> Result<(), Error> {
        let ends = [self.input.namespace(), self.output.namespace()];
        if ends.iter().all(|namespace| namespace.is_none()) {
            return Ok(());
        }
        let here = Namespace::own()?;
        for namespace in ends {
            namespace.get_or_insert_with(|| here.clone());
        }
        Ok(())
    }

    /// Whether frames have a buffer before the output. From interface to interface the capture is one: nothing is
    /// copied, and it is larger. A stream must always be read, or the VM behind it would wait.
    pub(crate) fn has_buffer(&self) -> bool {
        self.hold.is_some() || !matches!((&self.input, &self.output), (End::Netdev(_), End::Netdev(_)))
    }
}
