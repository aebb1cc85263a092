//! Injection in batches: sendmmsg on an AF_PACKET socket with virtio-net headers (sendmmsg(2)).
//!
//! Frames are sent from where they lie, a tag held beside a frame is woven in on the way: nothing is
//! copied in user space.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::{iovec, mmsghdr};
use rustix::io::Errno;
use tapferry_frame::ethernet::{TAG_OFFSET, VLAN_TAG_LEN, VlanTag};
use tapferry_frame::vnet::VnetHeader;

use crate::error::{Error, checked};
use crate::netdev::InterfaceName;
use crate::packet::{Binding, PacketSocket, bind_by_name, open_for};

/// Frames of one call at most.
pub const BATCH: usize = 64;
/// Pieces of one frame: virtio-net header, addresses, tag, rest.
const PIECES: usize = 4;
/// Asked for frames on their way out, so that a batch of 64 KiB frames fits.
const SEND_BUFFER: u32 = 8 * 1024 * 1024;

/// A frame to send.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The virtio-net header for the frame as it will be sent, its tag included.
    pub vnet: VnetHeader,
    /// A tag to put in after the addresses.
    pub beside: Option<VlanTag>,
    /// The frame without that tag, from its Ethernet header on; at least an Ethernet header.
    pub bytes: &'a [u8],
}

/// A bound socket that sends and never receives.
#[derive(Debug)]
pub struct Injector {
    socket: PacketSocket,
    headers: Box<[[u8; VnetHeader::LEN]; BATCH]>,
    tags: Box<[[u8; VLAN_TAG_LEN]; BATCH]>,
    iovecs: Box<[[iovec; PIECES]; BATCH]>,
    messages: Box<[mmsghdr; BATCH]>,
}

// SAFETY: the raw pointers inside are written before every call and never read after it.
unsafe impl Send for Injector {}

impl Injector {
    /// Opens a socket that sends into an interface; all it sends bears `mark`.
    pub fn open(name: &InterfaceName, mark: u32) -> Result<Self, Error> {
        let object = name.as_str();
        let socket = open_for(name)?;
        socket.enable_vnet_header().map_err(Error::on("enable PACKET_VNET_HDR", object))?;
        socket.set_mark(mark).map_err(Error::on("set SO_MARK", object))?;
        socket.set_send_buffer(SEND_BUFFER).map_err(Error::on("size the send buffer", object))?;
        bind_by_name(&socket, name, Binding::SendOnly)?;
        let nothing = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: an mmsghdr is plain data for which all zeros is a valid value.
        let message: mmsghdr = unsafe { std::mem::zeroed() };
        Ok(Self {
            socket,
            headers: Box::new([[0; VnetHeader::LEN]; BATCH]),
            tags: Box::new([[0; VLAN_TAG_LEN]; BATCH]),
            iovecs: Box::new([[nothing; PIECES]; BATCH]),
            messages: Box::new([message; BATCH]),
        })
    }

    /// The socket: to poll and to re-bind.
    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Sends the first [`BATCH`] of `frames` in order and says how many the kernel took. An error is
    /// about the first of them, and none was taken.
    pub fn send(&mut self, frames: &[Outgoing<'_>]) -> Result<usize, Errno> {
        let count = frames.len().min(BATCH);
        for (index, frame) in frames.iter().take(count).enumerate() {
            self.headers[index] = frame.vnet.to_bytes();
            let header = piece(&self.headers[index]);
            let used = match frame.beside {
                None => {
                    self.iovecs[index][..2].copy_from_slice(&[header, piece(frame.bytes)]);
                    2
                }
                Some(tag) => {
                    self.tags[index] = tag.to_bytes();
                    let (addresses, rest) = frame.bytes.split_at_checked(TAG_OFFSET).ok_or(Errno::INVAL)?;
                    self.iovecs[index] = [header, piece(addresses), piece(&self.tags[index]), piece(rest)];
                    PIECES
                }
            };
            self.messages[index].msg_hdr.msg_iov = self.iovecs[index].as_mut_ptr();
            self.messages[index].msg_hdr.msg_iovlen = used;
        }
        // SAFETY: the first `count` headers point to iovecs of ours, written above, which point to
        // memory that is borrowed for this call; the kernel only reads it.
        let sent = checked(unsafe {
            libc::sendmmsg(
                self.socket.as_fd().as_raw_fd(),
                self.messages.as_mut_ptr(),
                libc::c_uint::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT,
            )
        })?;
        Ok(usize::try_from(sent).unwrap_or(0))
    }
}

fn piece(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

impl AsFd for Injector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
