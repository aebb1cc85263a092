//! The other end of a stream, written apart from the code under test: QEMU's framing over a blocking socket.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use tapferry_testbed::tally::Tally;
use tapferry_testbed::vnet::VnetHeader;

use super::PATIENCE;

trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

/// A connected peer.
pub(crate) struct Peer {
    socket: Box<dyn Socket>,
    vnet_hdr: bool,
}

/// A frame as it came over the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wired {
    pub(crate) header: Vec<u8>,
    pub(crate) frame: Vec<u8>,
}

impl Peer {
    /// Connects to a unix socket, as soon as it is there.
    pub(crate) fn connect(path: &Path, vnet_hdr: bool) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(path) {
                Ok(socket) => return Self::on_unix(socket, vnet_hdr),
                Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Takes the next connection.
    pub(crate) fn accept(listener: &UnixListener, vnet_hdr: bool) -> Self {
        Self::on_unix(listener.accept().unwrap().0, vnet_hdr)
    }

    pub(crate) fn on_unix(socket: UnixStream, vnet_hdr: bool) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket: Box::new(socket), vnet_hdr }
    }

    pub(crate) fn on_tcp(socket: TcpStream, vnet_hdr: bool) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket: Box::new(socket), vnet_hdr }
    }

    /// Sends bytes as they are. A connection that the other end has closed is no failure.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    pub(crate) fn send(&mut self, header: &[u8], frame: &[u8]) {
        let record = record(self.vnet_hdr, header, frame);
        self.socket.write_all(&record).unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<Wired> {
        let length = self.read_field()?;
        let header_len = if self.vnet_hdr { self.read_field().unwrap() } else { 0 };
        let mut header = vec![0; length];
        self.socket.read_exact(&mut header).unwrap();
        let frame = header.split_off(header_len);
        Some(Wired { header, frame })
    }

    /// The next `frames` frames, judged; `mtu` is that of the wire they would go over.
    pub(crate) fn tally(&mut self, frames: u64, mtu: usize) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..frames {
            let wired = self.receive().expect("the connection has ended");
            tally.add(VnetHeader::from_bytes(&wired.header).as_ref(), &wired.frame, mtu);
        }
        tally
    }

    /// Whether the other end closes the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.socket.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn read_field(&mut self) -> Option<usize> {
        let mut field = [0; 4];
        match self.socket.read_exact(&mut field) {
            Ok(()) => Some(usize::try_from(u32::from_be_bytes(field)).unwrap()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// One frame as it goes over the wire.
pub(crate) fn record(vnet_hdr: bool, header: &[u8], frame: &[u8]) -> Vec<u8> {
    let field = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let mut record = field(header.len() + frame.len()).to_vec();
    if vnet_hdr {
        record.extend(field(header.len()));
    }
    record.extend([header, frame].concat());
    record
}
