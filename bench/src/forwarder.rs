//! A running peer: its own process, pinned, with its CPU time and memory readable from outside.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::cores::{Core, Cores};
use crate::error::{Context, Error, Result};
use crate::peers::{Peer, Start, Way};
use crate::sys;

/// The command of the child process: `forward PEER INPUT OUTPUT`.
pub(crate) const COMMAND: &str = "forward";
const READY: &str = "ready";

/// A peer that forwards until this is dropped.
pub(crate) struct Forwarder {
    /// `None`: this peer has no process.
    child: Option<Child>,
}

/// The memory of a forwarder, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Memory {
    /// Resident, the ring left out.
    pub(crate) resident_kib: u64,
    /// The capture ring: pages that the kernel keeps for it, touched or not.
    pub(crate) ring_kib: u64,
}

impl Memory {
    /// The more of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            ring_kib: self.ring_kib.max(other.ring_kib),
        }
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} + {}", self.resident_kib, self.ring_kib)
    }
}

impl Forwarder {
    /// Starts a peer on its core, and returns when it captures.
    pub(crate) fn start(peer: &Peer, cores: &Cores, input: &str, output: &str) -> Result<Self> {
        let Way::Child(_) = peer.way else { return Ok(Self { child: None }) };
        // A child is born where its parent runs.
        cores.run_on(Core::Forwarder)?;
        let child = Command::new("/proc/self/exe")
            .args([COMMAND, peer.name, input, output])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .on("starting", peer.name);
        cores.run_on(Core::Sender)?;
        let mut child = child?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            BufReader::new(stdout).read_line(&mut line).on("reading from", peer.name)?;
        }
        let forwarder = Self { child: Some(child) };
        if line.trim_end() == READY {
            Ok(forwarder)
        } else {
            Err(Error::new(format!("{} did not start", peer.name)))
        }
    }

    /// The CPU time that its process has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let Some(child) = &self.child else { return Ok(Duration::ZERO) };
        sys::process_cpu(child.id()).on("reading the CPU clock", "the forwarder")
    }

    /// Its memory, from `/proc/PID/smaps` (proc(5)).
    pub(crate) fn memory(&self) -> Result<Memory> {
        let Some(child) = &self.child else { return Ok(Memory::default()) };
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", child.id())).on("reading", "smaps")?;
        Ok(parse_smaps(&smaps))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The end of its input is the child's sign to end.
            drop(child.stdin.take());
            child.wait().ok();
        }
    }
}

/// The child process: forwards until its standard input ends.
pub(crate) fn serve(start: Start, input: &str, output: &str) -> Result<()> {
    let forwarding = start(input, output)?;
    println!("{READY}");
    std::io::stdin().read_to_end(&mut Vec::new()).on("reading", "standard input")?;
    drop(forwarding);
    Ok(())
}

fn parse_smaps(smaps: &str) -> Memory {
    let mut memory = Memory::default();
    let mut is_ring = false;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let kib = second.parse().unwrap_or(0);
        match first {
            // Counted by size: its pages exist from the start.
            "Size:" if is_ring => memory.ring_kib += kib,
            "Rss:" if !is_ring => memory.resident_kib += kib,
            key if !key.ends_with(':') => is_ring = line.contains("socket:["),
            _ => {}
        }
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_told_from_the_rest() {
        let smaps = "\
7f0000000000-7f0000100000 rw-s 00000000 00:08 4242                       socket:[4242]
Size:               1024 kB
Rss:                 512 kB
7f0000200000-7f0000201000 rw-p 00000000 00:00 0
Size:                 64 kB
Rss:                   4 kB
VmFlags: rd wr mr mw me ac
";
        assert_eq!(parse_smaps(smaps), Memory { resident_kib: 4, ring_kib: 1024 });
    }
}
