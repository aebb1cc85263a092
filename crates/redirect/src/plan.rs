//! What a redirector is to do. A plan is checked once, here; nothing later doubts it.

use std::fmt;
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
/// Bytes the pre-roll may hold.
pub const DEFAULT_PRE_ROLL_BYTES: usize = 16 * 1024 * 1024;

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
    pub(crate) fn enter(&self) -> Result<(), Error> {
        self.namespace.as_ref().map_or(Ok(()), Namespace::enter)
    }
}

impl fmt::Display for Netdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A redirector from interface to interface.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The interface to capture from.
    pub in_netdev: Netdev,
    /// The interface to inject into. May be the same.
    pub out_netdev: Netdev,
    /// Direction of capture.
    pub queue: Queue,
    /// How to capture.
    pub latency: Latency,
    /// `status`, to begin with.
    pub status: bool,
    /// The gate's rule for a stopped VM.
    pub when_stopped: WhenStopped,
    /// Whether the VM runs, to begin with; `true` without a monitor.
    pub running: bool,
    /// How far back an event may open the gate. Zero: not at all, and a closed gate costs nothing.
    pub pre_roll: Duration,
    /// Bytes the pre-roll may hold.
    pub pre_roll_bytes: usize,
    /// SO_MARK of injected frames; frames that bear it are not captured.
    pub mark: u32,
    /// Wait for an interface that is missing at the start, instead of failing.
    pub wait: bool,
    /// Forward at most this many frames.
    pub count: Option<u64>,
}

impl Plan {
    /// A plan with every default, for two interfaces.
    pub fn new(in_netdev: &str, out_netdev: &str) -> Result<Self, InvalidName> {
        Ok(Self {
            in_netdev: Netdev::here(in_netdev)?,
            out_netdev: Netdev::here(out_netdev)?,
            queue: Queue::Tx,
            latency: Latency::Balanced,
            status: true,
            when_stopped: WhenStopped::Off,
            running: true,
            pre_roll: DEFAULT_PRE_ROLL,
            pre_roll_bytes: DEFAULT_PRE_ROLL_BYTES,
            mark: DEFAULT_MARK,
            wait: false,
            count: None,
        })
    }

    /// Names the namespace of an end that has none: a thread that has left it would not find back.
    pub(crate) fn pin_namespaces(&mut self) -> Result<(), Error> {
        let ends = [&mut self.in_netdev, &mut self.out_netdev];
        if ends.iter().all(|netdev| netdev.namespace.is_none()) {
            return Ok(());
        }
        let here = Namespace::own()?;
        for netdev in ends {
            netdev.namespace.get_or_insert_with(|| here.clone());
        }
        Ok(())
    }
}
