//! The output: batches into the kernel, and what its refusals mean for a frame.

use arrayvec::ArrayVec;
use tapferry_frame::gso::Segmenter;
use tapferry_sys::Errno;
use tapferry_sys::inject::{BATCH, Injector, Outgoing};

use crate::counters::{Counters, DropReason, count};
use crate::fate::wire_bytes;
use crate::recent::Recent;

/// Frames that are to be sent one after the other, with their timestamps.
#[derive(Default)]
pub(crate) struct Run<'a> {
    frames: ArrayVec<Outgoing<'a>, BATCH>,
    stamps: ArrayVec<u64, BATCH>,
}

impl<'a> Run<'a> {
    pub(crate) fn push(&mut self, frame: Outgoing<'a>, timestamp: u64) {
        self.frames.push(frame);
        self.stamps.push(timestamp);
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of the first `count` frames, tags included.
    pub(crate) fn bytes(&self, count: usize) -> usize {
        self.frames.iter().take(count).map(|frame| wire_bytes(frame.bytes, frame.beside)).sum()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.frames.is_full()
    }
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Every frame has been forwarded or dropped.
    Done,
    /// The output takes no more for now; so many frames have been forwarded or dropped.
    Blocked(usize),
}

/// The first refusal of a kind, to be told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) errno: Errno,
}

/// Where frames leave, and the count of what became of them.
pub(crate) struct Outlet {
    injector: Option<Injector>,
    /// Why nothing can leave at the moment.
    barred: Option<DropReason>,
    recent: Recent,
    /// Frames that may still be forwarded.
    left: u64,
    /// The latest refusal not yet asked for.
    refusal: Option<Refusal>,
    /// One segment at a time, for frames the kernel does not segment.
    scratch: Vec<u8>,
}

impl Outlet {
    /// An outlet that forwards at most `limit` frames.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            injector: None,
            barred: None,
            recent: Recent::new(),
            left: limit.unwrap_or(u64::MAX),
            refusal: None,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn attach(&mut self, injector: Injector) {
        self.injector = Some(injector);
    }

    /// From now on every frame is dropped for this reason; `None`: no more. The kernel itself takes frames for an
    /// interface without a carrier, and drops them without a word.
    pub(crate) fn bar(&mut self, reason: Option<DropReason>) {
        self.barred = reason;
    }

    pub(crate) fn injector(&self) -> Option<&Injector> {
        self.injector.as_ref()
    }

    /// Whether as many frames as were asked for have been forwarded.
    pub(crate) fn limit_reached(&self) -> bool {
        self.left == 0
    }

    /// The latest refusal since the last call.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Frames forwarded at `moment` (nanoseconds since 1970) or later, by their timestamps; each once.
    pub(crate) fn take_forwarded_since(&mut self, moment: u64) -> u64 {
        self.recent.take_since(moment)
    }

    /// Sends a run; every frame that it gets past is counted.
    pub(crate) fn send(&mut self, run: &Run<'_>, counters: &mut Counters) -> Progress {
        if let Some(reason) = self.barred {
            counters.drop_many(reason, count(run.len()));
            return Progress::Done;
        }
        let mut done = 0;
        while done < run.len() {
            let allowed = usize::try_from(self.left).unwrap_or(usize::MAX).min(run.len() - done);
            if allowed == 0 {
                for _ in done..run.len() {
                    counters.drop(DropReason::CountReached);
                }
                break;
            }
            let batch = &run.frames[done..done + allowed];
            match self.inject(batch) {
                Ok(sent) => {
                    for (frame, stamp) in batch[..sent].iter().zip(&run.stamps[done..]) {
                        self.note_forwarded(frame, *stamp, counters);
                    }
                    done += sent;
                }
                Err(Errno::AGAIN) => return Progress::Blocked(done),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    match self.without_offloads(&batch[0], errno) {
                        Ok(()) => self.note_forwarded(&batch[0], run.stamps[done], counters),
                        Err(errno) => {
                            let reason = reason_of(errno);
                            counters.drop(reason);
                            self.refusal = Some(Refusal { reason, errno });
                        }
                    }
                    done += 1;
                }
            }
        }
        Progress::Done
    }

    fn inject(&mut self, frames: &[Outgoing<'_>]) -> Result<usize, Errno> {
        self.injector.as_mut().ok_or(Errno::NODEV)?.send(frames)
    }

    fn note_forwarded(&mut self, frame: &Outgoing<'_>, timestamp: u64, counters: &mut Counters) {
        counters.forward(wire_bytes(frame.bytes, frame.beside));
        self.recent.push(timestamp);
        self.left -= 1;
    }

    /// A second try for a frame whose offloads the kernel does not accept from a packet socket (EINVAL:
    /// a GSO frame with two tags, for one): cut into plain frames here. Any other refusal stands.
    fn without_offloads(&mut self, frame: &Outgoing<'_>, refused: Errno) -> Result<(), Errno> {
        if refused != Errno::INVAL || frame.vnet.gso_kind().is_none() {
            return Err(refused);
        }
        let whole = with_tag(frame);
        let mut segments = Segmenter::new(frame.vnet, &whole).map_err(|_| refused)?;
        let mut segment = std::mem::take(&mut self.scratch);
        let mut result = Ok(());
        while result.is_ok() && segments.next_into(&mut segment) {
            let plain = Outgoing { vnet: Default::default(), beside: None, bytes: &segment };
            // A full queue in the middle of a frame: the receiver's transport repairs that, as it does
            // when the kernel's own segments find no room.
            result = self.inject(&[plain]).map(drop);
        }
        self.scratch = segment;
        result
    }
}

/// The frame with its tag in the bytes, its virtio-net header already describing it so.
fn with_tag(frame: &Outgoing<'_>) -> Vec<u8> {
    use tapferry_frame::ethernet::TAG_OFFSET;
    let mut whole = frame.bytes.to_vec();
    if let Some(tag) = frame.beside {
        whole.splice(TAG_OFFSET..TAG_OFFSET, tag.to_bytes());
    }
    whole
}

fn reason_of(errno: Errno) -> DropReason {
    match errno {
        Errno::MSGSIZE => DropReason::TooLong,
        Errno::NETDOWN => DropReason::OutputDown,
        Errno::NXIO | Errno::NODEV => DropReason::OutputMissing,
        Errno::NOBUFS => DropReason::OutputFull,
        Errno::INVAL => DropReason::Malformed,
        _ => DropReason::Refused,
    }
}
