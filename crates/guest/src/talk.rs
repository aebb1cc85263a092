//! What two guests do with each other through the network stacks of their kernels: echo requests and a transfer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, ipproto, socket};

/// How long a guest waits for the other one; a machine that emulates both on few cores is slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an echo request may take. The first one also waits for the neighbour's address.
const ECHO: Duration = Duration::from_secs(2);
/// Between two attempts at what the other guest is not ready for.
const PAUSE: Duration = Duration::from_millis(10);
const CHUNK: usize = 64 * 1024;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Type, code, checksum, identifier and sequence number (RFC 792).
const ECHO_HEADER: usize = 8;
/// What `ping` sends unless told otherwise, in bytes.
const ECHO_PAYLOAD: usize = 56;

/// Lets this program send echo requests without a raw socket (icmp(7), ping_group_range).
pub(crate) const PING_GROUPS: (&str, &str) = ("/proc/sys/net/ipv4/ping_group_range", "0 0");

/// Sends echo requests one after the other, and returns how many were answered with what they held.
pub(crate) fn ping(address: Ipv4Addr, count: u16) -> io::Result<u16> {
    let socket: OwnedFd = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP))?;
    // It has no ports, but otherwise the calls of a UDP socket. The kernel fills in checksum and identifier.
    let socket = UdpSocket::from(socket);
    socket.connect(SocketAddrV4::new(address, 0))?;
    let mut answers = 0;
    for sequence in 0..count {
        let mut request = [0; ECHO_HEADER + ECHO_PAYLOAD];
        request[0] = ECHO_REQUEST;
        request[6..ECHO_HEADER].copy_from_slice(&sequence.to_be_bytes());
        Noise::new(u64::from(sequence)).fill(&mut request[ECHO_HEADER..]);
        socket.send(&request)?;
        if is_answered(&socket, &request)? {
            answers += 1;
        }
    }
    Ok(answers)
}

fn is_answered(socket: &UdpSocket, request: &[u8]) -> io::Result<bool> {
    let deadline = Instant::now() + ECHO;
    let mut answer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut answer) {
            // An answer that comes after its time belongs to an earlier request.
            Ok(length) if answer[0] == ECHO_REPLY && answer[6..length] == request[6..] => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// What went over a TCP connection: as many bytes, with this checksum.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

/// Takes one connection and reads it to its end.
pub(crate) fn receive(port: u16) -> io::Result<Transfer> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    // A guest that waits for ever would answer no other question.
    listener.set_nonblocking(true)?;
    let (mut connection, _) = patiently(io::ErrorKind::WouldBlock, || listener.accept())?;
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut checksum = Checksum::default();
    let mut bytes = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = connection.read(&mut chunk)?;
        if length == 0 {
            return Ok(Transfer { bytes, checksum: checksum.0 });
        }
        checksum.add(&chunk[..length]);
        bytes += u64::try_from(length).map_err(io::Error::other)?;
    }
}

/// Sends so many bytes of noise to a guest that receives, or soon will.
pub(crate) fn transfer(to: SocketAddrV4, bytes: u64) -> io::Result<Transfer> {
    let mut connection = patiently(io::ErrorKind::ConnectionRefused, || TcpStream::connect(to))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut checksum = Checksum::default();
    let mut noise = Noise::new(bytes);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        noise.fill(&mut chunk[..length]);
        checksum.add(&chunk[..length]);
        connection.write_all(&chunk[..length])?;
        left -= u64::try_from(length).map_err(io::Error::other)?;
    }
    Ok(Transfer { bytes, checksum: checksum.0 })
}

fn patiently<T>(until_not: io::ErrorKind, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == until_not && Instant::now() < deadline => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Bytes that neither repeat nor compress: xorshift64 (Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

/// FNV-1a with 64 bits: every step is reversible, so that a single wrong byte is always noticed.
struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        let mut checksum = Checksum::default();
        checksum.add(b"foobar");
        assert_eq!(checksum.0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn what_is_sent_is_what_is_received() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("there is a free port").port();
        let receiver = thread::spawn(move || receive(port));
        let sent = transfer(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), 200_001).expect("somebody reads");
        let received = receiver.join().expect("it does not panic").expect("somebody sends");
        assert_eq!((sent.bytes, &sent), (200_001, &received));
    }
}
