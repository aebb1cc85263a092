//! The machine's facts, and how busy it is with other things. No host name and no path: runs are published.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::error::{Context, Result};

/// What /proc/stat counts in (`sysconf(_SC_CLK_TCK)`, 100 on Linux).
const TICK: Duration = Duration::from_millis(10);

/// What a run's figures belong to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    kernel: String,
    cpu: String,
    cores: usize,
    virtual_machine: bool,
}

impl Facts {
    pub(crate) fn gather(cores: &Cores) -> Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: cores.available,
            virtual_machine: cpuinfo
                .lines()
                .any(|line| line.starts_with("flags") && line.contains(" hypervisor")),
        })
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.virtual_machine { ", a virtual machine" } else { "" };
        write!(f, "Linux {}, {}, {} cores{kind}", self.kernel, self.cpu, self.cores)
    }
}

/// The load averages of 1, 5 and 15 minutes.
pub(crate) fn load_averages() -> Result<String> {
    Ok(read("/proc/loadavg")?.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// All cores' counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    at: Instant,
    times: Times,
    timer_softirqs: u64,
}

/// CPU times of all cores together, since the start of the machine or between two moments. The kernel counts
/// them in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Everything that ran.
    pub(crate) busy: Duration,
    /// Part of it in softirqs and interrupts; a sample of the kernel's tick, so only long runs show it.
    pub(crate) softirq: Duration,
    /// What the hypervisor gave to others while something here wanted to run.
    pub(crate) stolen: Duration,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elapsed {
    pub(crate) wall: Duration,
    pub(crate) times: Times,
    /// How often a timer's softirq ran (TIMER and HRTIMER): exact, and the trace of a ring's own timer.
    pub(crate) timer_softirqs: u64,
}

impl Moment {
    pub(crate) fn now() -> Result<Self> {
        let times = parse_stat(&read("/proc/stat")?);
        let timer_softirqs = parse_softirqs(&read("/proc/softirqs")?);
        Ok(Self { at: Instant::now(), times, timer_softirqs })
    }

    /// From this moment until now.
    pub(crate) fn elapsed(&self) -> Result<Elapsed> {
        let now = Self::now()?;
        Ok(Elapsed {
            wall: now.at - self.at,
            times: Times {
                busy: now.times.busy.saturating_sub(self.times.busy),
                softirq: now.times.softirq.saturating_sub(self.times.softirq),
                stolen: now.times.stolen.saturating_sub(self.times.stolen),
            },
            timer_softirqs: now.timer_softirqs.saturating_sub(self.timer_softirqs),
        })
    }
}

/// Waits until nobody else uses the machine, but not beyond `deadline`.
pub(crate) fn wait_for_quiet(deadline: Instant) -> Result<()> {
    const LOOK: Duration = Duration::from_secs(1);
    const QUIET: f64 = 0.1;
    while Instant::now() < deadline {
        let before = Moment::now()?;
        std::thread::sleep(LOOK);
        let Elapsed { wall, times, .. } = before.elapsed()?;
        if (times.busy + times.stolen).as_secs_f64() < QUIET * wall.as_secs_f64() {
            break;
        }
    }
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).on("reading", path)
}

/// The line for all CPUs (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal.
fn parse_stat(stat: &str) -> Times {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or("");
    let ticks: Vec<u32> = line.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    let time = |fields: &[usize]| TICK * fields.iter().filter_map(|field| ticks.get(*field)).sum::<u32>();
    Times { busy: time(&[0, 1, 2, 5, 6]), softirq: time(&[5, 6]), stolen: time(&[7]) }
}

fn parse_softirqs(softirqs: &str) -> u64 {
    softirqs
        .lines()
        .filter_map(|line| line.trim_start().split_once(':'))
        .filter(|(name, _)| matches!(*name, "TIMER" | "HRTIMER"))
        .flat_map(|(_, counts)| counts.split_ascii_whitespace())
        .map(|count| count.parse().unwrap_or(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_everything_but_idle_waiting_and_stolen() {
        let stat = "cpu  100 1 20 9000 50 2 4 700 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let [busy, softirq, stolen] = [1270, 60, 7000].map(Duration::from_millis);
        assert_eq!(parse_stat(stat), Times { busy, softirq, stolen });
    }

    #[test]
    fn timers_are_counted_over_all_cores() {
        let softirqs = "          CPU0 CPU1\n  HI: 9 9\n  TIMER: 1 2\n  NET_RX: 9 9\n  HRTIMER: 3 4\n";
        assert_eq!(parse_softirqs(softirqs), 10);
    }
}
