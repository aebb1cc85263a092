//! What was sent over a stream socket and not taken yet (SIOCOUTQ: unix(7), tcp(7)).

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::checked;

/// Bytes that the peer of a unix socket has not read, or that the host of a TCP peer has not acknowledged.
pub fn bytes(socket: impl AsFd) -> Result<u64, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call, which writes one int.
    checked(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_sent_counts_until_it_is_read() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(bytes(&ours), Ok(0));
        ours.write_all(&[1; 100]).unwrap();
        assert!(bytes(&ours).unwrap() >= 100, "the kernel counts what it keeps beside them, too");
        theirs.read_exact(&mut [0; 100]).unwrap();
        assert_eq!(bytes(&ours), Ok(0));
    }
}
