//! The command line.

use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::peers::{self, Field, Peer};
use crate::traffic::{CPU_CASES, Case, LOSS_FREE_CASES, STREAM_CASES};

pub(crate) const USAGE: &str = "\
usage: npm run bench -- [--quick] [--rounds=N] [--peers=NAME,...] [--cases=NAME,...]
                        [--quiet-within=SECONDS] [--save]
       npm run bench -- --plot FILE.json

--quick         fewer cases and shorter measurements, about a minute; not saved
--rounds=N      how often every peer is measured in every case (full: 5, quick: 1)
--peers=NAME,...
                only these peers, and whom they are compared with
--cases=NAME,...
                only these cases of CPU time, of streams, or latency, loss-free, gso, idle
--quiet-within=SECONDS
                wait for others to leave the machine idle, and repeat what they disturbed; after that
                time measure anyway
--save          save the run even if it is not a whole one; a whole one always is
--plot FILE     draw the page of a saved run again, beside it
";

/// The name of the measurement of latency.
pub(crate) const LATENCY: &str = "latency";
/// The name of the search for the rate without loss.
pub(crate) const LOSS_FREE: &str = "loss-free";
/// The name of the look at GSO frames.
pub(crate) const GSO: &str = "gso";
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
            rounds: if quick { 1 } else { 5 },
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
                ("--peers", names) if names.split(',').all(|name| peers::find(name).is_some()) => {
                    options.peers.extend(names.split(',').map(str::to_owned));
                }
                ("--cases", names) if names.split(',').all(is_case) => {
                    options.cases.extend(names.split(',').map(str::to_owned));
                }
                _ => return Err(Error::new(format!("'{argument}' is not understood\n\n{USAGE}"))),
            }
        }
        let is_whole = options.peers.is_empty() && options.cases.is_empty();
        options.save = save || options.save && is_whole;
        Ok(options)
    }

    /// The peers to measure: those asked for, and those they are compared with, as far as the cases have a place for
    /// them.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &'static Peer> {
        let compared = [peers::FLOOR, peers::REFERENCE, peers::GSO_REFERENCE, peers::STREAM_REFERENCE];
        let fields = self.fields();
        peers::ALL.iter().filter(move |peer| {
            let is_wanted = self.peers.is_empty() || self.peers.iter().any(|name| name == peer.name);
            (is_wanted || compared.contains(&peer.name)) && fields.iter().any(|field| peer.joins(*field))
        })
    }

    /// What is measured.
    fn fields(&self) -> Vec<Field> {
        let others = [(LATENCY, Field::Plain), (IDLE, Field::Plain), (GSO, Field::Gso)];
        let cases = self.cpu_cases().chain(self.loss_free_cases()).chain(self.stream_cases());
        let others = others.into_iter().filter(|(name, _)| self.wants_case(name)).map(|(_, field)| field);
        cases.map(Case::field).chain(others).collect()
    }

    /// The cases to measure CPU time in.
    pub(crate) fn cpu_cases(&self) -> impl Iterator<Item = &'static Case> {
        CPU_CASES.iter().filter(|case| {
            if self.cases.is_empty() { case.quick || !self.quick } else { self.wants_case(case.name) }
        })
    }

    /// The cases to measure CPU time and throughput to a stream in.
    pub(crate) fn stream_cases(&self) -> impl Iterator<Item = &'static Case> {
        STREAM_CASES.iter().filter(|case| {
            if self.cases.is_empty() { case.quick || !self.quick } else { self.wants_case(case.name) }
        })
    }

    /// The cases to search the rate without loss in.
    pub(crate) fn loss_free_cases(&self) -> impl Iterator<Item = &'static Case> {
        LOSS_FREE_CASES.iter().filter(|case| self.wants_case(LOSS_FREE) && (case.quick || !self.quick))
    }

    /// Whether a measurement of that name is asked for.
    pub(crate) fn wants_case(&self, name: &str) -> bool {
        if self.cases.is_empty() {
            !self.quick || name != IDLE
        } else {
            self.cases.iter().any(|case| case == name)
        }
    }
}

fn is_case(name: &str) -> bool {
    let mut cases = CPU_CASES.iter().chain(STREAM_CASES);
    [LATENCY, LOSS_FREE, GSO, IDLE].contains(&name) || cases.any(|case| case.name == name)
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
        assert!(!parse(&["--cases=latency"]).unwrap().save);
        assert!(parse(&["--quick", "--save"]).unwrap().save);
    }

    #[test]
    fn whom_a_peer_is_compared_with_is_measured_too() {
        let options = parse(&["--peers=low,socat", "--cases=gso-burst"]).unwrap();
        let names: Vec<_> = options.peers().map(|peer| peer.name).collect();
        assert_eq!(names, ["none", "seed", "seed+vnet", "low", "socat"]);
        assert_eq!(options.cpu_cases().count(), 1);
    }

    #[test]
    fn only_who_has_a_place_in_the_cases_is_measured() {
        let options = parse(&["--peers=low,low-stream", "--cases=stream-1514"]).unwrap();
        let names: Vec<_> = options.peers().map(|peer| peer.name).collect();
        assert_eq!(names, ["none", "filter-mirror", "low-stream"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parse(&["--peers=low,nobody"]).unwrap_err().to_string().starts_with("'--peers=low,nobody'"));
        assert!(parse(&["--rounds=many"]).is_err());
    }
}
