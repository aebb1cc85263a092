//! What each side of a handover is told, as JavaScript writes it.

use std::path::PathBuf;

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use tapferry_handover::{DestinationPlan, Identity, RamBlock, RingLocation, SourcePlan};
use tapferry_redirect::StreamPlan;

use crate::error::Failure;
use crate::gate::GateName;
use crate::options::{StreamOptions, TcpAddress, address, invalid, milliseconds, netdev, size};

/// Where the destination listens: `unix` or `tcp`, one of them.
#[napi(object)]
pub struct HandoverAddress {
    /// The path of a unix socket.
    pub unix: Option<String>,
    /// An address of TCP.
    pub tcp: Option<TcpAddress>,
    /// The directory of credentials; left out, there is no TLS.
    pub tls_creds: Option<String>,
}

impl HandoverAddress {
    pub(crate) fn into_plan(self, server: bool) -> Result<StreamPlan, Failure> {
        let address = address(StreamOptions {
            unix: self.unix,
            tcp: self.tcp,
            fd: None,
            server,
            vnet_hdr_support: false,
            vnet_hdr_length: None,
            tls_creds: None,
        })?;
        let tls_creds = self.tls_creds.map(PathBuf::from);
        Ok(StreamPlan { address, vnet_hdr: false, vnet_hdr_len: None, namespace: None, tls_creds })
    }
}

/// Which VM and which of its netdevs.
#[napi(object)]
pub struct HandoverIdentity {
    /// `query-uuid`; absent where the VM has none.
    pub vm_uuid: Option<String>,
    /// `query-name`; empty where the VM has none.
    pub vm_name: String,
    /// QEMU's id of the netdev.
    pub netdev_id: String,
    /// `52:54:00:12:34:56`; absent where it is not known.
    pub mac: Option<String>,
}

impl TryFrom<HandoverIdentity> for Identity {
    type Error = Failure;

    fn try_from(identity: HandoverIdentity) -> Result<Self, Failure> {
        Ok(Self {
            vm_uuid: octets(identity.vm_uuid.as_deref(), "vmUuid")?,
            vm_name: identity.vm_name,
            netdev_id: identity.netdev_id,
            mac: octets(identity.mac.as_deref(), "mac")?,
        })
    }
}

/// A netdev of a VM that is going to leave this host.
#[napi(object)]
pub struct HandoverSourceOptions {
    /// Its TAP.
    pub netdev: String,
    /// The TAP's network namespace: a path; left out, that of this process.
    pub netns: Option<String>,
    /// Whose it is.
    pub identity: HandoverIdentity,
    /// Where the destination listens.
    pub to: HandoverAddress,
    /// Bytes of memory for frames that wait.
    pub max_hold_bytes: u32,
    /// SO_MARK of what is given back to the guest.
    pub mark: u32,
    /// How long the destination's VM may take until it runs, in milliseconds.
    pub resume_timeout_ms: u32,
}

impl TryFrom<HandoverSourceOptions> for SourcePlan {
    type Error = Failure;

    fn try_from(options: HandoverSourceOptions) -> Result<Self, Failure> {
        Ok(Self {
            netdev: netdev(&options.netdev, options.netns.as_deref())?,
            identity: options.identity.try_into()?,
            to: options.to.into_plan(false)?,
            max_hold: size(options.max_hold_bytes)?,
            mark: options.mark,
            resume_timeout: milliseconds(options.resume_timeout_ms),
        })
    }
}

/// A netdev of a VM that is going to arrive on this host.
#[napi(object)]
pub struct HandoverNetdevOptions {
    /// Its TAP.
    pub netdev: String,
    /// The TAP's network namespace: a path; left out, that of this process.
    pub netns: Option<String>,
    /// Whose it is.
    pub identity: HandoverIdentity,
}

/// Netdevs of a VM that is going to arrive on this host.
#[napi(object)]
pub struct HandoverDestinationOptions {
    /// Where it listens.
    pub from: HandoverAddress,
    /// One handover each.
    pub netdevs: Vec<HandoverNetdevOptions>,
    /// Bytes of memory for frames that wait, for each netdev.
    pub max_hold_bytes: u32,
    /// SO_MARK of what is injected.
    pub mark: u32,
    /// By what the gates stand; left out, as the kernel has it.
    pub gate: Option<GateName>,
    /// How long the VM may take from the source's stop until it runs, in milliseconds.
    pub resume_timeout_ms: u32,
}

impl HandoverDestinationOptions {
    pub(crate) fn into_plans(self) -> Result<(StreamPlan, Vec<DestinationPlan>), Failure> {
        let (max_hold, mark) = (size(self.max_hold_bytes)?, self.mark);
        let resume_timeout = milliseconds(self.resume_timeout_ms);
        let gate = self.gate.map(Into::into);
        let plan = |options: HandoverNetdevOptions| {
            Ok(DestinationPlan {
                netdev: netdev(&options.netdev, options.netns.as_deref())?,
                identity: options.identity.try_into()?,
                max_hold,
                mark,
                gate,
                resume_timeout,
            })
        };
        let plans = self.netdevs.into_iter().map(plan).collect::<Result<_, Failure>>()?;
        Ok((self.from.into_plan(true)?, plans))
    }
}

/// A piece of the guest's memory, in three numbers.
#[napi(object)]
pub struct HandoverMemory {
    /// Where the guest has it.
    pub physical: BigInt,
    /// Where the VM's process has it.
    pub address: BigInt,
    /// Bytes.
    pub length: BigInt,
}

/// Where the VM's process keeps the queue through which the guest receives, in that process's own addresses.
#[napi(object)]
pub struct HandoverRing {
    /// Entries.
    pub queue_size: u16,
    /// Address of the descriptor table.
    pub descriptors: BigInt,
    /// Address of the available ring.
    pub available: Option<BigInt>,
    /// Address of the used ring.
    pub used: BigInt,
    /// Bytes of the virtio-net header before each frame: 10, 12 or 20.
    pub header_length: u32,
    /// Whether a frame may lie in several buffers.
    pub mergeable: bool,
    /// Where the guest's memory lies.
    pub memory: Vec<HandoverMemory>,
}

impl TryFrom<HandoverRing> for RingLocation {
    type Error = Failure;

    fn try_from(ring: HandoverRing) -> Result<Self, Failure> {
        Ok(Self {
            queue_size: ring.queue_size,
            desc_host: unsigned(&ring.descriptors)?,
            avail_host: ring.available.as_ref().map(unsigned).transpose()?,
            used_host: unsigned(&ring.used)?,
            header_len: size(ring.header_length)?,
            mergeable: ring.mergeable,
            ram: ring.memory.iter().map(RamBlock::try_from).collect::<Result<_, Failure>>()?,
        })
    }
}

impl TryFrom<&HandoverMemory> for RamBlock {
    type Error = Failure;

    fn try_from(memory: &HandoverMemory) -> Result<Self, Failure> {
        Ok(Self {
            guest: unsigned(&memory.physical)?,
            host: unsigned(&memory.address)?,
            len: unsigned(&memory.length)?,
        })
    }
}

/// Where the queue is through which the guest receives, or why that is not known: one of the two.
#[napi(object)]
pub struct HandoverReceiveQueue {
    /// The queue; without it the cut is not exact.
    pub ring: Option<HandoverRing>,
    /// Why there is none, in one line for the report.
    pub why_no_ring: Option<String>,
}

/// Nanoseconds since 1970, where they are such.
pub(crate) fn moment(at_ns: Option<BigInt>) -> Option<u64> {
    at_ns.and_then(|at| unsigned(&at).ok())
}

fn unsigned(number: &BigInt) -> Result<u64, Failure> {
    match number.get_u64() {
        (false, value, true) => Ok(value),
        _ => Err(invalid(&"a number does not fit 64 bits", &"give one from 0 to 2^64 - 1")),
    }
}

/// Octets in hexadecimal, whatever stands between them; zeros where there is none.
fn octets<const N: usize>(text: Option<&str>, what: &str) -> Result<[u8; N], Failure> {
    let Some(text) = text else { return Ok([0; N]) };
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let wrong = || invalid(&format!("{what} '{text}' is not {N} octets"), &"write them in hexadecimal");
    let octets: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    octets.and_then(|octets| octets.try_into().ok()).filter(|_| digits.len() == 2 * N).ok_or_else(wrong)
}
