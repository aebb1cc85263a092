//! The benchmark: what forwarding frames from one TAP to another, or to a unix socket, costs, ours against its peers,
//! side by side.
//!
//! Times mean nothing on a shared machine; ratios within one round do. So in every round every peer is
//! measured, one after the other, and what is reported is the median of the rounds' ratios.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`options`] | the command line |
//! | [`peers`] | the ways to forward, one file each |
//! | [`traffic`] | the cases, and the host that sends |
//! | [`rig`] | two TAPs in a namespace, and the guests behind them |
//! | [`stream`] | one more TAP, and a socket with a reader |
//! | [`forwarder`] | a running peer in its own process |
//! | [`program`] | other people's programs: found, described, run |
//! | [`lineup`] | who takes part, and who does not |
//! | [`measure`] | CPU time, latency, rate without loss, GSO frames, throughput, idleness: one sample each |
//! | [`machine`] | the machine's facts, and what else it does |
//! | [`cores`] | who runs where |
//! | [`report`] | samples to ratios, to tables and to a page with plots |
//! | [`figures`] | medians and quantiles |
//! | [`calendar`] | when |
//! | [`sys`] | the only unsafe code |

#![deny(unsafe_code)]
// A command answers on its standard output; the child process says that it is ready there.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calendar;
mod cores;
mod error;
mod figures;
mod forwarder;
mod lineup;
mod machine;
mod measure;
mod options;
mod peers;
mod program;
mod report;
mod rig;
mod stream;
mod sys;
mod traffic;

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cores::{Core, Cores};
use error::{Context, Error, Result};
use lineup::{Absent, Lineup};
use measure::{Background, Bench, Times};
use options::{GSO, IDLE, LATENCY, Options, USAGE};
use peers::{Field, Peer, Way};
use report::{Circumstances, Run, Samples};
use rig::Rig;
use stream::StreamRig;

/// Where runs are kept, from the directory of this package.
const RUNS: &str = "runs";

const FULL: Times = Times {
    warm_up: Duration::from_millis(200),
    cpu: Duration::from_millis(500),
    latency: Duration::from_millis(1_500),
    gso: Duration::from_millis(400),
    idle: Duration::from_millis(3_000),
    step: Duration::from_millis(250),
    precision: 1.08,
};

const QUICK: Times = Times {
    warm_up: Duration::from_millis(100),
    cpu: Duration::from_millis(120),
    latency: Duration::from_millis(300),
    gso: Duration::from_millis(100),
    idle: Duration::from_millis(100),
    step: Duration::from_millis(60),
    precision: 1.6,
};

/// The search for the rate without loss takes as long as everything else together, and is many measurements in
/// one: so many rounds of it are enough.
const LOSS_FREE_ROUNDS: u32 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        [forwarder::COMMAND, peer, input, output] => forward(peer, input, output),
        ["--plot", file] => plot(file),
        _ => Options::parse(&arguments).and_then(|options| bench(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The child process of a peer.
fn forward(peer: &str, input: &str, output: &str) -> Result<()> {
    match peers::find(peer).map(|peer| &peer.way) {
        Some(Way::Child(start)) => forwarder::serve(*start, input, output),
        Some(_) | None => Err(Error::new(format!("'{peer}' has no process"))),
    }
}

fn bench(options: &Options) -> Result<()> {
    let cores = Cores::of_this_process()?;
    let _namespace = rig::enter_namespace()?;
    let (rig, streams) = (Rig::build()?, StreamRig::build()?);
    cores.run_on(Core::Sender)?;
    // Sleeps end when they should, not up to 50 microseconds later.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).on("PR_SET_TIMERSLACK", "the sender")?;

    let times = if options.quick { QUICK } else { FULL };
    let bench = Bench { rig: &rig, streams: &streams, cores: &cores, times };
    let lineup = Lineup::muster(options, &bench);
    for Absent { name, reason } in &lineup.absent {
        eprintln!("without {name}: {reason}");
    }
    let started = calendar::Moment::now();
    let load_averages_before = machine::load_averages()?;
    let mut patience = Patience::new(options.quiet_within);
    let samples = measure_all(&bench, options, &lineup, &mut patience)?;
    let circumstances = Circumstances {
        started: started.iso(),
        mode: if options.quick { "quick" } else { "full" }.into(),
        rounds: options.rounds,
        machine: machine::Facts::gather(&cores)?,
        load_averages_before,
        load_averages_after: machine::load_averages()?,
        repeated: patience.repeated,
    };
    let run = Run::new(circumstances, lineup.describe(), lineup.absent, samples);
    print!("{}", run.to_markdown());
    if options.save {
        let name = save(&run, started)?;
        println!("\nsaved as bench/{RUNS}/{name}.md, .json and .html");
    }
    Ok(())
}

/// Draws the page of a kept run again.
fn plot(file: &str) -> Result<()> {
    let run = Run::from_json(&fs::read_to_string(file).on("reading", file)?)?;
    let page = Path::new(file).with_extension("html");
    fs::write(&page, run.to_html()).on("writing", page.display())?;
    println!("drawn as {}", page.display());
    Ok(())
}

fn measure_all(
    bench: &Bench<'_>,
    options: &Options,
    lineup: &Lineup,
    patience: &mut Patience,
) -> Result<Samples> {
    let mut samples = Samples::default();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for case in options.cpu_cases() {
            samples.cpu.extend(patience.measure(lineup.peers(case.field()), |peer| {
                let sample = bench.cpu(round, case, peer)?;
                Ok((sample.background, sample))
            })?);
        }
        for case in options.stream_cases() {
            let both = patience.measure(lineup.peers(case.field()), |peer| {
                let (cpu, throughput) = bench.throughput(round, case, peer)?;
                let background = throughput.iter().map(|sample| sample.background);
                Ok((background.fold(cpu.background, Background::worse), (cpu, throughput)))
            })?;
            let (cpu, throughput): (Vec<_>, Vec<_>) = both.into_iter().unzip();
            samples.cpu.extend(cpu);
            samples.throughput.extend(throughput.into_iter().flatten());
        }
        if options.wants_case(LATENCY) {
            samples.latency.extend(patience.measure(lineup.forwarders(Field::Plain), |peer| {
                let sample = bench.latency(round, peer)?;
                Ok((sample.background, sample))
            })?);
        }
        for case in options.loss_free_cases().filter(|_| round <= LOSS_FREE_ROUNDS) {
            samples.loss_free.extend(patience.measure(lineup.forwarders(case.field()), |peer| {
                let sample = bench.loss_free(round, case, peer)?;
                Ok((sample.background, sample))
            })?);
        }
        if options.wants_case(GSO) {
            samples.gso.extend(patience.measure(lineup.forwarders(Field::Gso), |peer| {
                let sample = bench.gso(round, peer)?;
                Ok((sample.background, sample))
            })?);
        }
    }
    // Idleness does not vary from round to round; once is enough.
    if options.wants_case(IDLE) {
        samples.idle = patience.measure(lineup.peers(Field::Plain), |peer| {
            let sample = bench.idle(options.rounds, peer)?;
            Ok((sample.background, sample))
        })?;
    }
    Ok(samples)
}

/// Measures while the machine is left to us, as long as there is time to wait for that.
struct Patience {
    deadline: Instant,
    /// Measurements of all peers that were disturbed and done again.
    repeated: u32,
}

impl Patience {
    fn new(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, repeated: 0 }
    }

    /// One sample of each peer, one right after the other; all again when one of them was disturbed.
    fn measure<T>(
        &mut self,
        peers: impl Iterator<Item = &'static Peer>,
        mut sample: impl FnMut(&'static Peer) -> Result<(Background, T)>,
    ) -> Result<Vec<T>> {
        let peers: Vec<&'static Peer> = peers.collect();
        loop {
            machine::wait_for_quiet(self.deadline)?;
            let mut samples = Vec::new();
            for peer in &peers {
                let (background, sample) = sample(peer)?;
                if !background.is_calm() && Instant::now() < self.deadline {
                    break;
                }
                samples.push(sample);
            }
            if samples.len() == peers.len() {
                return Ok(samples);
            }
            self.repeated += 1;
        }
    }
}

fn save(run: &Run, started: calendar::Moment) -> Result<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(RUNS);
    let name = format!("{}-{}", started.file_name(), run.circumstances.mode);
    fs::create_dir_all(&directory).on("creating", RUNS)?;
    for (extension, text) in [("json", run.to_json()?), ("md", run.to_markdown()), ("html", run.to_html())] {
        fs::write(directory.join(&name).with_extension(extension), text).on("writing", &name)?;
    }
    Ok(name)
}
