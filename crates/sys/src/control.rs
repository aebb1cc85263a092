//! Control data: what the kernel puts beside a received frame (cmsg(3)).

use libc::{cmsghdr, tpacket_auxdata};

use crate::clock;

/// Words of control data: timestamps (64 bytes) and auxiliary data (40), with room to spare.
pub(crate) const CONTROL_WORDS: usize = 16;

/// What came beside a frame.
pub(crate) struct ControlData {
    /// `None` for a frame that came before the kernel stamped any.
    pub(crate) timestamp_ns: Option<u64>,
    pub(crate) aux: tpacket_auxdata,
}

impl ControlData {
    pub(crate) fn of(header: &libc::msghdr, buffer: &[u64; CONTROL_WORDS]) -> Self {
        // SAFETY: a tpacket_auxdata is plain data for which all zeros is a valid value.
        let mut data = Self { timestamp_ns: None, aux: unsafe { std::mem::zeroed() } };
        debug_assert_eq!(header.msg_control.cast_const().cast(), buffer.as_ptr());
        // SAFETY: msg_control and msg_controllen describe `buffer`, which the kernel filled; the macros
        // stay inside it.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
        while let Some(message) = std::ptr::NonNull::new(next) {
            // SAFETY: the macros return headers that lie wholly inside the buffer.
            unsafe { data.read(message.as_ptr()) };
            // SAFETY: as above.
            next = unsafe { libc::CMSG_NXTHDR(header, message.as_ptr()) };
        }
        data
    }

    /// # Safety
    ///
    /// `message` must point to a control message that lies wholly in readable memory.
    unsafe fn read(&mut self, message: *const cmsghdr) {
        // SAFETY: by the caller's promise; the kernel writes whole structures of these types, which may
        // be read unaligned.
        unsafe {
            let payload = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                    // The first of three is the software timestamp (struct scm_timestamping).
                    let stamp = payload.cast::<libc::timespec>().read_unaligned();
                    self.timestamp_ns =
                        Some(clock::join(stamp.tv_sec.cast_unsigned(), stamp.tv_nsec.cast_unsigned()));
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    self.aux = payload.cast::<tpacket_auxdata>().read_unaligned();
                }
                _ => {}
            }
        }
    }
}
