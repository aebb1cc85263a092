//! Bytes over TCP from this namespace's own network stack (`transfer`), and how the connection fared meanwhile.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Context, Result};
use crate::sender::realtime;
use crate::sys::{self, TcpProgress};

/// For the connection to come about, and at the end for the last acknowledgement.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at the connection: how exact a stall is known.
const STEP: Duration = Duration::from_millis(1);
const CHUNK: usize = 64 * 1024;

/// What was sent, and how it went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transferred {
    /// Bytes that the socket took.
    bytes: u64,
    /// Those that the peer has acknowledged.
    acknowledged: u64,
    /// Segments that were sent again.
    retransmissions: u32,
    /// The longest time without an acknowledgement of something new, while something was outstanding.
    longest_stall_ms: f64,
    /// When it began: CLOCK_REALTIME in nanoseconds, as a decimal string.
    stalled_at_ns: String,
}

/// A connection, ready to send in any thread: its socket was opened in the lab's namespace.
pub(super) struct Transfer {
    connection: TcpStream,
    peer: String,
    rate: Option<u64>,
    length: Duration,
}

impl Transfer {
    pub(super) fn open(to: SocketAddr, rate: Option<u64>, length: Duration) -> Result<Self> {
        let peer = to.to_string();
        let connection = connect(to).on("connect", &peer)?;
        connection.set_nonblocking(true).on("set O_NONBLOCK", &peer)?;
        Ok(Self { connection, peer, rate, length })
    }

    /// Sends for its time, and waits until all of it has arrived.
    pub(super) fn run(mut self) -> Result<Transferred> {
        let start = Instant::now();
        let mut watch = Watch::new();
        let mut bytes = 0;
        while start.elapsed() < self.length {
            self.send(&mut bytes, start.elapsed()).on("send", &self.peer)?;
            watch.look(self.progress()?, bytes);
            thread::sleep(STEP);
        }
        self.connection.shutdown(Shutdown::Write).on("shutdown", &self.peer)?;
        let end = Instant::now();
        while watch.acknowledged < bytes && end.elapsed() < PATIENCE {
            watch.look(self.progress()?, bytes);
            thread::sleep(STEP);
        }
        Ok(watch.result(bytes))
    }

    /// Sends what is due by now, or as much as the socket takes.
    fn send(&mut self, bytes: &mut u64, elapsed: Duration) -> io::Result<()> {
        let chunk = [0_u8; CHUNK];
        let due = self.rate.map_or(u64::MAX, |rate| {
            let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            rate.saturating_mul(micros) / 1_000_000
        });
        while *bytes < due {
            let length = usize::try_from(due - *bytes).map_or(CHUNK, |left| left.min(CHUNK));
            match self.connection.write(&chunk[..length]) {
                Ok(written) => *bytes += u64::try_from(written).unwrap_or(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn progress(&self) -> Result<TcpProgress> {
        sys::tcp_progress(self.connection.as_fd()).on("TCP_INFO", &self.peer)
    }
}

/// The peer may not listen yet.
fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    const PAUSE: Duration = Duration::from_millis(10);
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && start.elapsed() < PATIENCE => {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Looks for the longest time without progress.
struct Watch {
    acknowledged: u64,
    retransmissions: u32,
    since: Instant,
    since_ns: u64,
    longest: Duration,
    longest_ns: u64,
}

impl Watch {
    fn new() -> Self {
        let (since, since_ns) = (Instant::now(), realtime());
        let longest = Duration::ZERO;
        Self { acknowledged: 0, retransmissions: 0, since, since_ns, longest, longest_ns: since_ns }
    }

    fn look(&mut self, progress: TcpProgress, sent: u64) {
        // Of SYN and FIN, which are acknowledged like bytes.
        let acknowledged = progress.acknowledged.saturating_sub(1).min(sent);
        self.retransmissions = progress.retransmissions;
        let waited = self.since.elapsed();
        if acknowledged < sent && acknowledged == self.acknowledged && waited > self.longest {
            (self.longest, self.longest_ns) = (waited, self.since_ns);
        }
        if acknowledged > self.acknowledged || acknowledged == sent {
            (self.since, self.since_ns) = (Instant::now(), realtime());
        }
        self.acknowledged = acknowledged;
    }

    fn result(self, bytes: u64) -> Transferred {
        Transferred {
            bytes,
            acknowledged: self.acknowledged,
            retransmissions: self.retransmissions,
            longest_stall_ms: self.longest.as_secs_f64() * 1000.0,
            stalled_at_ns: self.longest_ns.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn all_of_it_arrives_and_no_faster_than_its_rate() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let to = listener.local_addr().expect("it has an address");
        let reader = thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("somebody connects");
            let mut all = Vec::new();
            connection.read_to_end(&mut all).expect("it is read to its end");
            all.len()
        });
        let transfer = Transfer::open(to, Some(1_000_000), Duration::from_millis(100)).expect("it connects");
        let done = transfer.run().expect("it sends");
        assert_eq!((done.acknowledged, done.retransmissions), (done.bytes, 0));
        assert!(done.bytes <= 100_000, "{done:?}");
        assert_eq!(u64::try_from(reader.join().expect("it does not panic")).ok(), Some(done.bytes));
    }
}
