//! The way between the two sides, which can be cut, and may be narrow.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tapferry_redirect::{Address, StreamPlan};

use super::Meeting;

/// Bytes that go at once.
const PORTION: usize = 4096;

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    /// Whether a connection finds nobody.
    is_cut: AtomicBool,
    /// Bytes a second from the source; 0: as many as come.
    rate: AtomicU64,
    pairs: Mutex<Vec<[UnixStream; 2]>>,
}

/// A listener for the source that leads to the destination.
pub(crate) struct Proxy {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn new(meeting: &Meeting) -> Self {
        let path = meeting.path().with_file_name("proxy.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared::default());
        let (state, target) = (Arc::clone(&shared), meeting.path());
        let thread = thread::spawn(move || {
            while !state.ending.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((source, _)) if !state.is_cut.load(Ordering::Relaxed) => join(&state, source, &target),
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { path, shared, thread: Some(thread) }
    }

    /// Where the source dials.
    pub(crate) fn stream(&self) -> StreamPlan {
        let address = Address::Unix { path: self.path.clone(), server: false };
        StreamPlan { address, vnet_hdr: false, vnet_hdr_len: None, namespace: None, tls_creds: None }
    }

    /// From now on so many bytes a second leave the source.
    pub(crate) fn set_rate(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    /// Cuts it, with whatever is on its way, or mends it.
    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.shared.is_cut.store(is_cut, Ordering::Relaxed);
        if is_cut {
            self.shared.hang_up();
        }
    }
}

impl Shared {
    fn hang_up(&self) {
        let pairs = std::mem::take(&mut *self.pairs.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in pairs.into_iter().flatten() {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.shared.hang_up();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn join(shared: &Arc<Shared>, source: UnixStream, target: &PathBuf) {
    let Ok(destination) = UnixStream::connect(target) else { return };
    let copy = |stream: &UnixStream| stream.try_clone().unwrap();
    let pair = [copy(&source), copy(&destination)];
    shared.pairs.lock().unwrap_or_else(PoisonError::into_inner).push(pair);
    let (back, front) = (copy(&destination), copy(&source));
    let forth = Arc::clone(shared);
    thread::spawn(move || carry(source, destination, || forth.rate.load(Ordering::Relaxed)));
    thread::spawn(move || carry(back, front, || 0));
}

fn carry(mut from: UnixStream, mut to: UnixStream, rate: impl Fn() -> u64) {
    let mut bytes = [0; PORTION];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
        let count = u64::try_from(count).unwrap();
        if let Some(nanos) = (count * 1_000_000_000).checked_div(rate()) {
            thread::sleep(Duration::from_nanos(nanos));
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
