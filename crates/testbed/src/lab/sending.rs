//! What is sent, from the host (`send`, `send-start`) or from the simulated guest (`write`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::craft::{Checksum, Frame, Ip, Packet};
use crate::error::{Error, Result};
use crate::probe::{Probe, RECORD_LENGTH, Tag};
use crate::reader::Reader;
use crate::sender::{self, Pace, Sender, SenderOptions, Sent};
use crate::vnet::VnetHeader;

/// The fields of `send`, `send-start` and `write`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Sending {
    #[serde(alias = "tap")]
    pub(super) netdev: String,
    pub(super) name: Option<String>,
    count: Option<u64>,
    rate: Option<u32>,
    burst: Option<u32>,
    #[serde(default)]
    stamps: bool,
    vnet_hdr: Option<bool>,
    mark: Option<u32>,
    #[serde(default)]
    bypass: bool,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    first: u64,
    #[serde(default)]
    flow: u32,
    destination: Option<String>,
    tag: Option<u16>,
    ip: Option<u8>,
    #[serde(default)]
    checksum: ChecksumName,
    size: Option<usize>,
    gso_size: Option<u16>,
    segments: Option<usize>,
    hex: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Probe,
    Udp,
    UdpGso,
    Tcp,
    TcpGso,
    Raw,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChecksumName {
    #[default]
    Complete,
    Partial,
    Wrong,
}

/// The most payload that a GSO frame may carry, in bytes: an IP packet has at most 65535.
const GSO_PAYLOAD_MAX: usize = 65_000;

impl Sending {
    fn pace(&self) -> Pace {
        match (self.rate, self.burst) {
            (None, _) => Pace::Burst,
            (Some(rate), None) => Pace::Even { rate },
            (Some(rate), Some(size)) => Pace::Bursts { rate, size },
        }
    }

    fn source(&self) -> Result<Source> {
        let ip = match self.ip {
            None | Some(4) => Ip::V4,
            Some(6) => Ip::V6,
            Some(other) => return Err(Error::Invalid(format!("there is no IP version {other}"))),
        };
        let checksum = match self.checksum {
            ChecksumName::Complete => Checksum::Complete,
            ChecksumName::Partial => Checksum::Partial,
            ChecksumName::Wrong => Checksum::Wrong,
        };
        let tags = self.tag.map(Tag::dot1q).into_iter().collect();
        let everyone = Probe::default();
        let destination = self.destination.as_deref().map_or(Ok(everyone.destination), address_of)?;
        let probe = Probe { destination, tags, flow: self.flow, ..everyone };
        let gso_size = self.gso_size.unwrap_or(1400);
        let segments = self.segments.unwrap_or(10);
        let source = Source {
            kind: self.kind,
            packet: Packet { probe, ip, checksum },
            first: self.first,
            size: self.size.unwrap_or(match self.kind {
                Kind::Tcp => 1000,
                Kind::TcpGso => 60_000,
                _ => 60,
            }),
            gso_size,
            segments,
            raw: self.hex.as_deref().map(bytes_of).transpose()?.unwrap_or_default(),
        };
        let least = match self.kind {
            Kind::Probe => source.packet.probe.shortest(),
            Kind::Udp => source.packet.shortest_udp(),
            _ => 0,
        };
        let payload = match self.kind {
            Kind::UdpGso => segments * usize::from(gso_size),
            Kind::Tcp | Kind::TcpGso => source.size,
            _ => 0,
        };
        let datagram_too_short = self.kind == Kind::UdpGso && usize::from(gso_size) < RECORD_LENGTH;
        if source.size < least || source.size > sender::FRAME_MAX {
            return Err(Error::Invalid(format!(
                "size is {}, but must be at least {least} and at most {}",
                source.size,
                sender::FRAME_MAX
            )));
        }
        if payload > GSO_PAYLOAD_MAX || gso_size == 0 || datagram_too_short {
            return Err(Error::Invalid(format!(
                "a payload of {payload} bytes in segments of {gso_size} is not possible"
            )));
        }
        Ok(source)
    }
}

fn bytes_of(hex: &str) -> Result<Vec<u8>> {
    let wrong = || Error::Invalid(format!("'{hex}' is not hexadecimal"));
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

fn address_of(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Error::Invalid(format!("'{text}' is no MAC address")))
}

/// Makes the frames, one after the other.
struct Source {
    kind: Kind,
    packet: Packet,
    first: u64,
    size: usize,
    gso_size: u16,
    segments: usize,
    raw: Vec<u8>,
}

impl Source {
    /// Whether the frames mean nothing without their virtio-net header.
    fn needs_vnet_header(&self) -> bool {
        match self.kind {
            Kind::UdpGso | Kind::TcpGso => true,
            Kind::Udp | Kind::Tcp => self.packet.checksum == Checksum::Partial,
            Kind::Probe | Kind::Raw => false,
        }
    }

    fn frame(&self, index: u64) -> Frame {
        let number = self.first + index;
        let plain = |bytes| Frame { header: VnetHeader::default(), bytes };
        match self.kind {
            Kind::Probe => plain(self.packet.probe.build(number, self.size)),
            Kind::Udp => self.packet.udp(number, self.size),
            Kind::UdpGso => {
                let segments = u64::try_from(self.segments).unwrap_or(u64::MAX);
                self.packet.udp_gso(self.first + index * segments, self.segments, self.gso_size)
            }
            Kind::Tcp => self.packet.tcp(self.position(number), self.size),
            Kind::TcpGso => self.packet.tcp_gso(self.position(number), self.size, self.gso_size),
            Kind::Raw => plain(self.raw.clone()),
        }
    }

    /// Where in the TCP stream a frame starts; positions wrap around like TCP's sequence numbers.
    fn position(&self, number: u64) -> u32 {
        let size = u64::try_from(self.size).unwrap_or(u64::MAX);
        let bytes = number.wrapping_mul(size).to_le_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Through what a job's frames go.
enum Way {
    Host(Sender),
    Guest(Arc<Reader>),
}

/// One sending, ready to run in any thread: its socket was opened in the lab's namespace.
pub(super) struct Job {
    way: Way,
    source: Source,
    pace: Pace,
    count: u64,
    stamps: bool,
}

impl Job {
    /// Frames from the host; `count` is for a request that names none.
    pub(super) fn from_host(sending: &Sending, count: u64) -> Result<Self> {
        let source = sending.source()?;
        let options = SenderOptions {
            vnet_header: sending.vnet_hdr.unwrap_or_else(|| source.needs_vnet_header()),
            mark: sending.mark,
            qdisc_bypass: sending.bypass,
        };
        let way = Way::Host(Sender::with(&sending.netdev, options)?);
        Ok(Self::new(way, source, sending, count))
    }

    /// Frames from the simulated guest that holds the TAP.
    pub(super) fn from_guest(sending: &Sending, guest: Arc<Reader>) -> Result<Self> {
        if sending.vnet_hdr.is_some() || sending.mark.is_some() || sending.bypass {
            return Err(Error::Invalid("vnetHdr, mark and bypass are for frames from the host".into()));
        }
        if guest.tap().is_none() {
            return Err(Error::Invalid(format!("{} is watched, not held as a TAP", sending.netdev)));
        }
        Ok(Self::new(Way::Guest(guest), sending.source()?, sending, 1))
    }

    fn new(way: Way, source: Source, sending: &Sending, count: u64) -> Self {
        let count = sending.count.unwrap_or(count);
        Self { way, source, pace: sending.pace(), count, stamps: sending.stamps }
    }

    /// Sends all of it, or until told to stop.
    pub(super) fn run(&self, stop: &AtomicBool) -> Value {
        let sent = sender::paced(self.pace, self.count, self.stamps, stop, |index, clock| {
            let frame = self.source.frame(index);
            clock(&mut || match &self.way {
                Way::Host(sender) => sender.send(&frame.header, &frame.bytes),
                Way::Guest(guest) => match guest.tap() {
                    Some(tap) => tap.try_write(&frame),
                    None => Err(std::io::ErrorKind::NotFound.into()),
                },
            })
        });
        describe(&sent)
    }
}

fn describe(sent: &Sent) -> Value {
    let mut reply = json!({
        "frames": sent.frames,
        "refused": sent.refused,
        "errno": sent.last_errno,
        "firstNs": sent.first.to_string(),
        "lastNs": sent.last.to_string(),
    });
    if !sent.stamps.is_empty() {
        let stamps = sent.stamps.iter();
        reply["stamps"] = stamps
            .map(|stamp| json!([stamp.index, stamp.before.to_string(), stamp.after.to_string()]))
            .collect();
    }
    reply
}
