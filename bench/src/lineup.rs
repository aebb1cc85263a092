//! Who takes part in a run, who does not, and why.

use serde::{Deserialize, Serialize};

use crate::measure::Bench;
use crate::options::Options;
use crate::peers::{Field, Peer, Way};
use crate::program;

/// The peers of a run.
#[derive(Default)]
pub(crate) struct Lineup {
    peers: Vec<&'static Peer>,
    pub(crate) absent: Vec<Absent>,
}

/// A peer that takes part, as a report describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Present {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) version: Option<String>,
    /// With `{input}`, `{output}`, `{core}` and `{tap}` for what stands there.
    pub(crate) commands: Vec<String>,
}

/// A peer that does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Absent {
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl Lineup {
    /// Starts everybody once: who cannot forward here is found before the first measurement.
    pub(crate) fn muster(options: &Options, bench: &Bench<'_>) -> Self {
        let mut lineup = Self::default();
        for peer in options.peers() {
            let reason = match missing(peer) {
                Some(package) => format!("not installed (Debian: {package})"),
                None => match bench.try_out(peer) {
                    Ok(()) => {
                        lineup.peers.push(peer);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
            };
            lineup.absent.push(Absent { name: peer.name.to_owned(), reason });
        }
        lineup
    }

    /// Those that take part there.
    pub(crate) fn peers(&self, field: Field) -> impl Iterator<Item = &'static Peer> {
        self.peers.iter().copied().filter(move |peer| peer.joins(field))
    }

    /// The same without the floor.
    pub(crate) fn forwarders(&self, field: Field) -> impl Iterator<Item = &'static Peer> {
        self.peers(field).filter(|peer| peer.forwards())
    }

    /// For the report.
    pub(crate) fn describe(&self) -> Vec<Present> {
        self.peers
            .iter()
            .map(|peer| Present {
                name: peer.name.to_owned(),
                about: peer.about.to_owned(),
                version: match &peer.way {
                    Way::Nothing | Way::Child(_) => None,
                    Way::Program(program) => program::version(program.version),
                    Way::Rules(rules) => program::version(rules.version),
                },
                commands: match &peer.way {
                    Way::Nothing | Way::Child(_) => Vec::new(),
                    Way::Program(program) => vec![program.command.to_owned()],
                    Way::Rules(rules) => rules.install.iter().map(|line| (*line).to_owned()).collect(),
                },
            })
            .collect()
    }
}

/// The package that a peer's program comes in, when it is not installed.
fn missing(peer: &Peer) -> Option<&'static str> {
    let (command, package) = match &peer.way {
        Way::Nothing | Way::Child(_) => return None,
        Way::Program(program) => (program.command, program.package),
        Way::Rules(rules) => (rules.remove, rules.package),
    };
    (!program::is_installed(command)).then_some(package)
}
