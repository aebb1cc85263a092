//! Both sides of a handover in one network namespace, with guests made of threads.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod proxy;
pub(crate) mod raw;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use tapferry_handover::plan::{DEFAULT_MAX_HOLD, DEFAULT_RESUME_TIMEOUT};
use tapferry_handover::{
    Destination, DestinationPlan, DestinationReport, Event, EventKind, Identity, Observer, Source,
    SourcePlan, SourceReport,
};
use tapferry_redirect::{Address, Netdev, StreamPlan};
use tapferry_sys::link::{Link, Links};
use tapferry_testbed::namespace::Skip;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::tap::{Tap, TapOptions};

/// Long enough for anything that is going to happen on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// SO_MARK of what the two sides inject.
pub(crate) const MARK: u32 = 0x3074;

/// A guest made of a thread, on a TAP of its own.
pub(crate) fn guest(name: &str) -> Reader {
    Reader::on_tap(Tap::create(name, &TapOptions::like_qemu()).unwrap())
}

/// Sends numbered frames of 64 bytes in one burst.
pub(crate) fn send(name: &str, sequences: std::ops::Range<u64>) {
    let sent = Sender::open(name).unwrap().send_probes(&Probe::default(), 64, sequences).unwrap();
    assert_eq!(sent.refused, 0, "{sent:?}");
}

/// A switch that floods numbered frames, to the destination first: the way over the source is longer.
pub(crate) struct Flood {
    there: Sender,
    here: Sender,
}

impl Flood {
    pub(crate) fn open() -> Self {
        let open = |name| Sender::open(name).unwrap();
        Self { there: open("tapB"), here: open("tapA") }
    }

    /// Returns how many did not get into the destination's TAP.
    pub(crate) fn flood(&self, numbers: std::ops::Range<u64>) -> u64 {
        let mut kept_out = 0;
        for number in numbers {
            let frame = Probe::default().build(number, 64);
            // A closed gate tells a local sender.
            kept_out += u64::from(self.there.send(&Default::default(), &frame).is_err());
            self.here.send(&Default::default(), &frame).unwrap();
        }
        kept_out
    }
}

/// Does something without privileges that this process has; threads that are started meanwhile never have them.
pub(crate) fn without<T>(privileges: CapabilitySet, act: impl FnOnce() -> T) -> T {
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None).unwrap();
    let set = |effective| {
        set_capabilities(None, CapabilitySets { effective, permitted, inheritable }).unwrap();
    };
    set(effective - privileges);
    let result = act();
    set(effective);
    result
}

/// What the kernel says of an interface.
pub(crate) fn link(name: &str) -> Link {
    Links::open().unwrap().by_name(&Netdev::here(name).unwrap().name).unwrap().unwrap()
}

/// The guest has got each number of the range once and in order, and no other.
pub(crate) fn assert_once_in_order(guest: &Reader, numbers: std::ops::Range<u64>) {
    let count = numbers.end - numbers.start;
    let flow = guest.wait_for(count, PATIENCE).flow(0);
    let ranges = if count == 0 { vec![] } else { vec![(numbers.start, numbers.end - 1)] };
    assert_eq!(flow.ranges.as_slice(), ranges);
    assert_eq!((flow.duplicates, flow.out_of_order, flow.damaged), (0, 0, 0));
}

/// What one side has told.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    pub(crate) fn observer(&self) -> Observer {
        self.observer_that(|_| {})
    }

    fn observer_that(&self, act: impl Fn(&Event) + Send + Sync + 'static) -> Observer {
        let told = self.clone();
        Arc::new(move |event| {
            told.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
            act(&event);
        })
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until an event has been told that satisfies `condition`.
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| condition(event)) {
                return event.clone();
            }
            assert!(Instant::now() < deadline, "{what} was not told: {events:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a state has been entered for the `times`th time.
    pub(crate) fn wait_state_again(&self, state: &str, times: usize) {
        let entered = |event: &Event| event.kind == EventKind::State && event.state == state;
        self.wait(state, |_| self.events().iter().filter(|event| entered(event)).count() >= times);
    }

    /// How many events of that kind have been told.
    pub(crate) fn count(&self, kind: EventKind) -> usize {
        self.events().iter().filter(|event| event.kind == kind).count()
    }

    /// How many have been told with that code.
    pub(crate) fn count_code(&self, code: &str) -> usize {
        self.events().iter().filter(|event| event.code == Some(code)).count()
    }

    pub(crate) fn wait_code(&self, code: &str) -> Event {
        self.wait(code, |event| event.code == Some(code))
    }

    pub(crate) fn wait_kind(&self, kind: EventKind) -> Event {
        self.wait(kind.name(), |event| event.kind == kind)
    }

    pub(crate) fn wait_state(&self, state: &str) -> Event {
        self.wait(state, |event| event.kind == EventKind::State && event.state == state)
    }
}

/// A path for a socket, in a directory that goes at the end of the test.
pub(crate) struct Meeting(PathBuf);

impl Meeting {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tapferry-handover-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("handover.sock")
    }

    pub(crate) fn stream(&self, server: bool) -> StreamPlan {
        let address = Address::Unix { path: self.path(), server };
        StreamPlan { address, vnet_hdr: false, vnet_hdr_len: None, namespace: None, tls_creds: None }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub(crate) fn identity() -> Identity {
    Identity { vm_uuid: [7; 16], vm_name: "web1".into(), netdev_id: "hn0".into(), mac: [2, 0, 0, 0, 0, 1] }
}

pub(crate) fn source_plan(meeting: &Meeting, name: &str) -> SourcePlan {
    SourcePlan {
        netdev: Netdev::here(name).unwrap(),
        identity: identity(),
        to: meeting.stream(false),
        max_hold: DEFAULT_MAX_HOLD,
        mark: MARK,
        resume_timeout: DEFAULT_RESUME_TIMEOUT,
    }
}

pub(crate) fn destination_plan(name: &str) -> DestinationPlan {
    DestinationPlan {
        netdev: Netdev::here(name).unwrap(),
        identity: identity(),
        max_hold: DEFAULT_MAX_HOLD,
        mark: MARK,
        gate: None,
        resume_timeout: DEFAULT_RESUME_TIMEOUT,
    }
}

/// A side that runs, with what it has told.
pub(crate) struct Side<T> {
    pub(crate) handle: T,
    pub(crate) told: Told,
}

pub(crate) fn source(plan: SourcePlan) -> Side<Source> {
    source_that(plan, |_| {})
}

/// One whose thread does something more with each event, after it has been told.
pub(crate) fn source_that(plan: SourcePlan, act: impl Fn(&Event) + Send + Sync + 'static) -> Side<Source> {
    let told = Told::default();
    let handle = Source::start(plan, told.observer_that(act)).unwrap_or_else(|error| panic!("{error}"));
    Side { handle, told }
}

pub(crate) fn destination(meeting: &Meeting, plan: DestinationPlan) -> Side<Destination> {
    destination_that(meeting, plan, |_| {})
}

/// One whose thread does something more with each event, after it has been told.
pub(crate) fn destination_that(
    meeting: &Meeting,
    plan: DestinationPlan,
    act: impl Fn(&Event) + Send + Sync + 'static,
) -> Side<Destination> {
    let told = Told::default();
    let handle = Destination::start(&meeting.stream(true), vec![plan], &told.observer_that(act))
        .unwrap_or_else(|error| panic!("{error}"));
    Side { handle, told }
}

/// A handover under way, by plans without anything special: the guest here has got 100 frames, and its VM has stopped.
pub(crate) fn under_way(here: &Reader) -> (Meeting, Side<Destination>, Side<Source>) {
    let meeting = Meeting::new();
    let destination = destination(&meeting, destination_plan("tapB"));
    let source = source(source_plan(&meeting, "tapA"));
    source.migrate(here, 100);
    (meeting, destination, source)
}

impl Side<Source> {
    /// A migration begins, and frames are sent that the guest here gets before its VM stops, so that the cut is known
    /// exactly: at the end of them.
    pub(crate) fn migrate(&self, here: &Reader, frames: u64) {
        self.told.wait_kind(EventKind::Ready);
        self.migrate_alone(here, frames);
        self.told.wait_state("forward");
    }

    /// The same whether or not there is a destination; the cut is yet to come.
    pub(crate) fn migrate_alone(&self, here: &Reader, frames: u64) {
        self.migrate_on(here, 0..frames);
    }

    /// The same for a guest that has got all frames before these.
    pub(crate) fn migrate_on(&self, here: &Reader, frames: Range<u64>) {
        self.handle.calibrate(None);
        self.told.wait_state("calibrate");
        let all = frames.end;
        send("tapA", frames);
        here.wait_for(all, PATIENCE);
        // Samples of counters that stand still.
        std::thread::sleep(Duration::from_millis(100));
        here.set_paused(true);
        // It may be in the midst of reading one.
        std::thread::sleep(Duration::from_millis(20));
        self.handle.stopped(None);
    }

    /// A snapshot, whose sum must be exact.
    pub(crate) fn report(&self) -> SourceReport {
        let report = self.handle.report().unwrap();
        assert!(report.balance(), "{report:#?}");
        report
    }

    /// Waits until a snapshot satisfies `condition`.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&SourceReport) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report();
            if condition(&report) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {report:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The final report, whose sum must be exact.
    pub(crate) fn ended(&self) -> SourceReport {
        self.told.wait_kind(EventKind::Ended);
        self.report()
    }
}

impl Side<Destination> {
    /// Whether the gate that the plan wants is there; says so if it cannot be here.
    pub(crate) fn is_gated_or_skip(&self) -> bool {
        let is_gated = self.report().gate.is_some();
        if !is_gated {
            Skip(self.told.wait_code("no_gate").message).announce();
        }
        is_gated
    }

    /// A snapshot, whose sum must be exact.
    pub(crate) fn report(&self) -> DestinationReport {
        let report = self.handle.reports().remove(0);
        assert!(report.balance(), "{report:#?}");
        report
    }

    /// Waits until a snapshot satisfies `condition`.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&DestinationReport) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report();
            if condition(&report) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {report:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The final report.
    pub(crate) fn ended(&self) -> DestinationReport {
        self.told.wait_kind(EventKind::Ended);
        self.report()
    }
}
