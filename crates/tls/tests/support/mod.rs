//! Directories of credentials, and two sides on a socket pair.

// Each test file uses its part.
#![allow(dead_code)]

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tapferry_testbed::certificates::{self, Terms};
use tapferry_tls::{Channel, Credentials, Failure, Received, Side};

/// A directory of its own, gone with it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Nothing in it.
    pub(crate) fn empty() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tapferry-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// QEMU's layout, signed by a CA of its own.
    pub(crate) fn new(terms: &Terms) -> Self {
        let directory = Self::empty();
        certificates::make(&directory.0, terms).unwrap();
        directory
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn open(&self, side: Side) -> Arc<Credentials> {
        Credentials::open(&self.0, side).unwrap()
    }

    /// One side of a connection.
    pub(crate) fn channel(&self, side: Side, socket: OwnedFd) -> Channel {
        let credentials = self.open(side);
        match side {
            Side::Server => Channel::server(socket, &credentials).unwrap(),
            Side::Client => Channel::client(socket, &credentials, "localhost").unwrap(),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub(crate) type Shaken = Result<Channel, Failure>;

/// Both sides' handshake, as each sees it.
pub(crate) fn shake(client: &Directory, server: &Directory, host: &str) -> (Shaken, Shaken) {
    shake_with(&client.open(Side::Client), &server.open(Side::Server), host)
}

pub(crate) fn shake_with(client: &Credentials, server: &Credentials, host: &str) -> (Shaken, Shaken) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = Channel::client(ours.into(), client, host).unwrap();
    let server = Channel::server(theirs.into(), server).unwrap();
    establish(client, server)
}

pub(crate) fn establish(mut client: Channel, mut server: Channel) -> (Shaken, Shaken) {
    const PATIENCE: Duration = Duration::from_secs(5);
    // Whoever fails keeps its socket for the other to read what it said.
    std::thread::scope(|scope| {
        let server = scope.spawn(move || server.establish(PATIENCE).map(|()| server));
        let client = client.establish(PATIENCE).map(|()| client);
        (client, server.join().unwrap())
    })
}

pub(crate) fn connected(client: &Directory, server: &Directory, host: &str) -> (Channel, Channel) {
    let (client, server) = shake(client, server, host);
    (client.unwrap(), server.unwrap())
}

pub(crate) fn send_all(channel: &mut Channel, message: &[u8]) {
    let sent = channel.send(&[IoSlice::new(message)]).unwrap();
    assert_eq!((sent.taken, sent.is_out), (message.len(), true));
}

pub(crate) fn read_all(channel: &mut Channel, len: usize) -> Vec<u8> {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while read.len() < len {
        match channel.receive(&mut piece).unwrap() {
            Received::Bytes(bytes) => read.extend_from_slice(&piece[..bytes]),
            Received::Nothing => std::thread::sleep(Duration::from_millis(1)),
            Received::Closed => break,
        }
    }
    read
}
