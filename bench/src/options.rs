//! The command line.

use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::peers::{self, Peer};
use crate::traffic::{CPU_CASES, Case};

pub(crate) const USAGE: &str = "\
usage: npm run bench -- [--quick] [--rounds=N] [--peer=NAME]... [--case=NAME]...
                        [--quiet-within=SECONDS] [--save]

--quick         fewer cases and shorter measurements, about half a minute; not saved
--rounds=N      how often every peer is measured in every case (full: 5, quick: 3)
--peer=NAME     only this peer and those it is compared with; may be repeated
--case=NAME     only this case, or latency, or idle; may be repeated
--quiet-within=SECONDS
                wait for others to leave the machine idle, and repeat what they disturbed; after that
                time measure anyway
--save          save the run even if it is not a whole one; a whole one always is
";

/// The name of the measurement of latency.
pub(crate) const LATENCY: &str = "latency";
/// The name of the measurement without frames.
pub(crate) const IDLE: &str = "idle";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) rounds: u32,
    pub(crate) quiet_within: Duration,
    pub(crate) save: bool,
    peers: Vec<String>,
    cases: Vec<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let quick = arguments.iter().any(|argument| argument == "--quick");
        let mut options = Self {
            quick,
            rounds: if quick { 3 } else { 5 },
            quiet_within: Duration::ZERO,
            save: !quick,
            peers: Vec::new(),
            cases: Vec::new(),
        };
        let mut save = false;
        for argument in arguments {
            match argument.split_once('=').unwrap_or((argument, "")) {
                ("--quick", "") => {}
                ("--save", "") => save = true,
                ("--rounds", rounds) => options.rounds = rounds.parse().on("--rounds", rounds)?,
                ("--quiet-within", seconds) => {
                    options.quiet_within =
                        Duration::from_secs(seconds.parse().on("--quiet-within", seconds)?);
                }
                ("--peer", name) if peers::find(name).is_some() => options.peers.push(name.to_owned()),
                ("--case", name) if is_case(name) => options.cases.push(name.to_owned()),
                _ => return Err(Error::new(format!("'{argument}' is not understood\n\n{USAGE}"))),
            }
        }
        let is_whole = options.peers.is_empty() && options.cases.is_empty();
        options.save = save || options.save && is_whole;
        Ok(options)
    }

    /// The peers to measure in a case.
    pub(crate) fn peers_in(&self, case: &Case) -> impl Iterator<Item = &'static Peer> {
        let compared = [peers::FLOOR, case.reference()];
        peers::ALL
            .iter()
            .filter(|peer| case.is_for(peer))
            .filter(move |peer| compared.contains(&peer.name) || self.wants_peer(peer.name))
    }

    /// The peers to measure in the other measurements.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &'static Peer> {
        let compared = [peers::FLOOR, peers::REFERENCE];
        peers::ALL
            .iter()
            .filter(|peer| peer.joins == peers::Joins::All)
            .filter(move |peer| compared.contains(&peer.name) || self.wants_peer(peer.name))
    }

    /// The cases to measure CPU time in.
    pub(crate) fn cpu_cases(&self) -> impl Iterator<Item = &'static Case> {
        CPU_CASES.iter().filter(|case| {
            if self.cases.is_empty() { case.quick || !self.quick } else { self.wants_case(case.name) }
        })
    }

    /// Whether a measurement of that name is asked for.
    pub(crate) fn wants_case(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|case| case == name)
    }

    fn wants_peer(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|peer| peer == name)
    }
}

fn is_case(name: &str) -> bool {
    [LATENCY, IDLE].contains(&name) || CPU_CASES.iter().any(|case| case.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_a_whole_run_is_saved_unasked() {
        assert!(parse(&[]).unwrap().save);
        assert!(parse(&["--rounds=9"]).unwrap().save);
        assert!(!parse(&["--quick"]).unwrap().save);
        assert!(!parse(&["--case=latency"]).unwrap().save);
        assert!(parse(&["--quick", "--save"]).unwrap().save);
    }

    #[test]
    fn whom_a_peer_is_compared_with_is_measured_too() {
        let options = parse(&["--peer=low", "--case=gso-burst"]).unwrap();
        let names: Vec<_> =
            options.peers_in(options.cpu_cases().next().unwrap()).map(|peer| peer.name).collect();
        assert_eq!(names, ["none", "seed+vnet", "low"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parse(&["--peer=nobody"]).unwrap_err().to_string().starts_with("'--peer=nobody'"));
        assert!(parse(&["--rounds=many"]).is_err());
    }
}
