//! A plan, as JavaScript writes it.

use std::time::Duration;

use napi_derive::napi;
use tapferry_redirect::{Latency, Netdev, Plan, Queue, WhenStopped};

use crate::error::Failure;
use crate::namespace::open_namespace;

/// Which frames of in_netdev are captured: `tx` to the guest, `rx` from the guest, `all` both.
#[napi(string_enum = "lowercase")]
pub enum QueueName {
    /// Frames to the guest.
    Tx,
    /// Frames from the guest.
    Rx,
    /// Both ways.
    All,
}

/// `balanced`: least work per frame; `low`: least delay.
#[napi(string_enum = "lowercase")]
pub enum LatencyName {
    /// A plain socket for few frames, a ring for many.
    Balanced,
    /// Always a plain socket.
    Low,
}

/// Whether frames pass while the VM is stopped: `off` no, `on` also then, `only` then alone.
#[napi(string_enum = "lowercase")]
pub enum WhenStoppedName {
    /// Closed while the VM is stopped.
    Off,
    /// Open while the VM is stopped, too.
    On,
    /// Open while the VM is stopped, and only then.
    Only,
}

/// What a redirector is to do.
#[napi(object)]
pub struct RedirectorOptions {
    /// Host interface to capture from.
    pub in_netdev: String,
    /// Host interface to inject into.
    pub out_netdev: String,
    /// Network namespace of in_netdev: a path such as `/run/netns/NAME` or `/proc/PID/ns/net`; left out, that
    /// of this process.
    pub in_netns: Option<String>,
    /// The same for out_netdev.
    pub out_netns: Option<String>,
    /// Direction of capture.
    pub queue: QueueName,
    /// How to capture.
    pub latency: LatencyName,
    /// `status=on|off`, to begin with.
    pub status: bool,
    /// The gate's rule for a stopped VM.
    pub when_stopped: WhenStoppedName,
    /// Whether the VM runs, to begin with; true without a monitor.
    pub running: bool,
    /// How far back an event may open the gate, in milliseconds.
    pub pre_roll_ms: u32,
    /// Bytes the pre-roll may hold.
    pub pre_roll_bytes: u32,
    /// SO_MARK of injected frames; frames that bear it are not captured.
    pub mark: u32,
    /// Wait for interfaces that are missing at the start.
    pub wait: bool,
    /// Forward at most this many frames.
    pub count: Option<i64>,
}

impl TryFrom<RedirectorOptions> for Plan {
    type Error = Failure;

    fn try_from(options: RedirectorOptions) -> Result<Self, Failure> {
        let in_netdev = netdev(&options.in_netdev, options.in_netns.as_deref())?;
        let out_netdev = netdev(&options.out_netdev, options.out_netns.as_deref())?;
        let count = options.count.map(u64::try_from).transpose().map_err(|_| {
            Failure::new(
                "INVALID_OPTIONS",
                &"count must not be negative",
                &"leave it out to forward every frame",
            )
        })?;
        let pre_roll_bytes = usize::try_from(options.pre_roll_bytes).map_err(|_| {
            Failure::new("INVALID_OPTIONS", &"pre-roll bytes exceed this machine's memory", &"give fewer")
        })?;
        Ok(Plan {
            queue: match options.queue {
                QueueName::Tx => Queue::Tx,
                QueueName::Rx => Queue::Rx,
                QueueName::All => Queue::All,
            },
            latency: match options.latency {
                LatencyName::Balanced => Latency::Balanced,
                LatencyName::Low => Latency::Low,
            },
            status: options.status,
            when_stopped: match options.when_stopped {
                WhenStoppedName::Off => WhenStopped::Off,
                WhenStoppedName::On => WhenStopped::On,
                WhenStoppedName::Only => WhenStopped::Only,
            },
            running: options.running,
            pre_roll: Duration::from_millis(options.pre_roll_ms.into()),
            pre_roll_bytes,
            mark: options.mark,
            wait: options.wait,
            count,
            in_netdev,
            out_netdev,
        })
    }
}

fn netdev(name: &str, namespace: Option<&str>) -> Result<Netdev, Failure> {
    let here = Netdev::here(name).map_err(|error| {
        Failure::new("NETDEV_NAME_INVALID", &error, &"see `ip link` for the names there are")
    })?;
    Ok(Netdev { namespace: namespace.map(open_namespace).transpose()?, ..here })
}
