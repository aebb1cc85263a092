//! A plan, as JavaScript writes it.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use tapferry_redirect::{
    Address, Attempt, BufferPlan, DatagramPlan, Destination, End, Hold, HostPort, Latency, Netdev, Plan,
    Queue, StreamError, StreamPlan, WhenFull, WhenStopped,
};
use tapferry_sys::inherited;

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

/// A host and a port.
#[napi(object)]
pub struct TcpAddress {
    /// A name or an address; empty for a server on all addresses.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A stream of frames: `unix`, `tcp` or `fd`, one of them.
#[napi(object)]
pub struct StreamOptions {
    /// The path of a unix socket.
    pub unix: Option<String>,
    /// An address of TCP.
    pub tcp: Option<TcpAddress>,
    /// The number of a descriptor that this process was started with.
    pub fd: Option<u32>,
    /// Whether peers connect to it, or the other way round.
    pub server: bool,
    /// QEMU's `vnet_hdr_support`.
    pub vnet_hdr_support: bool,
    /// Bytes of the virtio-net header, announced or not.
    pub vnet_hdr_length: Option<u32>,
    /// QEMU's `tls-creds`: the directory of credentials; left out, there is no TLS.
    pub tls_creds: Option<String>,
}

/// Frames in datagrams, one in each: `unix` or `udp`, one of them.
#[napi(object)]
pub struct DatagramOptions {
    /// The path of a unix socket.
    pub unix: Option<String>,
    /// An address of UDP.
    pub udp: Option<TcpAddress>,
    /// With `udp`: where they come from; left out, from anywhere.
    pub from: Option<TcpAddress>,
}

/// What a redirector is to do.
#[napi(object)]
pub struct RedirectorOptions {
    /// Host interface to capture from; this, `indev` or `in_datagrams`.
    pub in_netdev: Option<String>,
    /// Stream to read.
    pub indev: Option<StreamOptions>,
    /// Datagrams to take.
    pub in_datagrams: Option<DatagramOptions>,
    /// Host interface to inject into; this, `outdev` or `out_datagrams`.
    pub out_netdev: Option<String>,
    /// Stream to write.
    pub outdev: Option<StreamOptions>,
    /// Datagrams to send.
    pub out_datagrams: Option<DatagramOptions>,
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
    /// Bytes of memory that the pre-roll may take.
    pub pre_roll_bytes: u32,
    /// Write whole frames to outdev, although a virtio-net header could say what is left to do.
    pub complete_offloads: bool,
    /// Release what has passed the gate this often, in milliseconds.
    pub hold_ms: Option<u32>,
    /// Release what has passed the gate when the VM runs.
    pub hold_until_running: bool,
    /// Bytes that may wait between gate and output.
    pub buffer_bytes: u32,
    /// Frames that may wait there.
    pub buffer_frames: u32,
    /// When that is full, those go that have waited longest, not those that come.
    pub drop_oldest: bool,
    /// SO_MARK of injected frames; frames that bear it are not captured.
    pub mark: u32,
    /// Wait for interfaces and peers that are missing at the start.
    pub wait: bool,
    /// Forward at most this many frames.
    pub count: Option<i64>,
}

impl TryFrom<RedirectorOptions> for Plan {
    type Error = Failure;

    fn try_from(options: RedirectorOptions) -> Result<Self, Failure> {
        let input = end(options.in_netdev, options.in_netns.as_deref(), options.indev, options.in_datagrams)?;
        let output =
            end(options.out_netdev, options.out_netns.as_deref(), options.outdev, options.out_datagrams)?;
        let count =
            options.count.map(u64::try_from).transpose().map_err(|_| {
                invalid(&"count must not be negative", &"leave it out to forward every frame")
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
            pre_roll: milliseconds(options.pre_roll_ms),
            pre_roll_bytes: size(options.pre_roll_bytes)?,
            hold: match options.hold_ms {
                Some(interval) => Some(Hold::Every(milliseconds(interval))),
                None => options.hold_until_running.then_some(Hold::UntilRunning),
            },
            buffer: BufferPlan {
                bytes: size(options.buffer_bytes)?,
                frames: size(options.buffer_frames)?,
                when_full: if options.drop_oldest { WhenFull::DropOldest } else { WhenFull::DropNewest },
            },
            complete_offloads: options.complete_offloads,
            mark: options.mark,
            wait: options.wait,
            count,
            ..Plan::between(input, output)
        })
    }
}

/// One end: the interface, the stream or the datagrams that are given.
fn end(
    name: Option<String>,
    namespace: Option<&str>,
    stream: Option<StreamOptions>,
    datagrams: Option<DatagramOptions>,
) -> Result<End, Failure> {
    match (name, stream, datagrams) {
        (Some(name), None, None) => netdev(&name, namespace).map(End::Netdev),
        (None, None, Some(datagrams)) => {
            Ok(End::Datagram(DatagramPlan { destination: destination(datagrams)?, namespace: None }))
        }
        (None, Some(stream), None) => Ok(End::Stream(StreamPlan {
            vnet_hdr: stream.vnet_hdr_support,
            vnet_hdr_len: stream.vnet_hdr_length.map(size).transpose()?,
            tls_creds: stream.tls_creds.as_deref().map(PathBuf::from),
            address: address(stream)?,
            namespace: None,
        })),
        _ => Err(invalid(&"an end is an interface, a stream or datagrams", &"give one of them")),
    }
}

fn destination(datagrams: DatagramOptions) -> Result<Destination, Failure> {
    let place = |TcpAddress { host, port }| HostPort { host, port };
    match (datagrams.unix, datagrams.udp, datagrams.from) {
        (Some(path), None, None) => Ok(Destination::Unix(path.into())),
        (None, Some(to), from) => Ok(Destination::Udp { to: place(to), from: from.map(place) }),
        _ => Err(invalid(&"datagrams go to one of unix and udp, and only udp has from", &"give one of them")),
    }
}

pub(crate) fn address(stream: StreamOptions) -> Result<Address, Failure> {
    let server = stream.server;
    match (stream.unix, stream.tcp, stream.fd) {
        (Some(path), None, None) => Ok(Address::Unix { path: path.into(), server }),
        (None, Some(TcpAddress { host, port }), None) => Ok(Address::Tcp { host, port, server }),
        (None, None, Some(number)) => {
            let descriptor = inherited::duplicate(number).map_err(|error| StreamError::Refused {
                attempt: Attempt::TakeDescriptor,
                errno: error.errno,
            })?;
            Ok(Address::Passed { number, descriptor: Arc::new(descriptor) })
        }
        _ => Err(invalid(&"a stream is one of unix, tcp and fd", &"give one of them")),
    }
}

pub(crate) fn netdev(name: &str, namespace: Option<&str>) -> Result<Netdev, Failure> {
    let here = Netdev::here(name).map_err(|error| {
        Failure::new("NETDEV_NAME_INVALID", &error, &"see `ip link` for the names there are")
    })?;
    Ok(Netdev { namespace: namespace.map(open_namespace).transpose()?, ..here })
}

pub(crate) fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

pub(crate) fn size(number: u32) -> Result<usize, Failure> {
    usize::try_from(number).map_err(|_| invalid(&"a size exceeds this machine's memory", &"give less"))
}

pub(crate) fn invalid(message: &impl Display, hint: &impl Display) -> Failure {
    Failure::new("INVALID_OPTIONS", message, hint)
}
