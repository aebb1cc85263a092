//! A host that sends frames into an interface through a packet socket.
//!
//! What is sent into a TAP's interface goes to its guest, and a capture sees it as PACKET_OUTGOING, unless the
//! queueing discipline is bypassed: then no capture sees it at all.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::craft::Frame;
use crate::error::{Context, Result};
use crate::probe::Probe;
use crate::sys;
pub(crate) use crate::sys::FRAME_MAX;
use crate::vnet::{self, VnetHeader};

/// How a sender sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderOptions {
    /// PACKET_VNET_HDR: each frame goes with its virtio-net header.
    pub vnet_header: bool,
    /// SO_MARK.
    pub mark: Option<u32>,
    /// PACKET_QDISC_BYPASS.
    pub qdisc_bypass: bool,
}

/// When frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the sender can.
    Burst,
    /// So many frames a second, evenly spaced.
    Even {
        /// Frames a second.
        rate: u32,
    },
    /// So many frames a second on average, in bursts.
    Bursts {
        /// Frames a second.
        rate: u32,
        /// Frames in a burst.
        size: u32,
    },
}

impl Pace {
    /// When the frame with that index is due, after the start.
    fn due(self, index: u64) -> Duration {
        let (rate, index) = match self {
            Self::Burst => return Duration::ZERO,
            Self::Even { rate } => (rate, index),
            Self::Bursts { rate, size } => (rate, index - index % u64::from(size.max(1))),
        };
        Duration::from_nanos(index.saturating_mul(1_000_000_000) / u64::from(rate.max(1)))
    }
}

/// When one frame was sent: the kernel took it between these two times (CLOCK_REALTIME, nanoseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its place in this sending, from 0.
    pub index: u64,
    /// Just before the system call.
    pub before: u64,
    /// Just after it.
    pub after: u64,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the kernel accepted.
    pub frames: u64,
    /// Frames that it refused.
    pub refused: u64,
    /// The errno of the last refusal.
    pub last_errno: Option<i32>,
    /// CLOCK_REALTIME just before the first frame, in nanoseconds.
    pub first: u64,
    /// CLOCK_REALTIME just after the last frame, in nanoseconds.
    pub last: u64,
    /// Each frame's times, when they were asked for.
    pub stamps: Vec<Stamp>,
}

/// CLOCK_REALTIME, in nanoseconds.
pub fn realtime() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A packet socket that sends into one interface and receives nothing.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    name: String,
    options: SenderOptions,
}

impl Sender {
    /// Opens a plain sender.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV when there is no such interface.
    pub fn open(name: &str) -> Result<Self> {
        Self::with(name, SenderOptions::default())
    }

    /// Opens a sender with virtio-net headers, for GSO frames and partial checksums.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_vnet_header(name: &str) -> Result<Self> {
        Self::with(name, SenderOptions { vnet_header: true, ..SenderOptions::default() })
    }

    /// Opens a sender with these options.
    ///
    /// # Errors
    /// As [`Self::open`]; EPERM where a mark is not permitted.
    pub fn with(name: &str, options: SenderOptions) -> Result<Self> {
        let socket = sys::packet_socket().on("socket(AF_PACKET)", name)?;
        let set = |level, option, value| sys::set_option(socket.as_fd(), level, option, value);
        if options.vnet_header {
            set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1).on("PACKET_VNET_HDR", name)?;
        }
        if options.qdisc_bypass {
            set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1).on("PACKET_QDISC_BYPASS", name)?;
        }
        if let Some(mark) = options.mark {
            set(libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed()).on("SO_MARK", name)?;
        }
        let index = sys::interface_index(socket.as_fd(), name).on("SIOCGIFINDEX", name)?;
        sys::packet_bind(socket.as_fd(), index, 0).on("bind", name)?;
        Ok(Self { socket, name: name.to_owned(), options })
    }

    /// Sends one frame; waits while the socket's buffer is full.
    ///
    /// # Errors
    /// What the kernel says, for example ENETDOWN, ENXIO when the interface is gone, EMSGSIZE, ENOBUFS.
    pub fn send(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let message = if self.options.vnet_header {
            bytes.extend(header.to_bytes(vnet::LENGTH_LEGACY));
            bytes.extend(frame);
            &bytes
        } else {
            frame
        };
        loop {
            match rustix::io::write(&self.socket, message) {
                Err(rustix::io::Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None)?;
                }
                result => return result.map(drop).map_err(Into::into),
            }
        }
    }

    /// Sends a crafted frame.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_frame(&self, frame: &Frame) -> Result<()> {
        self.send(&frame.header, &frame.bytes).on("send", &self.name)
    }

    /// Sends a burst of numbered frames of `size` bytes.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    pub fn send_probes(&self, probe: &Probe, size: usize, sequences: Range<u64>) -> Result<Sent> {
        let count = sequences.end.saturating_sub(sequences.start);
        let mut frame = vec![0; size];
        let sent = self.pace(Pace::Burst, count, false, &AtomicBool::new(false), |index, send| {
            probe.build_into(sequences.start + index, &mut frame);
            send(&VnetHeader::default(), &frame)
        });
        match sent.last_errno {
            None => Ok(sent),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)).on("send", &self.name),
        }
    }

    /// Sends `count` frames at a pace, until all are sent or `stop` is set. `each` is called with a frame's
    /// index and a function that sends it. Refusals are counted; the sending goes on.
    pub fn pace<F>(&self, pace: Pace, count: u64, stamps: bool, stop: &AtomicBool, mut each: F) -> Sent
    where
        F: FnMut(u64, &mut dyn FnMut(&VnetHeader, &[u8]) -> io::Result<()>) -> io::Result<()>,
    {
        paced(pace, count, stamps, stop, |index, clock| {
            each(index, &mut |header, frame| clock(&mut || self.send(header, frame)))
        })
    }

    /// The interface it sends into.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Runs `each` for `count` frames at a pace. It is called with a frame's index and a function that runs the system
/// call and takes the time around it.
pub(crate) fn paced<F>(pace: Pace, count: u64, stamps: bool, stop: &AtomicBool, mut each: F) -> Sent
where
    F: FnMut(u64, &mut dyn FnMut(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>) -> io::Result<()>,
{
    // Without it the sleeps are longer.
    let _ = sys::set_fine_timer_slack();
    let now = || if stamps { realtime() } else { 0 };
    let start = Instant::now();
    // Where the time of each frame matters it is met to the microsecond; elsewhere that is not worth a processor.
    let spin = if stamps { SPIN } else { Duration::ZERO };
    let mut sent = Sent { first: realtime(), ..Sent::default() };
    for index in 0..count {
        wait_until(start + pace.due(index), spin, stop);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (mut before, mut after) = (0, 0);
        let result = each(index, &mut |send| {
            before = now();
            let result = send();
            after = now();
            result
        });
        match result {
            Ok(()) => sent.frames += 1,
            Err(error) => {
                sent.refused += 1;
                sent.last_errno = error.raw_os_error();
            }
        }
        if stamps {
            sent.stamps.push(Stamp { index, before, after });
        }
    }
    sent.last = realtime();
    sent
}

/// Longer than the kernel takes to wake a thread.
const SPIN: Duration = Duration::from_micros(60);

/// Sleeps until the time, in parts short enough to notice `stop`, and spins for the last of it.
fn wait_until(due: Instant, spin: Duration, stop: &AtomicBool) {
    const LONGEST: Duration = Duration::from_millis(20);
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || stop.load(Ordering::Relaxed) {
            return;
        }
        if left > spin {
            thread::sleep((left - spin).min(LONGEST));
        } else {
            std::hint::spin_loop();
        }
    }
}
