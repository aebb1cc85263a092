//! What is known of how far the guest has got: its receive queue, read through its process's memory or told by its
//! monitor, and the counters of its TAP, beside the frames that were captured.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tapferry_redirect::parts::Frame;
use tapferry_sys::process_memory::ProcessMemory;
use tapferry_sys::{Captured, clock};

use crate::connection::nanos;
use crate::cut::{
    self, Basis, Calibration, Cut, GiveBack, GuestMemory, Receive, Resumed, RingLocation, Sample, Seen, Told,
};

/// After this long a capture has handed over all that was sent before: the timer of a ring, where there is one, in
/// jiffies of 10 ms.
pub(crate) const CAPTURE_LAG: Duration = Duration::from_millis(15);
/// Samples of a guest that runs on that count: those of the last few milliseconds.
const LATEST: usize = 64;

/// What an interface counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TapCounters {
    /// Frames that were read by the holder of the TAP.
    pub(crate) tx_packets: u64,
    /// Frames that its queue had no room for.
    pub(crate) tx_dropped: u64,
}

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
    pid: Option<i32>,
    queue: Option<(Memory, RingLocation)>,
    why_no_queue: Option<String>,
    calibration: Calibration,
    told: Told,
    pending: VecDeque<Pending>,
    /// The stamp of the newest frame, nanoseconds since 1970.
    newest_ns: u64,
    read_lately: Option<u64>,
    /// What the TAP's queue had dropped at the last look.
    dropped: Option<u64>,
    /// The TAP's counter when the VM had stopped.
    stopped: Option<u64>,
    /// The queue's used index then.
    used_at_stop: Option<u16>,
    /// Samples since the VM runs on here.
    since: Vec<Sample>,
}

impl Evidence {
    /// Begins to gather it, from a VM that runs in that process.
    pub(crate) fn new(pid: Option<i32>) -> Self {
        Self {
            pid,
            queue: None,
            why_no_queue: Some(
                "the VM stopped before its monitor had told where its receive queue is".into(),
            ),
            calibration: Calibration::new(),
            told: Told::default(),
            pending: VecDeque::new(),
            newest_ns: 0,
            read_lately: None,
            dropped: None,
            stopped: None,
            used_at_stop: None,
            since: Vec::new(),
        }
    }

    /// Where the queue is through which the guest receives, or why that is not known. Says whether it can be read.
    pub(crate) fn set_queue(&mut self, location: Result<RingLocation, String>) -> bool {
        let memory = || match self.pid {
            Some(pid) => ProcessMemory::open(pid).map_err(|error| error.to_string()),
            None => Err("the VM's process is not known".into()),
        };
        match location.and_then(|location| Ok((Memory(memory()?), location))) {
            Ok(queue) => (self.queue, self.why_no_queue) = (Some(queue), None),
            Err(why) => self.why_no_queue = Some(why),
        }
        self.queue.is_some()
    }

    /// One past the last frame that had been read from the TAP at the last look, as far as can be told.
    pub(crate) fn read_lately(&self) -> Option<u64> {
        self.read_lately
    }

    /// The stamp of the newest frame, nanoseconds since 1970.
    pub(crate) fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// A frame was captured, as number `index`. Whatever was sampled before its time was sampled before it.
    pub(crate) fn note_frame(&mut self, timestamp_ns: u64, index: u64) {
        self.newest_ns = self.newest_ns.max(timestamp_ns);
        self.settle_before(timestamp_ns, index);
    }

    /// QEMU may keep frame `index` from its guest, which is then not short of it.
    pub(crate) fn note_doubtful(&mut self, index: u64) {
        self.told.note_doubtful(index);
    }

    /// The VM's monitor has told the queue's used index; the VM runs.
    pub(crate) fn note_used_index(&mut self, used: u16, mut counters: impl FnMut() -> Option<TapCounters>) {
        // Looked at after the answer, the counter is never behind it.
        let counts = counters().and_then(|tap| self.calibration.counts(tap.tx_packets, None));
        if let Some(counts) = counts {
            self.told.note(used, counts.read);
        }
    }

    /// The same of a VM that has stopped: its last word.
    pub(crate) fn note_last_used_index(&mut self, used: u16) {
        self.told.note_stopped(used);
    }

    /// Whether the cut would be better with the last word of the VM's monitor.
    pub(crate) fn lacks_last_word(&self) -> bool {
        self.queue.is_none() && self.told.lacks_last_word()
    }

    /// Frames that the kernel had no room for are missing: counters and frames do not go together any more.
    pub(crate) fn note_interruption(&mut self) {
        self.pending.clear();
        self.calibration = Calibration::new();
        self.told = Told::default();
    }

    /// Looks at the counters, when `captured` frames have been taken from the capture.
    pub(crate) fn sample(&mut self, captured: u64, counters: impl FnMut() -> Option<TapCounters>) {
        let at = clock::realtime_ns();
        let lag = nanos(CAPTURE_LAG);
        // No frame has come since, or it would have settled these.
        self.settle_before(at.saturating_sub(lag), captured);
        if let Some((tap, used)) = self.look(counters) {
            if self.dropped.replace(tap.tx_dropped).is_some_and(|before| before != tap.tx_dropped) {
                // Frames that were captured and never read put all counters out of step.
                self.note_interruption();
            }
            self.pending.push_back(Pending { at: clock::realtime_ns(), tx_packets: tap.tx_packets, used });
            self.read_lately = self.calibration.counts(tap.tx_packets, None).map(|counts| counts.read);
        }
    }

    /// Looks at the counters of a VM that has stopped: they stand still.
    pub(crate) fn sample_stopped(&mut self, counters: impl FnMut() -> Option<TapCounters>) {
        let (tap, used) = self.look(counters).unzip();
        self.stopped = tap.map(|tap| tap.tx_packets);
        self.used_at_stop = used.flatten();
    }

    /// Where the cut is, and why it was not found in a better way.
    pub(crate) fn find_cut<'a>(
        &self,
        frames: impl Iterator<Item = (u64, Frame<'a>)>,
        captured: u64,
        stopped_at_ns: u64,
    ) -> (Cut, Option<String>) {
        let frames: Vec<_> = frames.filter_map(seen).collect();
        let (receive, unreadable) = match self.receive() {
            // The process may have ended since, its memory be given back, or the guest run on.
            Some(Ok(receive)) if self.used_at_stop.is_some_and(|used| used != receive.index()) => {
                (None, Some("the VM's receive queue has changed since the stop".into()))
            }
            Some(Ok(receive)) => (Some(receive), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, self.why_no_queue.clone()),
        };
        let used = self.used_at_stop.or(receive.as_ref().map(Receive::index));
        let counts = self.stopped.and_then(|tx_packets| self.calibration.counts(tx_packets, used));
        let told = counts.and_then(|counts| self.told.got(counts.read));
        let receive = receive.as_ref();
        let evidence = cut::Evidence { captured, frames: &frames, counts, receive, told, stopped_at_ns };
        let cut = cut::find(&evidence);
        let reason = cut.why_not_better.map(|reason| unreadable.unwrap_or_else(|| reason.to_string()));
        (cut, reason)
    }

    /// Whether the guest has been given frames since its VM stopped: it runs on here, whoever has told so far.
    pub(crate) fn runs_on(&self) -> bool {
        let now = self.queue.as_ref().and_then(|(memory, location)| cut::used_index(memory, location).ok());
        now.zip(self.used_at_stop).is_some_and(|(now, before)| now != before)
    }

    /// The TAP's count of frames that were read from it, when the VM had stopped.
    pub(crate) fn tx_packets_at_stop(&self) -> Option<u64> {
        self.stopped
    }

    /// The first frame that waited in the TAP's queue when the VM had stopped.
    pub(crate) fn first_unread(&self) -> Option<u64> {
        let counts = self.calibration.counts(self.stopped?, None)?;
        Some(counts.read)
    }

    /// The VM runs on here. Which frames from the cut on were thrown away by its process, as the queue tells: it holds
    /// what the guest was given first, until as many frames more have come as it has room for.
    pub(crate) fn thrown_away<'a>(
        &self,
        cut: u64,
        frames: impl Iterator<Item = (u64, Frame<'a>)>,
    ) -> Option<GiveBack> {
        let given = self.judge(cut, frames, &[])?;
        (given.basis == Basis::Contents).then_some(given)
    }

    /// The same at the end of all patience, by whatever tells: counters compare once the guest has caught up.
    pub(crate) fn thrown_away_at_most<'a>(
        &self,
        cut: u64,
        frames: impl Iterator<Item = (u64, Frame<'a>)>,
    ) -> GiveBack {
        self.judge(cut, frames, &self.since).unwrap_or(GiveBack { frames: 0, basis: Basis::Unsure })
    }

    /// Looks at the counters of a guest that runs on; what was seen long ago is forgotten.
    pub(crate) fn sample_resumed(&mut self, captured: u64, counters: impl FnMut() -> Option<TapCounters>) {
        if let Some((tap, used)) = self.look(counters) {
            self.since.push(Sample { captured, tx_packets: tap.tx_packets, used });
        }
        let old = self.since.len().saturating_sub(LATEST);
        self.since.drain(..old);
    }

    fn judge<'a>(
        &self,
        cut: u64,
        frames: impl Iterator<Item = (u64, Frame<'a>)>,
        since: &[Sample],
    ) -> Option<GiveBack> {
        let used_at_stop = self.used_at_stop?;
        let receive = self.receive()?.ok();
        let frames: Vec<_> = frames.filter_map(seen).collect();
        Some(cut::give_back(&Resumed {
            cut,
            used_at_stop,
            frames: &frames,
            receive: receive.as_ref(),
            before: &self.calibration,
            since,
        }))
    }

    /// When the samples from before `moment` (nanoseconds since 1970) were taken, so many frames had been captured.
    fn settle_before(&mut self, moment: u64, captured: u64) {
        let settled = self.pending.iter().take_while(|sample| sample.at < moment).count();
        for Pending { tx_packets, used, .. } in self.pending.drain(..settled) {
            self.calibration.push(Sample { captured, tx_packets, used });
        }
    }

    /// The TAP's counters, and the queue's where both belong together.
    fn look(&self, mut counters: impl FnMut() -> Option<TapCounters>) -> Option<(TapCounters, Option<u16>)> {
        let before = counters()?;
        let Some((memory, location)) = &self.queue else { return Some((before, None)) };
        let used = cut::used_index(memory, location).ok();
        let after = counters()?;
        Some((after, used.filter(|_| before.tx_packets == after.tx_packets)))
    }

    fn receive(&self) -> Option<Result<Receive<'_>, String>> {
        let (memory, location) = self.queue.as_ref()?;
        Some(Receive::read(memory, location).map_err(|error| error.to_string()))
    }
}

/// A frame as the guest sees it. Of one that was captured in part its length is not known.
fn seen<'a>((index, frame): (u64, Frame<'a>)) -> Option<Seen<'a>> {
    let Captured { timestamp_ns, beside, bytes, .. } = frame.captured;
    (!frame.captured.is_truncated()).then_some(Seen { index, timestamp_ns, beside, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Method;

    /// Elements of a queue that lies in this process.
    const QUEUE: u16 = 16;

    /// Where its used index is.
    const INDEX: usize = 2;

    #[test]
    fn a_queue_that_cannot_be_read_any_more_has_told_its_index_at_the_stop() {
        // All of it at one place: nothing but its index is looked at.
        let mut queue = vec![0_u8; 16 * usize::from(QUEUE)];
        let host = u64::try_from(queue.as_ptr().expose_provenance()).unwrap();
        let mut evidence = Evidence::new(Some(std::process::id().cast_signed()));
        evidence.set_queue(Ok(RingLocation {
            queue_size: QUEUE,
            desc_host: host,
            avail_host: None,
            used_host: host,
            header_len: 12,
            mergeable: false,
            ram: Vec::new(),
        }));
        for frames in 1..=10_u8 {
            queue[INDEX] = frames;
            let counters = TapCounters { tx_packets: frames.into(), tx_dropped: 0 };
            evidence.sample(frames.into(), || Some(counters));
            evidence.note_frame(clock::realtime_ns() + 1, frames.into());
        }
        // QEMU has read two more, and its guest has got one of them.
        queue[INDEX] = 11;
        evidence.sample_stopped(|| Some(TapCounters { tx_packets: 12, tx_dropped: 0 }));
        // The process goes, and its memory with it.
        queue.fill(0);
        let (cut, why) = evidence.find_cut(std::iter::empty(), 20, 0);
        assert_eq!((cut.index, cut.method), (11, Method::UsedIndex));
        assert!(why.unwrap().contains("changed since the stop"));
    }
}
