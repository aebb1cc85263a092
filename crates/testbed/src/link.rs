//! Interfaces of the calling thread's network namespace, by iproute2.
//!
//! Commands started by a thread see that thread's namespace. `ip` speaks netlink, which works in a user
//! namespace too, where the older ioctls answer EPERM.

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::sys;

/// Runs a command in the calling thread's namespace and returns its standard output.
///
/// # Errors
/// The command line with its standard error, when it cannot be started or fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let failed =
        |reason: String| Error::Command { command: format!("{program} {}", arguments.join(" ")), reason };
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{} ({})", text.trim(), output.status)))
    }
}

/// `ip ...`, its arguments separated by spaces.
///
/// # Errors
/// As [`run`].
pub fn ip(arguments: &str) -> Result<String> {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// `tc ...`, its arguments separated by spaces.
///
/// # Errors
/// As [`run`].
pub fn tc(arguments: &str) -> Result<String> {
    run("tc", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Sets an interface up.
///
/// # Errors
/// As [`run`].
pub fn set_up(name: &str) -> Result<()> {
    ip(&format!("link set dev {name} up")).map(drop)
}

/// Sets an interface down.
///
/// # Errors
/// As [`run`].
pub fn set_down(name: &str) -> Result<()> {
    ip(&format!("link set dev {name} down")).map(drop)
}

/// Sets the MTU, in bytes without the Ethernet header.
///
/// # Errors
/// As [`run`].
pub fn set_mtu(name: &str, mtu: u32) -> Result<()> {
    ip(&format!("link set dev {name} mtu {mtu}")).map(drop)
}

/// Sets the length of a TAP's own queue, in frames.
///
/// # Errors
/// As [`run`].
pub fn set_queue_length(name: &str, frames: u32) -> Result<()> {
    ip(&format!("link set dev {name} txqueuelen {frames}")).map(drop)
}

/// Deletes an interface.
///
/// # Errors
/// As [`run`].
pub fn delete(name: &str) -> Result<()> {
    ip(&format!("link delete dev {name}")).map(drop)
}

/// Creates a pair of veth interfaces, both up.
///
/// # Errors
/// As [`run`].
pub fn veth(name: &str, peer: &str) -> Result<()> {
    ip(&format!("link add {name} type veth peer name {peer}"))?;
    set_up(name)?;
    set_up(peer)
}

/// Creates a bridge that is up and learns at once, with the given ports.
///
/// # Errors
/// As [`run`].
pub fn bridge(name: &str, ports: &[&str]) -> Result<()> {
    // Neither spanning tree nor multicast snooping may send frames of their own or hold back those of the test.
    ip(&format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
    for port in ports {
        attach(port, name)?;
    }
    set_up(name)
}

/// Makes an interface a port of a bridge.
///
/// # Errors
/// As [`run`].
pub fn attach(port: &str, bridge: &str) -> Result<()> {
    ip(&format!("link set dev {port} master {bridge}")).map(drop)
}

/// Turns IPv6 on or off for one interface; [`crate::namespace::Namespace::enter_new`] turns it off for all.
///
/// # Errors
/// When the setting cannot be written.
pub fn set_ipv6(name: &str, on: bool) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    fs::write(&path, if on { "0" } else { "1" }).on("write", path)
}

/// The kernel's index of an interface.
///
/// # Errors
/// ENODEV when there is none of that name.
pub fn index(name: &str) -> Result<u32> {
    let socket = any_socket(name)?;
    let index = sys::interface_index(socket.as_fd(), name).on("SIOCGIFINDEX", name)?;
    Ok(index.cast_unsigned())
}

/// The MTU of an interface in bytes.
///
/// # Errors
/// ENODEV when there is none of that name.
pub fn mtu(name: &str) -> Result<u32> {
    sys::interface_mtu(any_socket(name)?.as_fd(), name).on("SIOCGIFMTU", name)
}

/// The MAC address of an interface.
///
/// # Errors
/// ENODEV when there is none of that name.
pub fn mac(name: &str) -> Result<[u8; 6]> {
    sys::interface_mac(any_socket(name)?.as_fd(), name).on("SIOCGIFHWADDR", name)
}

/// Whether an interface of that name exists.
pub fn exists(name: &str) -> bool {
    index(name).is_ok()
}

fn any_socket(name: &str) -> Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).on("socket", name)
}

/// What the kernel counted on an interface since it was created (`ip -s -j link`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Frames received by the host.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames dropped on receipt.
    pub rx_dropped: u64,
    /// Frames transmitted; for a TAP, those READ by the holder of its descriptor.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped instead of transmitted; for a TAP, those that found its queue full.
    pub tx_dropped: u64,
}

/// The counters of an interface.
///
/// # Errors
/// As [`run`], or when `ip` answers in a shape that is not known.
pub fn counters(name: &str) -> Result<Counters> {
    let output = ip(&format!("-s -j link show dev {name}"))?;
    let parsed: Value = serde_json::from_str(&output).unwrap_or_default();
    let read = |direction: &str, counter: &str| {
        let value = &parsed[0]["stats64"][direction][counter];
        value.as_u64().ok_or_else(|| {
            Error::Invalid(format!("`ip -s -j link` shows no {direction} {counter} of {name}"))
        })
    };
    Ok(Counters {
        rx_packets: read("rx", "packets")?,
        rx_bytes: read("rx", "bytes")?,
        rx_dropped: read("rx", "dropped")?,
        tx_packets: read("tx", "packets")?,
        tx_bytes: read("tx", "bytes")?,
        tx_dropped: read("tx", "dropped")?,
    })
}
