//! What a peer sends that is only written to: `-netdev stream` has both directions in one connection, and a QEMU whose
//! frames nobody reads keeps its guest from sending. With TLS there are other words than frames, too.

use tapferry_tls::{Channel, ChannelError, Received};

/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Reads between two looks at anything else.
const READS: usize = 64;

/// What a look at a peer has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Discarded {
    /// The beginning of what it had sent, which is gone now.
    pub(crate) first: Option<[u8; 2]>,
    /// It will not send any more.
    pub(crate) end: bool,
}

/// Reads what a peer has sent, and forgets it. Of one without TLS an error is told by the descriptor's events, too.
pub(super) fn discard(peer: &mut Channel) -> Result<Discarded, ChannelError> {
    let mut discarded = Discarded::default();
    let mut bytes = [0; READ];
    for _ in 0..READS {
        match peer.receive(&mut bytes) {
            Ok(Received::Bytes(_)) => {
                discarded.first.get_or_insert([bytes[0], bytes[1]]);
            }
            Ok(Received::Closed) => return Ok(Discarded { end: true, ..discarded }),
            Err(error) if peer.is_secure() => return Err(error),
            Ok(Received::Nothing) | Err(_) => break,
        }
    }
    Ok(discarded)
}
