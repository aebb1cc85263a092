//! The end of TLS, for all who write to a stream through it: what comes out is written to the rig's unix socket, as from a
//! peer without TLS. It is the same for each of them, and runs beside the reader.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tapferry_testbed::certificates::{self, Terms};
use tapferry_testbed::link;
use tapferry_tls::{Channel, Credentials, Received, Side};

use crate::error::{Context, Result};

/// Where peers connect to, on the loopback of the bench's own namespace.
pub(crate) const PORT: u16 = 4433;
/// For a handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes taken at once.
const PIECE: usize = 256 * 1024;

/// The directory of credentials for the socket at a path.
pub(crate) fn credentials_of(path: &str) -> String {
    format!("{path}.tls")
}

/// Listens for as long as this process runs, one peer after the other.
pub(super) fn serve(path: &Path, credentials: &Path) -> Result<()> {
    link::set_up("lo").on("setting up", "lo")?;
    certificates::make(credentials, &Terms::default()).on("making", "certificates")?;
    let credentials = Credentials::open(credentials, Side::Server).on("reading", "certificates")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).on("listening", "a port")?;
    let path = path.to_owned();
    std::thread::Builder::new()
        .name("terminator".into())
        .spawn(move || accept_all(&listener, &credentials, &path))
        .on("starting", "a thread")?;
    Ok(())
}

fn accept_all(listener: &TcpListener, credentials: &Arc<Credentials>, path: &Path) {
    while let Ok((socket, _)) = listener.accept() {
        let Ok(mut channel) = Channel::server(socket.into(), credentials) else { continue };
        if let Err(failure) = channel.establish(PATIENCE) {
            eprintln!("terminator: {failure}");
            continue;
        }
        // Either end may go: the next peer comes then.
        pass_on(&mut channel, path).ok();
    }
}

fn pass_on(channel: &mut Channel, path: &Path) -> std::io::Result<()> {
    let mut out = UnixStream::connect(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        match channel.receive(&mut piece).map_err(std::io::Error::other)? {
            Received::Bytes(bytes) => out.write_all(&piece[..bytes])?,
            Received::Nothing => {
                poll(&mut [PollFd::new(channel, PollFlags::IN)], None)?;
            }
            Received::Closed => return Ok(()),
        }
    }
}
