//! The output: batches into the kernel, and what its refusals mean for a frame.

use arrayvec::ArrayVec;
use tapferry_frame::ethernet::{TAG_OFFSET, VlanTag};
use tapferry_frame::gso::Segmenter;
use tapferry_sys::Errno;
use tapferry_sys::inject::{BATCH, Injector, Outgoing};
use tapferry_tls::ChannelError;

use crate::counters::{Counters, DropReason, count};
use crate::datagram::{self, writer::DatagramWriter};
use crate::frame::Frame;
use crate::outgoing::outgoing;
use crate::recent::Recent;
use crate::stream::writer::Writer;

/// How far a run of frames got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Every frame has been forwarded or dropped.
    Done,
    /// The output takes no more for now; so many frames have been forwarded, dropped or begun.
    Blocked(usize),
}

/// How far a batch got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// So many frames are out.
    Sent(usize),
    /// So many frames are out, and others in part: nothing else may be sent before the rest of them.
    Begun {
        /// Frames that are out whole.
        complete: usize,
        /// Frames after them that are not: one, or a batch that was encrypted.
        begun: usize,
    },
    /// The first frame cannot be sent.
    Refused {
        /// What it is counted as.
        reason: DropReason,
        /// What the kernel said, if it was asked.
        errno: Option<Errno>,
    },
    /// Nothing is taken for now.
    Blocked,
    /// The peer is gone.
    Broken(ChannelError),
}

/// The first refusal of a kind, to be told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) errno: Errno,
}

/// What takes frames.
pub(crate) enum Exit {
    /// An interface.
    Netdev(NetdevExit),
    /// A peer.
    Stream(Writer),
    /// Whoever is at an address, one datagram a frame.
    Datagram(DatagramWriter),
}

/// Where frames leave, and the count of what became of them.
pub(crate) struct Outlet {
    exit: Exit,
    /// Why nothing can leave at the moment.
    barred: Option<DropReason>,
    /// Nothing is taken until the descriptor says so.
    blocked: bool,
    /// Frames that are out in part: their bytes and timestamps.
    begun: ArrayVec<(usize, u64), BATCH>,
    /// The peer is gone, and the worker does not know yet.
    broken: Option<ChannelError>,
    recent: Recent,
    /// Frames that may still be forwarded.
    left: u64,
    /// The latest refusal not yet asked for.
    refusal: Option<Refusal>,
}

impl Outlet {
    /// An outlet that forwards at most `limit` frames.
    pub(crate) fn new(exit: Exit, limit: Option<u64>) -> Self {
        Self {
            exit,
            barred: None,
            blocked: false,
            begun: ArrayVec::new(),
            broken: None,
            recent: Recent::new(),
            left: limit.unwrap_or(u64::MAX),
            refusal: None,
        }
    }

    /// From now on every frame is dropped for this reason; `None`: no more. The kernel itself takes frames for an
    /// interface without a carrier, and drops them without a word.
    pub(crate) fn bar(&mut self, reason: Option<DropReason>) {
        self.barred = reason;
    }

    pub(crate) fn exit(&self) -> &Exit {
        &self.exit
    }

    pub(crate) fn netdev(&mut self) -> Option<&mut NetdevExit> {
        match &mut self.exit {
            Exit::Netdev(exit) => Some(exit),
            Exit::Stream(_) | Exit::Datagram(_) => None,
        }
    }

    pub(crate) fn writer(&mut self) -> Option<&mut Writer> {
        match &mut self.exit {
            Exit::Netdev(_) | Exit::Datagram(_) => None,
            Exit::Stream(writer) => Some(writer),
        }
    }

    /// Whether frames leave to a peer that is connected.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.exit, Exit::Stream(_))
    }

    /// Whether it waits for its descriptor to take more.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The descriptor takes more, or there is another one.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Frames and bytes that are out in part.
    pub(crate) fn begun(&self) -> (usize, usize) {
        (self.begun.len(), self.begun.iter().map(|(bytes, _)| bytes).sum())
    }

    /// Whether as many frames as were asked for have been forwarded.
    pub(crate) fn limit_reached(&self) -> bool {
        self.left == 0
    }

    /// The latest refusal since the last call.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Why the peer is gone, if sending has shown that it is.
    pub(crate) fn take_broken(&mut self) -> Option<ChannelError> {
        self.broken.take()
    }

    /// Frames forwarded at `moment` (nanoseconds since 1970) or later, by their timestamps; each once.
    pub(crate) fn take_forwarded_since(&mut self, moment: u64) -> u64 {
        self.recent.take_since(moment)
    }

    /// Sends the rest of frames that are out in part.
    pub(crate) fn flush(&mut self, counters: &mut Counters) {
        if self.blocked || self.begun.is_empty() {
            return;
        }
        let flushed = match &mut self.exit {
            Exit::Netdev(_) => return,
            Exit::Stream(writer) => writer.flush(),
            Exit::Datagram(writer) => writer.flush().map_err(ChannelError::System),
        };
        match (flushed, &self.exit) {
            (Ok(true), _) => {
                for (bytes, timestamp) in self.begun.take() {
                    self.note_forwarded(bytes, timestamp, counters);
                }
            }
            (Ok(false), _) => self.blocked = true,
            (Err(ChannelError::System(errno)), Exit::Datagram(_)) => {
                let reason = datagram::reason_of(errno);
                self.refusal = Some(Refusal { reason, errno });
                self.abandon_begun(reason, counters);
            }
            (Err(error), _) => self.note_broken(error, counters),
        }
    }

    /// The connection is closed. What the peer had in part has not arrived.
    pub(crate) fn detach_peer(&mut self, counters: &mut Counters) {
        if let Exit::Stream(writer) = &mut self.exit {
            writer.detach();
        }
        self.broken = None;
        self.blocked = false;
        self.abandon_begun(DropReason::NoPeer, counters);
    }

    /// Gives up frames that are out in part.
    pub(crate) fn abandon_begun(&mut self, reason: DropReason, counters: &mut Counters) {
        counters.drop_many(reason, count(self.begun.take().len()));
    }

    /// Sends frames through an output of `mtu` bytes; every frame that it gets past is counted. Must not be called
    /// while [`Outlet::is_blocked`].
    pub(crate) fn send(&mut self, run: &[Frame<'_>], mtu: u32, counters: &mut Counters) -> Progress {
        let mut done = 0;
        while done < run.len() {
            let allowed = usize::try_from(self.left).unwrap_or(usize::MAX).min(run.len() - done);
            let barred = self.barred.or((allowed == 0).then_some(DropReason::CountReached));
            if let Some(reason) = barred {
                counters.drop_many(reason, count(run.len() - done));
                break;
            }
            let batch = &run[done..done + allowed];
            let step = match &mut self.exit {
                Exit::Netdev(exit) => exit.send(batch, mtu),
                Exit::Stream(writer) => writer.send(batch),
                Exit::Datagram(writer) => writer.send(batch),
            };
            match step {
                Step::Sent(sent) => {
                    self.note_all_forwarded(&batch[..sent], counters);
                    done += sent;
                }
                Step::Begun { complete, begun } => {
                    self.note_all_forwarded(&batch[..complete], counters);
                    let begun = batch[complete..][..begun].iter();
                    self.begun.extend(begun.map(|frame| (frame.wire_bytes(), frame.captured.timestamp_ns)));
                    self.blocked = true;
                    return Progress::Blocked(done + complete + self.begun.len());
                }
                Step::Refused { reason, errno } => {
                    counters.drop(reason);
                    self.refusal = errno.map(|errno| Refusal { reason, errno }).or(self.refusal);
                    done += 1;
                }
                Step::Blocked => {
                    self.blocked = true;
                    return Progress::Blocked(done);
                }
                Step::Broken(error) => self.note_broken(error, counters),
            }
        }
        Progress::Done
    }

    fn note_broken(&mut self, error: ChannelError, counters: &mut Counters) {
        // The connection itself is closed by whoever waits on its descriptor.
        self.broken = Some(error);
        self.barred = Some(DropReason::NoPeer);
        self.blocked = false;
        self.abandon_begun(DropReason::NoPeer, counters);
    }

    fn note_all_forwarded(&mut self, frames: &[Frame<'_>], counters: &mut Counters) {
        for frame in frames {
            self.note_forwarded(frame.wire_bytes(), frame.captured.timestamp_ns, counters);
        }
    }

    fn note_forwarded(&mut self, bytes: usize, timestamp: u64, counters: &mut Counters) {
        counters.forward(bytes);
        self.recent.push(timestamp);
        self.left -= 1;
    }
}

/// The way out through an interface.
#[derive(Default)]
pub struct NetdevExit {
    injector: Option<Injector>,
    /// One segment at a time, for frames the kernel does not segment.
    segment: Vec<u8>,
}

impl NetdevExit {
    /// What it sends through from now on.
    pub fn attach(&mut self, injector: Injector) {
        self.injector = Some(injector);
    }

    pub(crate) fn injector(&self) -> Option<&Injector> {
        self.injector.as_ref()
    }

    /// Sends the first frames through an interface of `mtu` bytes, as many as one call takes.
    pub fn send(&mut self, frames: &[Frame<'_>], mtu: u32) -> Step {
        let mut batch = ArrayVec::<Outgoing<'_>, BATCH>::new();
        for frame in frames.iter().take(BATCH) {
            match outgoing(&frame.captured, mtu) {
                Ok(outgoing) => batch.push(outgoing),
                Err(reason) if batch.is_empty() => return Step::Refused { reason, errno: None },
                Err(_) => break,
            }
        }
        match self.inject(&batch) {
            Ok(sent) => Step::Sent(sent),
            Err(Errno::AGAIN) => Step::Blocked,
            Err(Errno::INTR) => Step::Sent(0),
            Err(errno) => match self.without_offloads(&batch[0], errno) {
                Ok(()) => Step::Sent(1),
                Err(errno) => Step::Refused { reason: reason_of(errno), errno: Some(errno) },
            },
        }
    }

    fn inject(&mut self, frames: &[Outgoing<'_>]) -> Result<usize, Errno> {
        self.injector.as_mut().ok_or(Errno::NODEV)?.send(frames)
    }

    /// A second try for a frame whose offloads the kernel does not accept from a packet socket (EINVAL:
    /// a GSO frame with two tags, for one): cut into plain frames here. Any other refusal stands.
    fn without_offloads(&mut self, frame: &Outgoing<'_>, refused: Errno) -> Result<(), Errno> {
        if refused != Errno::INVAL || frame.vnet.gso_kind().is_none() {
            return Err(refused);
        }
        let whole = with_tag(frame.bytes, frame.beside);
        let mut segments = Segmenter::new(frame.vnet, &whole).map_err(|_| refused)?;
        let mut segment = std::mem::take(&mut self.segment);
        let mut result = Ok(());
        while result.is_ok() && segments.next_into(&mut segment) {
            let plain = Outgoing { vnet: Default::default(), beside: None, bytes: &segment };
            // A full queue in the middle of a frame: the receiver's transport repairs that, as it does
            // when the kernel's own segments find no room.
            result = self.inject(&[plain]).map(drop);
        }
        self.segment = segment;
        result
    }
}

/// The frame with its tag in the bytes, its virtio-net header already describing it so.
pub(crate) fn with_tag(frame: &[u8], beside: Option<VlanTag>) -> Vec<u8> {
    let mut whole = frame.to_vec();
    if let Some(tag) = beside {
        whole.splice(TAG_OFFSET..TAG_OFFSET, tag.to_bytes());
    }
    whole
}

/// What a frame is counted as that the kernel refuses.
pub(crate) fn reason_of(errno: Errno) -> DropReason {
    match errno {
        Errno::MSGSIZE => DropReason::TooLong,
        Errno::NETDOWN => DropReason::OutputDown,
        Errno::NXIO | Errno::NODEV => DropReason::OutputMissing,
        Errno::NOBUFS => DropReason::OutputFull,
        Errno::INVAL => DropReason::Malformed,
        _ => DropReason::Refused,
    }
}
