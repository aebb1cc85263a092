//! What a peer sends that is only written to: `-netdev stream` has both directions in one connection, and a QEMU whose
//! frames nobody reads keeps its guest from sending.

use rustix::net::{RecvFlags, recv};
use std::os::fd::AsFd;
use tapferry_sys::Errno;

/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Reads between two looks at anything else.
const READS: usize = 64;

/// What a look at a peer has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Discarded {
    /// It had sent something, which is gone now.
    pub(super) any: bool,
    /// It will not send any more.
    pub(super) end: bool,
}

/// Reads what a peer has sent, and forgets it.
pub(super) fn discard(peer: impl AsFd) -> Discarded {
    let mut discarded = Discarded::default();
    let mut bytes = [0; READ];
    for _ in 0..READS {
        match recv(&peer, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Discarded { end: true, ..discarded },
            Ok(_) => discarded.any = true,
            Err(Errno::INTR) => {}
            // Nothing more, or an error that the descriptor's events tell, too.
            Err(_) => break,
        }
    }
    discarded
}
