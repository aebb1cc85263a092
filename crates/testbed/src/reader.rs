//! A thread that reads every frame of a TAP (a guest) or of an interface (a host), and counts.
//!
//! It reads as fast as it can, so that a TAP never fills up, unless it is paused, which is what a stopped VM
//! looks like from the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::craft::Frame;
use crate::error::{Context, Result};
use crate::link;
use crate::sys::{self, FRAME_MAX};
use crate::tally::Tally;
use crate::tap::Tap;
use crate::vnet::{self, VnetHeader};

/// Which frames of an interface a packet socket's reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those that arrive at the host.
    Incoming,
    /// Those that the host sends: into a TAP, towards its guest.
    Outgoing,
    /// All of them.
    Both,
}

struct State {
    tally: Tally,
    frames: Option<Vec<Frame>>,
    last: Instant,
    /// So many wait for the tally to change: waking nobody is a system call for each frame.
    waiting: usize,
    paused: bool,
    stopping: bool,
    failure: Option<String>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    wake: OwnedFd,
    mtu: usize,
    /// How long frames may gather before they are read.
    gathering: Duration,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A tally is whole after every frame, also when a reader of it panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, header: Option<&VnetHeader>, frame: &[u8]) {
        let mut state = self.state();
        state.tally.add(header, frame, self.mtu);
        state.last = Instant::now();
        if let Some(frames) = &mut state.frames {
            frames.push(Frame { header: header.copied().unwrap_or_default(), bytes: frame.to_vec() });
        }
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wake(&self) {
        // The counter of an eventfd cannot overflow here; there is no other error.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// A reading thread and what it has counted. Dropping it ends the thread and closes what it read from.
pub struct Reader {
    shared: Arc<Shared>,
    tap: Option<Arc<Tap>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// A guest: reads the TAP, and keeps it.
    ///
    /// # Errors
    /// When the system has no more descriptors or threads, or the interface is gone.
    pub fn try_on_tap(tap: Tap) -> Result<Self> {
        let tap = Arc::new(tap);
        let shared = shared(tap.name(), Duration::ZERO)?;
        let source = Arc::clone(&tap);
        let state = Arc::clone(&shared);
        let thread = spawn(tap.name(), move || {
            let mut buffer = vec![0; FRAME_MAX];
            run(&state, &source.descriptors().collect::<Vec<_>>(), |state| {
                let mut idle = true;
                for queue in source.descriptors() {
                    while let Some((header, frame)) = source.read_queue(queue, &mut buffer)? {
                        idle = false;
                        state.add(header.as_ref(), frame);
                        if state.state().paused {
                            return Ok(false);
                        }
                    }
                }
                Ok(idle)
            });
        })?;
        Ok(Self { shared, tap: Some(tap), thread: Some(thread) })
    }

    /// [`Self::try_on_tap`] for tests.
    ///
    /// # Panics
    /// When it fails.
    pub fn on_tap(tap: Tap) -> Self {
        Self::try_on_tap(tap).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A host: reads an interface through a packet socket, promiscuously, with virtio-net headers, and puts
    /// VLAN tags back that the kernel holds beside the frame.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV when there is no such interface.
    pub fn on_interface(name: &str, direction: Direction) -> Result<Self> {
        Self::gathering(name, direction, Duration::ZERO)
    }

    /// [`Self::on_interface`] for a slow machine, where to be woken costs more than to read: the first frame of
    /// several is left for so long, and more come to it.
    ///
    /// # Errors
    /// As [`Self::on_interface`].
    pub fn gathering(name: &str, direction: Direction, gathering: Duration) -> Result<Self> {
        let socket = sys::packet_socket().on("socket(AF_PACKET)", name)?;
        let set = |level, option, value| sys::set_option(socket.as_fd(), level, option, value);
        set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1).on("PACKET_VNET_HDR", name)?;
        set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1).on("PACKET_AUXDATA", name)?;
        // 40,000 small frames, and within the memory of a test's guest.
        let bytes = 32 << 20;
        // In a user namespace the limit of SO_RCVBUF holds; what does not fit is counted as lost_by_reader.
        if set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
            set(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes).on("SO_RCVBUF", name)?;
        }
        let index = sys::interface_index(socket.as_fd(), name).on("SIOCGIFINDEX", name)?;
        sys::packet_set_promiscuous(socket.as_fd(), index).on("PACKET_MR_PROMISC", name)?;
        let all = u16::try_from(libc::ETH_P_ALL).expect("ETH_P_ALL is 3");
        sys::packet_bind(socket.as_fd(), index, all).on("bind", name)?;
        let shared = shared(name, gathering)?;
        let state = Arc::clone(&shared);
        let object = name.to_owned();
        let thread = spawn(name, move || {
            let mut buffer = vec![0; FRAME_MAX];
            run(&state, &[socket.as_fd()], |state| {
                let received = match sys::packet_receive(socket.as_fd(), &mut buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        let lost = sys::packet_drops(socket.as_fd()).on("PACKET_STATISTICS", &object)?;
                        state.state().tally.lost_by_reader += u64::from(lost);
                        return Ok(true);
                    }
                    // Said once when the interface goes down; it can come up again.
                    Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => return Ok(true),
                    result => result.on("recvmsg", &object)?,
                };
                let outgoing = received.packet_type == libc::PACKET_OUTGOING;
                let wanted = match direction {
                    Direction::Incoming => !outgoing,
                    Direction::Outgoing => outgoing,
                    Direction::Both => true,
                };
                if wanted && received.length >= vnet::LENGTH_LEGACY {
                    let (header, frame) = buffer[..received.length].split_at(vnet::LENGTH_LEGACY);
                    let mut header = VnetHeader::from_bytes(header).unwrap_or_default();
                    let mut frame = frame.to_vec();
                    if let (Some((tpid, tci)), true) = (received.tag, frame.len() >= 12) {
                        let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
                        frame.splice(12..12, tag);
                        if header.needs_checksum() {
                            header.checksum_start += 4;
                        }
                    }
                    state.add(Some(&header), &frame);
                }
                Ok(false)
            });
        })?;
        Ok(Self { shared, tap: None, thread: Some(thread) })
    }

    /// From now on keeps all frames, for [`Self::take_frames`].
    pub fn keep_frames(&self) {
        self.shared.state().frames.get_or_insert_default();
    }

    /// The frames kept so far, which are forgotten.
    pub fn take_frames(&self) -> Vec<Frame> {
        self.shared.state().frames.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What was seen up to now.
    pub fn tally(&self) -> Tally {
        self.shared.state().tally.clone()
    }

    /// Forgets all that was seen.
    pub fn clear(&self) {
        let mut state = self.shared.state();
        state.tally = Tally::default();
        state.frames = state.frames.take().map(|_| Vec::new());
    }

    /// Waits until the condition holds, or the time is over, and returns what was seen.
    pub fn wait_until(&self, timeout: Duration, condition: impl Fn(&Tally) -> bool) -> Tally {
        let mut state = self.shared.state();
        state.waiting += 1;
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |state| state.failure.is_none() && !condition(&state.tally))
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.tally.clone()
    }

    /// Waits until so many numbered frames were read, duplicates included, or the time is over.
    pub fn wait_for(&self, numbered: u64, timeout: Duration) -> Tally {
        self.wait_until(timeout, |tally| tally.numbered() >= numbered)
    }

    /// Waits until nothing has arrived for that long, counted from now, and returns what was seen.
    pub fn settle(&self, silence: Duration) -> Tally {
        let start = Instant::now();
        loop {
            let (last, tally) = {
                let state = self.shared.state();
                (state.last, state.tally.clone())
            };
            let quiet_since = last.max(start);
            match silence.checked_sub(quiet_since.elapsed()) {
                Some(left) if !left.is_zero() => thread::sleep(left),
                _ => return tally,
            }
        }
    }

    /// Stops or continues reading, as a VM that is stopped or continued does.
    pub fn set_paused(&self, paused: bool) {
        self.shared.state().paused = paused;
        self.shared.wake();
    }

    /// Why the thread gave up reading, for example because the interface was deleted.
    pub fn failure(&self) -> Option<String> {
        self.shared.state().failure.clone()
    }

    /// The TAP that is read, for writing into it.
    pub fn tap(&self) -> Option<&Tap> {
        self.tap.as_deref()
    }

    /// Ends the thread and gives the TAP back; the rest of its frames stay in its queue.
    pub fn into_tap(mut self) -> Option<Tap> {
        self.stop();
        self.tap.take().and_then(Arc::into_inner)
    }

    fn stop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was printed there; what it counted before is still true.
            let _ = thread.join();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn shared(name: &str, gathering: Duration) -> Result<Arc<Shared>> {
    let state = State {
        tally: Tally::default(),
        frames: None,
        last: Instant::now(),
        waiting: 0,
        paused: false,
        stopping: false,
        failure: None,
    };
    Ok(Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).on("eventfd", name)?,
        mtu: usize::try_from(link::mtu(name)?).unwrap_or(usize::MAX),
        gathering,
    }))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("read {name}")).spawn(body).on("start a reading thread", name)
}

/// Calls `step` until it says that nothing is left, then waits for more; until told to stop.
fn run(shared: &Shared, sources: &[BorrowedFd<'_>], mut step: impl FnMut(&Shared) -> Result<bool>) {
    loop {
        let paused = {
            let state = shared.state();
            if state.stopping {
                return;
            }
            state.paused
        };
        let idle = if paused {
            true
        } else {
            match step(shared) {
                Ok(idle) => idle,
                Err(error) => {
                    shared.state().failure = Some(error.to_string());
                    shared.changed.notify_all();
                    return;
                }
            }
        };
        if !idle {
            continue;
        }
        let mut polled = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        if !paused {
            polled.extend(sources.iter().map(|source| PollFd::new(source, PollFlags::IN)));
        }
        // poll answers at once, again and again, while an interface is down or gone.
        let useless = match poll(&mut polled, None) {
            Ok(_) => polled[1..].iter().any(|source| is_only_an_error(source.revents())),
            Err(_) => true,
        };
        thread::sleep(if useless { Duration::from_millis(2) } else { shared.gathering });
        let mut count = [0; 8];
        // EAGAIN when it was not the eventfd that woke us.
        let _ = rustix::io::read(&shared.wake, &mut count);
    }
}

fn is_only_an_error(events: PollFlags) -> bool {
    !events.is_empty() && !events.contains(PollFlags::IN)
}
