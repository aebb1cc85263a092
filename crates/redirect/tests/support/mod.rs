//! A redirector under test, with the events it told, and the waits that tests need.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod peer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapferry_redirect::{
    Address, End, Event, EventKind, Latency, Netdev, Plan, Redirector, StartError, Statistics, StreamPlan,
};
use tapferry_testbed::probe::Probe;
use tapferry_testbed::sender::{Sender, Sent};
use tapferry_testbed::tap::{Tap, TapOptions};

/// Long enough for anything that is going to happen on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for what must not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

pub(crate) const BOTH: [Latency; 2] = [Latency::Balanced, Latency::Low];

/// A running redirector.
pub(crate) struct Running {
    pub(crate) redirector: Redirector,
    events: Arc<Mutex<Vec<Event>>>,
}

/// The plan tapA to tapB in a way of capturing.
pub(crate) fn plan(latency: Latency) -> Plan {
    Plan { latency, ..Plan::new("tapA", "tapB").unwrap() }
}

pub(crate) fn try_start(plan: Plan) -> Result<Running, StartError> {
    try_start_that(plan, |_| {})
}

/// One whose thread does something more with each event, before it has been told.
pub(crate) fn try_start_that(
    plan: Plan,
    act: impl Fn(&Event) + Send + 'static,
) -> Result<Running, StartError> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let observer = move |event: Event| {
        act(&event);
        told.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    };
    Ok(Running { redirector: Redirector::start(plan, Box::new(observer))?, events })
}

pub(crate) fn start(plan: Plan) -> Running {
    try_start(plan).unwrap_or_else(|error| panic!("{error}"))
}

impl Running {
    /// A snapshot, whose sum must be exact.
    pub(crate) fn statistics(&self) -> Statistics {
        let statistics = self.redirector.statistics().unwrap();
        assert!(statistics.counters.balance(), "{statistics:?}");
        statistics
    }

    /// Stops, and checks the sum of the final statistics.
    pub(crate) fn stop(self) -> Statistics {
        let statistics = self.redirector.stop().unwrap();
        assert!(statistics.counters.balance(), "{statistics:?}");
        assert_eq!(statistics.counters.held, 0, "nothing is held after the end");
        statistics
    }

    /// Waits until a snapshot satisfies `condition`.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Statistics) -> bool) -> Statistics {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statistics = self.statistics();
            if condition(&statistics) {
                return statistics;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {statistics:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until as many frames have been captured.
    pub(crate) fn wait_captured(&self, frames: u64) -> Statistics {
        self.wait_until("capturing the frames", |statistics| statistics.counters.captured >= frames)
    }

    /// Waits until an event of this kind has been told `times` times.
    pub(crate) fn wait_told(&self, kind: EventKind, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.told(kind) < times {
            assert!(Instant::now() < deadline, "{kind:?} was not told: {:?}", self.events());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn told(&self, kind: EventKind) -> usize {
        self.events().iter().filter(|event| event.kind == kind).count()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A TAP whose guest reads, like QEMU's.
pub(crate) fn tap(name: &str) -> Tap {
    Tap::create(name, &TapOptions::like_qemu()).unwrap()
}

/// A TAP with room for many frames: what is to be counted must not be lost to a slow reader.
pub(crate) fn roomy_tap(name: &str) -> Tap {
    Tap::create(name, &TapOptions { queue_length: 100_000, ..TapOptions::like_qemu() }).unwrap()
}

/// Sends numbered frames of 64 bytes in one burst.
pub(crate) fn send(name: &str, sequences: std::ops::Range<u64>) -> Sent {
    let sent = Sender::open(name).unwrap().send_probes(&Probe::default(), 64, sequences).unwrap();
    assert_eq!(sent.refused, 0, "{sent:?}");
    sent
}

/// A directory for sockets, which goes at the end of the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tapferry-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub(crate) fn netdev(name: &str) -> End {
    End::Netdev(Netdev::here(name).unwrap())
}

/// A stream end that listens, without virtio-net headers.
pub(crate) fn server(path: &Path) -> StreamPlan {
    stream(Address::Unix { path: path.to_owned(), server: true })
}

/// A stream end that connects, without virtio-net headers.
pub(crate) fn client(path: &Path) -> StreamPlan {
    stream(Address::Unix { path: path.to_owned(), server: false })
}

pub(crate) fn stream(address: Address) -> StreamPlan {
    StreamPlan { address, vnet_hdr: false, vnet_hdr_len: None, namespace: None, tls_creds: None }
}

/// The same end with virtio-net headers.
pub(crate) fn with_headers(plan: StreamPlan) -> StreamPlan {
    StreamPlan { vnet_hdr: true, ..plan }
}
