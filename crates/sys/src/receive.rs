//! Capture through non-blocking recvmmsg: one wake-up a frame when frames are rare, up to [`BATCH`] a
//! call when they are not. Lower latency than the ring, more work a frame.

use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::{iovec, mmsghdr};
use rustix::io::Errno;
use tapferry_frame::vnet::VnetHeader;

use crate::captured::{Captured, tag_beside};
use crate::clock;
use crate::control::{CONTROL_WORDS, ControlData};
use crate::error::{Error, checked};
use crate::filter::Program;
use crate::netdev::InterfaceName;
use crate::packet::{Binding, PacketSocket, bind_by_name, open_for};
use crate::pages::Pages;

/// Frames of one call.
const BATCH: usize = 64;
/// Room for one: a virtio-net header, and a frame of 64 KiB with its Ethernet header and tags.
const SLOT: usize = 68 * 1024;

/// Bytes asked for, for frames that wait to be read. A 64-byte frame is charged 832 bytes: about 80 000 of them.
pub const RECEIVE_BUFFER: u32 = 64 * 1024 * 1024;

/// A bound capture socket with its buffers.
#[derive(Debug)]
pub struct Receiver {
    socket: PacketSocket,
    /// `BATCH` slots; pages that no frame reached are never touched.
    data: Pages,
    control: Box<[[u64; CONTROL_WORDS]]>,
    iovecs: Box<[iovec]>,
    messages: Box<[mmsghdr]>,
    /// CLOCK_REALTIME when the socket was bound, in nanoseconds.
    opened_ns: u64,
    /// Whether the newest frame has a stamp: see [`Receiver::is_stamping`].
    stamped: bool,
    /// Frames of the last call, and how many of them were advanced over.
    received: usize,
    next: usize,
}

// SAFETY: the raw pointers inside point into this value's own buffers, which do not move with it.
unsafe impl Send for Receiver {}

impl Receiver {
    /// Opens a capture socket on an interface. Frames sent before this returns are not in it.
    pub fn open(name: &InterfaceName, filter: &Program) -> Result<Self, Error> {
        let object = name.as_str();
        let socket = open_for(name)?;
        socket.enable_vnet_header().map_err(Error::on("enable PACKET_VNET_HDR", object))?;
        socket.enable_auxdata().map_err(Error::on("enable PACKET_AUXDATA", object))?;
        socket.set_timestamps(true).map_err(Error::on("enable SO_TIMESTAMPING", object))?;
        socket.attach(filter).map_err(Error::on("attach the capture filter", object))?;
        socket.set_receive_buffer(RECEIVE_BUFFER).map_err(Error::on("size the receive buffer", object))?;
        let mut data =
            Pages::zeroed(BATCH * SLOT).map_err(Error::on("allocate the capture buffers", object))?;
        let mut control = vec![[0_u64; CONTROL_WORDS]; BATCH].into_boxed_slice();
        let mut iovecs: Box<[iovec]> = data
            .chunks_exact_mut(SLOT)
            .map(|slot| iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT })
            .collect();
        let messages = iovecs
            .iter_mut()
            .zip(control.iter_mut())
            .map(|(iovec, control)| {
                // SAFETY: a msghdr is plain data for which all zeros is a valid value.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_iov = iovec;
                header.msg_iovlen = 1;
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = size_of_val(control);
                mmsghdr { msg_hdr: header, msg_len: 0 }
            })
            .collect();
        bind_by_name(&socket, name, Binding::Capture)?;
        let opened_ns = clock::realtime_ns();
        Ok(Self { socket, data, control, iovecs, messages, opened_ns, stamped: true, received: 0, next: 0 })
    }

    /// The socket: to poll, to re-bind, to count.
    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Whether the system granted all the room for waiting frames that was asked for.
    pub fn has_large_buffer(&self) -> bool {
        self.socket.has_receive_buffer(RECEIVE_BUFFER)
    }

    /// Whether a frame is there to be read, receiving the next batch when the last one is done.
    ///
    /// `Errno::INVAL` stands for one frame that was taken from the queue but has offloads that a
    /// virtio-net header cannot express.
    pub fn fill(&mut self) -> Result<bool, Errno> {
        if self.next < self.received {
            return Ok(true);
        }
        // The kernel has changed the headers of the last batch only.
        for message in &mut self.messages[..self.received] {
            message.msg_hdr.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
            message.msg_hdr.msg_flags = 0;
        }
        (self.next, self.received) = (0, 0);
        // SAFETY: every header points to one iovec and one control buffer of ours, with their lengths,
        // and nothing borrows from the buffers while `self` is borrowed mutably.
        let received = checked(unsafe {
            libc::recvmmsg(
                self.socket.as_fd().as_raw_fd(),
                self.messages.as_mut_ptr(),
                libc::c_uint::try_from(self.iovecs.len()).unwrap_or(0),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        });
        match received {
            Ok(count) => {
                self.received = usize::try_from(count).unwrap_or(0);
                self.stamped =
                    self.received.checked_sub(1).map_or(self.stamped, |last| self.is_stamped(last));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(self.received > 0)
    }

    /// The frames of the last batch that were not advanced over.
    pub fn frames(&self) -> Frames<'_> {
        Frames { receiver: self, next: self.next }
    }

    /// Steps over `count` frames.
    pub fn advance(&mut self, count: usize) {
        self.next = (self.next + count).min(self.received);
    }

    /// Whether the newest frame that was received bears the kernel's own stamp, as all that follow it do then.
    pub fn is_stamping(&self) -> bool {
        self.stamped
    }

    fn is_stamped(&self, index: usize) -> bool {
        let message = self.messages.get(index).zip(self.control.get(index));
        message.is_some_and(|(message, control)| {
            ControlData::of(&message.msg_hdr, control).timestamp_ns.is_some()
        })
    }

    fn frame(&self, index: usize) -> Option<Captured<'_>> {
        let message = self.messages.get(index)?;
        let slot = self.data.get(index * SLOT..(index + 1) * SLOT)?;
        let filled = slot.get(..usize::try_from(message.msg_len).ok()?)?;
        let (vnet, bytes) = filled.split_first_chunk::<{ VnetHeader::LEN }>()?;
        let control = ControlData::of(&message.msg_hdr, self.control.get(index)?);
        Some(Captured {
            // Without a stamp (see `stamping`) a frame is as old as this capture, never as young as the
            // moment of reading.
            timestamp_ns: control.timestamp_ns.unwrap_or(self.opened_ns),
            vnet: VnetHeader::from_bytes(*vnet),
            beside: tag_beside(control.aux.tp_status, control.aux.tp_vlan_tci, control.aux.tp_vlan_tpid),
            bytes,
            wire_len: control.aux.tp_len,
        })
    }
}

/// Iterates over the unread frames of a batch.
#[derive(Debug)]
pub struct Frames<'a> {
    receiver: &'a Receiver,
    next: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Captured<'a>;

    fn next(&mut self) -> Option<Captured<'a>> {
        if self.next >= self.receiver.received {
            return None;
        }
        let frame = self.receiver.frame(self.next);
        self.next += 1;
        frame
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
