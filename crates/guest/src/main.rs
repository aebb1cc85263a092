//! The guest of the end-to-end tests and of the demo: PID 1 of a disk-less VM, which counts numbered frames.
//!
//! It mounts what it needs, loads the modules of `/modules`, brings every NIC up in promiscuous mode and reads
//! it with the testbed's own reader, so that a real guest and a simulated one count alike. It talks over the
//! serial port ttyS0 in lines:
//!
//! | command | answer, one JSON line |
//! | --- | --- |
//! | (when it is up) | `{"guest":"ready","nics":["eth0"],"uptimeMs":1900}` |
//! | `report` | `{"guest":"report","nics":{"eth0":` a [`Tally`](tapferry_testbed::tally::Tally) `}}` |
//! | `clear` | `{"guest":"cleared"}` |
//! | `send N [SIZE [FIRST [NIC]]]` | `{"guest":"sent","frames":N}`: numbered frames of flow 1 to the host |
//! | `address NIC ADDRESS/PREFIX` | `{"guest":"addressed"}`: the NIC has this IPv4 address too |
//! | `ping ADDRESS N` | `{"guest":"pinged","answers":N}`: so many of N echo requests were answered intact |
//! | `receive PORT` | `{"guest":"received","bytes":N,"checksum":"85944171f73967e8"}` of one TCP connection |
//! | `transfer ADDRESS:PORT N` | `{"guest":"transferred","bytes":N,"checksum":"..."}` to a guest that receives |
//! | `poweroff` | none |
//! | anything else, or a failure | `{"guest":"failed","error":"..."}` |
//!
//! `testbed guest-image` puts it into an initrd. It must be linked statically.

#![forbid(unsafe_code)]

mod talk;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use tapferry_testbed::link;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::{Direction, Reader};
use tapferry_testbed::sender::Sender;

use crate::talk::Transfer;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The series of numbers of what the guest sends; the host's tests use 0.
const FLOW: u32 = 1;
/// The size of the frames it sends unless told otherwise, in bytes.
const SIZE: usize = 60;
/// How long frames gather in a NIC's socket before they are read, all at once: to be woken for each is what costs most in
/// an emulated machine, and one that is too slow for its frames loses them.
const GATHERING: Duration = Duration::from_millis(5);
/// For the same reason the kernel looks at a NIC each millisecond while frames come, instead of being interrupted by
/// each (Documentation/networking/napi.rst): nanoseconds, and how often it looks in vain before that ends.
const POLLING: [(&str, &str); 2] = [("gro_flush_timeout", "1000000"), ("napi_defer_hard_irqs", "10")];

fn main() {
    // PID 1 must never return: that would be a kernel panic without a reason.
    if let Err(error) = run() {
        let failure = json!({"guest": "failed", "error": error.to_string()});
        if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/ttyS0") {
            // Nobody is left to tell when the console itself has failed.
            let _ = writeln!(console, "{failure}");
        }
    }
    power_off();
}

fn run() -> Outcome<()> {
    mount_all()?;
    let mut console = open_console()?;
    // The guest's own neighbour discovery is no part of what is counted.
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").or_else(absent)?;
    let (setting, groups) = talk::PING_GROUPS;
    fs::write(setting, groups)?;
    load_modules(Path::new("/modules"))?;
    let nics = bring_up()?;
    say(
        &mut console,
        &json!({"guest": "ready", "nics": nics.keys().collect::<Vec<_>>(), "uptimeMs": uptime()?}),
    )?;
    let input = BufReader::new(console.try_clone()?);
    for line in input.lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((command, arguments)) = words.split_first() else { continue };
        if *command == "poweroff" {
            return Ok(());
        }
        let answer = obey(command, arguments, &nics)
            .unwrap_or_else(|error| json!({"guest": "failed", "error": error.to_string()}));
        say(&mut console, &answer)?;
    }
    Ok(())
}

fn obey(command: &str, arguments: &[&str], nics: &BTreeMap<String, Reader>) -> Outcome<Value> {
    match command {
        "report" => {
            let tallies: BTreeMap<_, _> = nics.iter().map(|(name, nic)| (name, nic.tally())).collect();
            Ok(json!({"guest": "report", "nics": tallies}))
        }
        "clear" => {
            nics.values().for_each(Reader::clear);
            Ok(json!({"guest": "cleared"}))
        }
        "send" => {
            let number = |at: usize| arguments.get(at).map(|word| word.parse::<u64>()).transpose();
            let count = number(0)?.ok_or("send how many?")?;
            let size = number(1)?.map(usize::try_from).transpose()?.unwrap_or(SIZE);
            let first = number(2)?.unwrap_or(0);
            let nic = match arguments.get(3) {
                Some(name) => *name,
                None => nics.keys().next().ok_or("there is no NIC")?,
            };
            let probe = Probe::of_flow(FLOW);
            if size < probe.shortest() {
                return Err(format!("a numbered frame has at least {} bytes", probe.shortest()).into());
            }
            let sent = Sender::open(nic)?.send_probes(&probe, size, first..first + count)?;
            Ok(json!({"guest": "sent", "frames": sent.frames}))
        }
        "address" => {
            let [nic, network] = words(arguments)?;
            let (address, prefix) = network.split_once('/').ok_or("an address has a prefix length")?;
            link::add_address(nic, address.parse()?, prefix.parse()?)?;
            Ok(json!({"guest": "addressed"}))
        }
        "ping" => {
            let [address, count] = words(arguments)?;
            Ok(json!({"guest": "pinged", "answers": talk::ping(address.parse()?, count.parse()?)?}))
        }
        "receive" => {
            let [port] = words(arguments)?;
            Ok(told("received", &talk::receive(port.parse()?)?))
        }
        "transfer" => {
            let [to, bytes] = words(arguments)?;
            Ok(told("transferred", &talk::transfer(to.parse()?, bytes.parse()?)?))
        }
        _ => Err(format!("unknown command '{command}'").into()),
    }
}

fn words<'a, const COUNT: usize>(arguments: &[&'a str]) -> Outcome<[&'a str; COUNT]> {
    arguments.try_into().map_err(|_| format!("{COUNT} words belong to this command").into())
}

fn told(what: &str, Transfer { bytes, checksum }: &Transfer) -> Value {
    json!({"guest": what, "bytes": bytes, "checksum": format!("{checksum:016x}")})
}

fn mount_all() -> io::Result<()> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(target)?;
        mount(kind, target, kind, MountFlags::empty(), None)?;
    }
    Ok(())
}

/// The serial port, without echo and without line editing, so that nothing but answers is on the line.
fn open_console() -> io::Result<File> {
    let console = OpenOptions::new().read(true).write(true).open("/dev/ttyS0")?;
    let mut settings = tcgetattr(&console)?;
    settings.make_raw();
    tcsetattr(&console, OptionalActions::Now, &settings)?;
    Ok(console)
}

/// Loads what can be loaded until nothing more can: which module needs which differs between kernels.
fn load_modules(directory: &Path) -> Outcome<()> {
    let mut waiting: Vec<_> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut failure = None;
        waiting.retain(|path| {
            let loaded = File::open(path)
                .and_then(|file| finit_module(file, c"", 0).or_else(present).map_err(Into::into));
            match loaded {
                Ok(()) => false,
                Err(error) => {
                    failure = Some(format!("cannot load {}: {error}", path.display()));
                    true
                }
            }
        });
        if waiting.len() == before {
            return Err(failure.unwrap_or_default().into());
        }
    }
    Ok(())
}

/// A module that the kernel has already, built in, is as good as loaded.
fn present(error: rustix::io::Errno) -> rustix::io::Result<()> {
    if error == rustix::io::Errno::EXIST { Ok(()) } else { Err(error) }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Brings up all NICs and reads them. The driver makes them a little after its module is loaded.
fn bring_up() -> Outcome<BTreeMap<String, Reader>> {
    const ATTEMPTS: u32 = 500;
    for _ in 0..ATTEMPTS {
        let mut nics = BTreeMap::new();
        for entry in fs::read_dir("/sys/class/net")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name == "lo" {
                continue;
            }
            for (setting, value) in POLLING {
                fs::write(format!("/sys/class/net/{name}/{setting}"), value)?;
            }
            link::set_up(&name)?;
            let reader = Reader::gathering(&name, Direction::Incoming, GATHERING)?;
            nics.insert(name, reader);
        }
        if !nics.is_empty() {
            return Ok(nics);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("no network interface has come up".into())
}

fn uptime() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().ok_or("/proc/uptime is empty")?;
    let (whole, hundredths) = seconds.split_once('.').ok_or("/proc/uptime has no fraction")?;
    Ok(whole.parse::<u64>()? * 1000 + hundredths.parse::<u64>()? * 10)
}

/// One line in one write, so that nothing can come between.
fn say(console: &mut File, answer: &Value) -> io::Result<()> {
    console.write_all(format!("{answer}\n").as_bytes())?;
    console.flush()
}

fn power_off() -> ! {
    rustix::fs::sync();
    loop {
        // Without ACPI the kernel can only halt; a restart ends QEMU too, under -no-reboot.
        let _ = reboot(RebootCommand::PowerOff);
        let _ = reboot(RebootCommand::Restart);
        thread::sleep(Duration::from_secs(1));
    }
}
