//! The ends of a redirector whose frames travel in datagrams, one in each: QEMU's `-netdev dgram`.
//!
//! - [`socket`]: one that is bound, and one that sends
//! - [`reader`]: frames that come
//! - [`writer`]: frames that go
//!
//! Invariants: once a redirector has started, nothing here blocks its thread; nobody needs to be at the other end.
//! Nothing is connected as seen from there: that peers come and go shows in the count of frames alone.

pub(crate) mod reader;
pub(crate) mod socket;
pub(crate) mod writer;

use tapferry_sys::Errno;

use crate::counters::DropReason;
use crate::outlet;

/// What a frame is counted as that cannot be sent.
pub(crate) fn reason_of(errno: Errno) -> DropReason {
    match errno {
        Errno::NOENT
        | Errno::CONNREFUSED
        | Errno::NOTCONN
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::HOSTDOWN => DropReason::NoPeer,
        errno => outlet::reason_of(errno),
    }
}
