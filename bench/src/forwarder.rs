//! A running peer: its own process, pinned, with its CPU time and memory readable from outside.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::error::{Context, Error, Result};
use crate::peers::{Peer, Start, Way};
use crate::program::{Place, Rules, Words};
use crate::sys;

/// The command of the child process: `forward PEER INPUT OUTPUT`.
pub(crate) const COMMAND: &str = "forward";
const READY: &str = "ready";

/// A peer that forwards until this is dropped.
pub(crate) struct Forwarder<'a> {
    running: Running,
    place: Place<'a>,
}

enum Running {
    Nothing,
    /// This program as a child, which ends with its standard input.
    Child(Child),
    Program(Child, Words),
    Rules(&'static Rules),
}

/// The memory of a forwarder, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl<'a> Forwarder<'a> {
    /// Starts a peer on its core. One of our own captures by then; of the others that cannot be known.
    pub(crate) fn start(peer: &'static Peer, cores: &Cores, place: Place<'a>) -> Result<Self> {
        let running = match &peer.way {
            Way::Nothing => Running::Nothing,
            Way::Rules(rules) => {
                rules.install(place)?;
                Running::Rules(rules)
            }
            Way::Child(_) => Running::Child(cores.on_the_forwarders(|| spawn(peer, place))?),
            Way::Program(program) => {
                let (child, words) = cores.on_the_forwarders(|| program.start(place))?;
                Running::Program(child, words)
            }
        };
        let mut forwarder = Self { running, place };
        if let Running::Child(child) = &mut forwarder.running {
            let mut line = String::new();
            if let Some(stdout) = child.stdout.as_mut() {
                BufReader::new(stdout).read_line(&mut line).on("reading from", peer.name)?;
            }
            if line.trim_end() != READY {
                return Err(Error::new(format!("{} did not start", peer.name)));
            }
        }
        Ok(forwarder)
    }

    /// The CPU time that its process has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let Some(process) = self.process() else { return Ok(Duration::ZERO) };
        sys::process_cpu(process).on("reading the CPU clock", "the forwarder")
    }

    /// Its memory, from `/proc/PID/smaps` (proc(5)); none where its process has ended.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let Some(process) = self.process() else { return Ok(Memory::default()) };
        let smaps = fs::read_to_string(format!("/proc/{process}/smaps")).on("reading", "smaps")?;
        Ok(parse_smaps(&smaps))
    }

    /// How its process ended by itself, if it has. Its CPU time and memory are gone after that.
    pub(crate) fn end(mut self) -> Result<Option<String>> {
        let (child, words) = match &mut self.running {
            Running::Nothing | Running::Rules(_) => return Ok(None),
            Running::Child(child) => (child, None),
            Running::Program(child, words) => (child, Some(words)),
        };
        let status = child.try_wait().on("waiting for", "the forwarder")?;
        Ok(status.map(|status| {
            let last = words.map(|words| words.last()).unwrap_or_default();
            if last.is_empty() { status.to_string() } else { format!("{status} ({last})") }
        }))
    }

    fn process(&self) -> Option<u32> {
        match &self.running {
            Running::Nothing | Running::Rules(_) => None,
            Running::Child(child) | Running::Program(child, _) => Some(child.id()),
        }
    }
}

impl Drop for Forwarder<'_> {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Nothing => {}
            Running::Child(child) => {
                // The end of its input is the child's sign to end.
                drop(child.stdin.take());
                child.wait().ok();
            }
            Running::Program(child, _) => {
                child.kill().ok();
                child.wait().ok();
            }
            Running::Rules(rules) => {
                if let Err(error) = rules.remove(self.place) {
                    eprintln!("bench: {error}");
                }
            }
        }
    }
}

fn spawn(peer: &Peer, place: Place<'_>) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args([COMMAND, peer.name, place.input, place.output])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().on("starting", peer.name)
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
