//! What is known of how far the guest has got: its receive queue, read through its process's memory, and the counters of
//! its TAP, beside the frames that were captured.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tapferry_redirect::parts::Frame;
use tapferry_sys::clock;
use tapferry_sys::process_memory::ProcessMemory;

use crate::connection::nanos;
use crate::cut::{
    self, Basis, Calibration, Counts, Cut, GuestMemory, Receive, Resumed, RingLocation, Sample, Seen,
};
use crate::plan::Process;

/// After this long a capture has handed over all that was sent before: the ring's timer, in jiffies of 10 ms.
pub(crate) const CAPTURE_LAG: Duration = Duration::from_millis(15);
/// Frames that the guest must have got again before it is judged which ones it lacks.
const ENOUGH: u16 = 8;
/// Samples that must have been taken of the guest that runs on.
const ENOUGH_SAMPLES: usize = 20;

/// Counters at a moment, until it is known how many frames had been captured by then.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// CLOCK_REALTIME, nanoseconds.
    at: u64,
    tx_packets: u64,
    used: Option<u16>,
}

/// The memory of the VM's process.
struct Memory(ProcessMemory);

impl GuestMemory for Memory {
    fn read(&self, host_address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(host_address, buffer).map_err(Into::into)
    }
}

/// What is known of how far the guest has got.
pub(crate) struct Evidence {
    queue: Option<(Memory, RingLocation)>,
    why_no_queue: Option<String>,
    calibration: Calibration,
    pending: VecDeque<Pending>,
    /// The stamp of the newest frame, nanoseconds since 1970.
    newest_ns: u64,
    /// Frames captured by the samples that were taken last.
    captured: u64,
    /// The counters when the VM had stopped.
    stopped: Option<(u64, Option<u16>)>,
    /// Samples since the VM runs on here.
    since: Vec<Sample>,
}

impl Evidence {
    /// Begins to gather it, from a VM that runs.
    pub(crate) fn new(process: Process) -> Self {
        let Process { pid, ring, why_no_ring } = process;
        let (queue, why_no_queue) = match (pid, ring) {
            (Some(pid), Some(ring)) => match ProcessMemory::open(pid) {
                Ok(memory) => (Some((Memory(memory), ring)), None),
                Err(error) => (None, Some(error.to_string())),
            },
            (None, _) => (None, Some("the VM's process is not known".into())),
            (Some(_), None) => (None, why_no_ring),
        };
        Self {
            queue,
            why_no_queue,
            calibration: Calibration::new(),
            pending: VecDeque::new(),
            newest_ns: 0,
            captured: 0,
            stopped: None,
            since: Vec::new(),
        }
    }

    /// The stamp of the newest frame, nanoseconds since 1970.
    pub(crate) fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// A frame was captured, as number `index`. Whatever was sampled before its time was sampled before it.
    pub(crate) fn note_frame(&mut self, timestamp_ns: u64, index: u64) {
        self.newest_ns = self.newest_ns.max(timestamp_ns);
        while let Some(sample) = self.pending.pop_front_if(|sample| sample.at < timestamp_ns) {
            self.settle(sample, index);
        }
    }

    /// Frames that the kernel had no room for are missing: counters and frames do not go together any more.
    pub(crate) fn note_interruption(&mut self) {
        self.pending.clear();
        self.calibration = Calibration::new();
    }

    /// Looks at the counters, when `captured` frames have been taken from the capture.
    pub(crate) fn sample(&mut self, captured: u64, tx_packets: impl FnMut() -> Option<u64>) {
        let at = clock::realtime_ns();
        let lag = nanos(CAPTURE_LAG);
        while let Some(sample) = self.pending.pop_front_if(|sample| sample.at + lag < at) {
            // No frame has come since, or it would have settled this one.
            self.settle(sample, captured);
        }
        if let Some((tx_packets, used)) = self.counters(tx_packets) {
            self.pending.push_back(Pending { at: clock::realtime_ns(), tx_packets, used });
        }
    }

    /// Looks at the counters of a VM that has stopped.
    pub(crate) fn sample_stopped(&mut self, tx_packets: impl FnMut() -> Option<u64>) {
        self.stopped = self.counters(tx_packets);
    }

    /// Where the cut is, and why it was not found in a better way.
    pub(crate) fn find_cut<'a>(
        &self,
        frames: impl Iterator<Item = (u64, Frame<'a>)>,
        captured: u64,
        stopped_at_ns: u64,
    ) -> (Cut, Option<String>) {
        let frames: Vec<_> = frames.map(seen).collect();
        let counts = self.stopped.and_then(|(tx_packets, used)| self.calibration.counts(tx_packets, used));
        let receive = self.receive();
        let (receive, unreadable) = match receive {
            Some(Ok(receive)) => (Some(receive), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, self.why_no_queue.clone()),
        };
        let evidence =
            cut::Evidence { captured, frames: &frames, counts, receive: receive.as_ref(), stopped_at_ns };
        let cut = cut::find(&evidence);
        let reason = cut.why_not_better.map(|reason| unreadable.unwrap_or_else(|| reason.to_string()));
        (cut, reason)
    }

    /// The VM runs on here. How many frames from the cut on were thrown away by its process, once that can be told;
    /// at the end of all patience, whatever can be told then.
    pub(crate) fn purged<'a>(
        &mut self,
        cut: u64,
        frames: impl Iterator<Item = (u64, Frame<'a>)>,
        captured: u64,
        tx_packets: impl FnMut() -> Option<u64>,
        is_last_look: bool,
    ) -> Option<usize> {
        if let Some((tx_packets, used)) = self.counters(tx_packets) {
            self.since.push(Sample { captured, tx_packets, used });
        }
        let (_, used_at_stop) = self.stopped?;
        let receive = self.receive().and_then(Result::ok);
        let got = receive.as_ref().zip(used_at_stop).map_or(0, |(now, before)| now.index().wrapping_sub(before));
        if !is_last_look && got < ENOUGH && self.since.len() < ENOUGH_SAMPLES {
            return None;
        }
        let frames: Vec<_> = frames.map(seen).collect();
        let given = cut::give_back(&Resumed {
            cut,
            used_at_stop: used_at_stop.unwrap_or(0),
            frames: &frames,
            receive: receive.as_ref().filter(|_| used_at_stop.is_some()),
            before: &self.calibration,
            since: &self.since,
        });
        match given.basis {
            Basis::Unsure if !is_last_look => None,
            _ => usize::try_from(given.frames).ok(),
        }
    }

    /// Frames that wait in the TAP's queue, when so many have been captured.
    pub(crate) fn backlog(&self, captured: u64, tx_packets: u64) -> u64 {
        let read = self.calibration.counts(tx_packets, None).map(|Counts { read, .. }| read);
        read.map_or(0, |read| captured.saturating_sub(read))
    }

    fn settle(&mut self, sample: Pending, captured: u64) {
        self.captured = captured;
        let Pending { tx_packets, used, .. } = sample;
        self.calibration.push(Sample { captured, tx_packets, used });
    }

    /// The TAP's counter, and the queue's where both belong together.
    fn counters(&self, mut tx_packets: impl FnMut() -> Option<u64>) -> Option<(u64, Option<u16>)> {
        let before = tx_packets()?;
        let Some((memory, location)) = &self.queue else { return Some((before, None)) };
        let used = cut::used_index(memory, location).ok();
        let after = tx_packets()?;
        Some((after, used.filter(|_| before == after)))
    }

    fn receive(&self) -> Option<Result<Receive<'_>, String>> {
        let (memory, location) = self.queue.as_ref()?;
        Some(Receive::read(memory, location).map_err(|error| error.to_string()))
    }
}

fn seen<'a>((index, frame): (u64, Frame<'a>)) -> Seen<'a> {
    let captured = frame.captured;
    Seen {
        index,
        timestamp_ns: captured.timestamp_ns,
        beside: captured.beside,
        bytes: captured.bytes,
    }
}
