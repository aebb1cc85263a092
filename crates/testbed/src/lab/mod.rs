//! The lab: one process in a network namespace of its own, driven by JSON lines.
//!
//! A test, in whatever language, starts `testbed lab`, writes one request a line to its stdin and reads one reply a
//! line from its stdout. Other processes (tapferry, QEMU) join the namespace with
//! `nsenter --net=/proc/PID/ns/net`. The lab ends at the end of its stdin or with its parent; then everything
//! in it is gone, unless a process that joined still runs.
//!
//! First it prints `{"ready":true,"pid":1234}`, or, when namespaces are not permitted, one line
//! `{"ready":false,"skipped":"reason"}` and ends with status 3.
//!
//! # Requests and replies
//!
//! `{"id":1,"op":"...", ...}` is answered by `{"id":1,"ok":true, ...}` or `{"id":1,"ok":false,"error":"..."}`.
//! `id` is any JSON value. An unknown field is an error. `send`, `write`, `transfer` and a `received` that waits run
//! beside the others, so their replies come when they are done. Times are CLOCK_REALTIME in nanoseconds, as decimal strings,
//! because they do not fit into a JavaScript number: `BigInt(reply.firstNs)`.
//!
//! | op | fields (default) | reply |
//! | --- | --- | --- |
//! | `tap` | `name`, `vnetHdr` (0; 10, 12), `offloads` (`none`; `tcp`, `all`), `mtu` (1500), `txqueuelen` (1000), `queues` (1), `persistent` (false), `up` (true), `held` (true), `reading` (true) | `ifindex`, `mac` |
//! | `tap-delete` | `name` | |
//! | `reading` | `netdev`, `on` | |
//! | `link` | `name`, any of `up` (bool), `mtu`, `txqueuelen`, `ipv6` (bool) | `ifindex`, `mac` |
//! | `link-delete` | `name` | |
//! | `veth` | `name`, `peer` | |
//! | `bridge` | `name`, `ports` (none) | |
//! | `watch` | `netdev`, `direction` (`incoming`; `outgoing`, `both`) | |
//! | `unwatch` | `netdev` | |
//! | `send` | `netdev`, traffic, `vnetHdr` (whether the kind needs it), `mark` (none), `bypass` (false) | sent |
//! | `send-start` | `name`, and as `send`, without end unless `count` is given | |
//! | `send-stop` | `name` | sent |
//! | `write` | `netdev`, traffic | sent |
//! | `received` | `netdev`, `atLeast` (0), `timeoutMs` (10000), `settleMs` (0), `clear` (false) | a [`Tally`](crate::tally::Tally) |
//! | `counters` | `netdev` | [`Counters`](crate::link::Counters) |
//! | `packet-sockets` | | `count` |
//! | `transfer` | `to` (`ADDRESS:PORT`), `rate` (bytes a second, as fast as possible), `milliseconds` | [`Transferred`](transfer::Transferred) |
//! | `run` | `command` (program and arguments) | `stdout` |
//!
//! - A held TAP is a simulated guest: its frames are read and counted, `write` sends from it, and
//!   `reading` off is a VM that is stopped. An unheld one is for QEMU's `ifname=`, and is always persistent.
//! - `watch` counts the frames of any interface, as a host sees them. It and `tap` are what `received` asks about.
//! - `received` waits until `atLeast` numbers were read or the time is over (it is no error: look at the counts),
//!   then until nothing has come for `settleMs`; `clear` forgets all of it afterwards.
//! - `packet-sockets` counts the AF_PACKET sockets of the namespace that are not the lab's own.
//!
//! # Traffic
//!
//! `count` (1), `first` (0): frame `i` has the number `first + i`. `flow` (0): the series. `rate` (as fast as
//! possible): frames a second, evenly spaced, or in bursts of `burst`. `tag` (none): an 802.1Q tag's TCI, in the
//! bytes. `destination` (everyone): a MAC address. `ip` (4; 6), `stamps` (false): each frame's times. `checksum` (`complete`; `partial`, `wrong`). `kind`:
//!
//! | kind | frame | fields |
//! | --- | --- | --- |
//! | `probe` (the default) | Ethernet, type 0x88b6 | `size` (60) of the frame |
//! | `udp` | one numbered datagram | `size` (60, at least 58 over IPv4) of the frame |
//! | `udp-gso` | `segments` (10) numbered datagrams in one frame: it uses that many numbers | `gsoSize` (1400) bytes each |
//! | `tcp` | a piece of the stream | `size` (1000) bytes of payload |
//! | `tcp-gso` | a piece of the stream in one frame | `size` (60000) bytes of payload, `gsoSize` (1400) |
//! | `raw` | the bytes of `hex`, every time | |
//!
//! Kinds that need their virtio-net header (GSO, partial checksums) are sent with PACKET_VNET_HDR, unless `vnetHdr` says
//! otherwise. Sent: `frames` accepted by the kernel, `refused`, `errno` of the last refusal (or null), `firstNs`
//! just before the first frame, `lastNs` just after the last, and with `stamps` a list `[[index, "before", "after"], ...]`.
//!
//! ```text
//! {"id":1,"op":"tap","name":"tapA","vnetHdr":12,"offloads":"tcp"}
//! {"id":1,"ok":true,"ifindex":2,"mac":"5a:f3:01:22:ab:10"}
//! {"id":2,"op":"send","netdev":"tapA","count":1000,"rate":10000}
//! {"id":2,"ok":true,"frames":1000,"refused":0,"errno":null,"firstNs":"1795...","lastNs":"1795..."}
//! {"id":3,"op":"received","netdev":"tapA","atLeast":1000}
//! {"id":3,"ok":true,"frames":1000,"flows":{"0":{"count":1000,"ranges":[[0,999]],"duplicates":0,...}},...}
//! ```

mod request;
mod sending;
mod transfer;

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use serde_json::{Map, Value, json};

use crate::error::{Context, Error, Result};
use crate::link;
use crate::namespace::{Namespace, Skip};
use crate::reader::Reader;
use crate::tap::Tap;
use request::Request;
use sending::Job;
use transfer::Transfer;

/// A continuous sending in the background.
struct Background {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Value>,
}

/// What the requests have made.
#[derive(Default)]
struct Lab {
    readers: HashMap<String, Arc<Reader>>,
    senders: HashMap<String, Background>,
}

/// What answers a request: at once, or by work that runs beside other requests.
enum Answer {
    Now(Value),
    Later(Box<dyn FnOnce() -> Result<Value> + Send>),
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Now(value)
    }
}

/// Serves requests from standard input until it ends.
///
/// # Errors
/// Why there can be no lab here. That was also printed as the first line.
pub fn serve() -> std::result::Result<(), Skip> {
    // The end of stdin does the same, unless another child of the parent has inherited its other end.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let output = Arc::new(Mutex::new(io::stdout()));
    let _namespace = Namespace::enter_new().inspect_err(|skip| {
        say(&output, &json!({"ready": false, "skipped": skip.0}));
    })?;
    say(&output, &json!({"ready": true, "pid": std::process::id()}));
    let mut lab = Lab::default();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        let (id, request) = match request::parse(&line) {
            Ok(parsed) => parsed,
            Err((id, error)) => {
                reply(&output, id, Err(error));
                continue;
            }
        };
        match lab.obey(request) {
            Ok(Answer::Later(work)) => {
                let output = Arc::clone(&output);
                thread::spawn(move || reply(&output, id, work()));
            }
            Ok(Answer::Now(value)) => reply(&output, id, Ok(value)),
            Err(error) => reply(&output, id, Err(error)),
        }
    }
    Ok(())
}

fn reply(output: &Mutex<io::Stdout>, id: Value, result: Result<Value>) {
    let mut line = Map::new();
    line.insert("id".into(), id);
    match result {
        Ok(Value::Object(fields)) => {
            line.insert("ok".into(), true.into());
            line.extend(fields);
        }
        Ok(_) => {
            line.insert("ok".into(), true.into());
        }
        Err(error) => {
            line.insert("ok".into(), false.into());
            line.insert("error".into(), error.to_string().into());
        }
    }
    say(output, &Value::Object(line));
}

fn say(output: &Mutex<io::Stdout>, line: &Value) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    // A parent that has closed its end has no use for a reply; the end of stdin follows.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

impl Lab {
    fn obey(&mut self, request: Request) -> Result<Answer> {
        match request {
            Request::Tap(tap) => {
                let options = tap.options()?;
                if tap.held {
                    let reader = Reader::try_on_tap(Tap::create(&tap.name, &options)?)?;
                    reader.set_paused(!tap.reading);
                    self.readers.insert(tap.name.clone(), Arc::new(reader));
                } else {
                    Tap::create_unheld(&tap.name, &options)?;
                }
                identity(&tap.name)
            }
            Request::TapDelete { name } => {
                // The reader ends with its TAP, unless a request that waits for it still runs.
                self.readers.remove(&name);
                if link::exists(&name) {
                    link::delete(&name)?;
                }
                Ok(done())
            }
            Request::Reading { netdev, on } => {
                self.reader(&netdev)?.set_paused(!on);
                Ok(done())
            }
            Request::Link { name, up, mtu, txqueuelen, ipv6 } => {
                if let Some(mtu) = mtu {
                    link::set_mtu(&name, mtu)?;
                }
                if let Some(frames) = txqueuelen {
                    link::set_queue_length(&name, frames)?;
                }
                if let Some(on) = ipv6 {
                    link::set_ipv6(&name, on)?;
                }
                match up {
                    Some(true) => link::set_up(&name)?,
                    Some(false) => link::set_down(&name)?,
                    None => {}
                }
                identity(&name)
            }
            Request::LinkDelete { name } => link::delete(&name).map(|()| done()),
            Request::Veth { name, peer } => link::veth(&name, &peer).map(|()| done()),
            Request::Bridge { name, ports } => {
                let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
                link::bridge(&name, &ports).map(|()| done())
            }
            Request::Watch { netdev, direction } => {
                let reader = Reader::on_interface(&netdev, direction.into())?;
                self.readers.insert(netdev, Arc::new(reader));
                Ok(done())
            }
            Request::Unwatch { netdev } => {
                self.readers.remove(&netdev);
                Ok(done())
            }
            Request::Send(sending) => {
                if sending.name.is_some() {
                    return Err(Error::Invalid("only what send-start starts has a name".into()));
                }
                let job = Job::from_host(&sending, 1)?;
                Ok(Answer::Later(Box::new(move || Ok(job.run(&AtomicBool::new(false))))))
            }
            Request::SendStart(sending) => {
                let job = Job::from_host(&sending, u64::MAX)?;
                let name =
                    sending.name.ok_or_else(|| Error::Invalid("send-stop needs a name to stop".into()))?;
                if self.senders.contains_key(&name) {
                    return Err(Error::Invalid(format!("'{name}' is sending already")));
                }
                let stop = Arc::new(AtomicBool::new(false));
                let flag = Arc::clone(&stop);
                let thread = thread::spawn(move || job.run(&flag));
                self.senders.insert(name, Background { stop, thread });
                Ok(done())
            }
            Request::SendStop { name } => {
                let unknown = || Error::Invalid(format!("nothing named '{name}' is sending"));
                let background = self.senders.remove(&name).ok_or_else(unknown)?;
                background.stop.store(true, Ordering::Relaxed);
                let result = background.thread.join();
                result.map(Answer::Now).map_err(|_| Error::Invalid("the sender panicked".into()))
            }
            Request::Write(sending) => {
                let job = Job::from_guest(&sending, self.reader(&sending.netdev)?)?;
                Ok(Answer::Later(Box::new(move || Ok(job.run(&AtomicBool::new(false))))))
            }
            Request::Received(query) => {
                let reader = self.reader(&query.netdev)?;
                let answer = move || {
                    let limit = Duration::from_millis(query.timeout_ms);
                    reader.wait_for(query.at_least, limit);
                    let tally = match query.settle_ms {
                        0 => reader.tally(),
                        silence => reader.settle(Duration::from_millis(silence)),
                    };
                    if query.clear {
                        reader.clear();
                    }
                    Ok(json!(tally))
                };
                if query.at_least == 0 && query.settle_ms == 0 {
                    return answer().map(Answer::Now);
                }
                Ok(Answer::Later(Box::new(answer)))
            }
            Request::Counters { netdev } => Ok(json!(link::counters(&netdev)?).into()),
            Request::PacketSockets {} => Ok(json!({"count": foreign_packet_sockets()?}).into()),
            Request::Transfer { to, rate, milliseconds } => {
                let transfer = Transfer::open(to, rate, Duration::from_millis(milliseconds))?;
                Ok(Answer::Later(Box::new(move || transfer.run().map(|done| json!(done)))))
            }
            Request::Run { command } => {
                let words: Vec<&str> = command.iter().map(String::as_str).collect();
                let (program, arguments) =
                    words.split_first().ok_or_else(|| Error::Invalid("an empty command".into()))?;
                Ok(json!({"stdout": link::run(program, arguments)?}).into())
            }
        }
    }

    fn reader(&self, netdev: &str) -> Result<Arc<Reader>> {
        let unknown = || Error::Invalid(format!("the lab neither holds nor watches '{netdev}'"));
        self.readers.get(netdev).cloned().ok_or_else(unknown)
    }
}

fn done() -> Answer {
    Answer::Now(Value::Null)
}

fn identity(name: &str) -> Result<Answer> {
    let mac = link::mac(name)?.map(|byte| format!("{byte:02x}")).join(":");
    Ok(json!({"ifindex": link::index(name)?, "mac": mac}).into())
}

/// AF_PACKET sockets of the namespace whose inode is not that of one of our own descriptors.
fn foreign_packet_sockets() -> Result<usize> {
    let path = "/proc/thread-self/net/packet";
    let table = fs::read_to_string(path).on("read", path)?;
    let own: Vec<u64> = fs::read_dir("/proc/self/fd")
        .on("read", "/proc/self/fd")?
        .filter_map(|entry| fs::metadata(entry.ok()?.path()).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let inodes = table.lines().skip(1).filter_map(|line| line.split_whitespace().last()?.parse().ok());
    Ok(inodes.filter(|inode| !own.contains(inode)).count())
}
