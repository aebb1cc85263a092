//! A TAP device, seen from the guest's side: what the host sends into the interface is read here, and what is
//! written here arrives at the host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::craft::Frame;
use crate::error::{Context, Error, Result};
use crate::netlink::Route;
use crate::vnet::{self, VnetHeader};
use crate::{link, sys};

/// No offloads.
pub const OFFLOADS_NONE: u32 = 0;
/// Partial checksums and TCP segmentation: what QEMU asks for with virtio-net.
pub const OFFLOADS_TCP: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// And UDP segmentation (`TUN_F_USO4`, `TUN_F_USO6`, Linux 6.2).
pub const OFFLOADS_ALL: u32 = OFFLOADS_TCP | libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// How a TAP is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapOptions {
    /// Length of the virtio-net header, 10 or 12; `None` for frames without.
    pub vnet_header: Option<usize>,
    /// The `TUN_F_*` offloads the guest accepts; they need a virtio-net header.
    pub offloads: u32,
    /// How many queues (descriptors); 1 is a TAP without IFF_MULTI_QUEUE.
    pub queues: usize,
    /// The TAP outlives its descriptors.
    pub persistent: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Frames that wait in the TAP's own queue for the guest; beyond it they are dropped.
    pub queue_length: u32,
    /// The interface is set up at once.
    pub up: bool,
}

impl Default for TapOptions {
    /// What `ip tuntap add` makes: no virtio-net header, one queue of 1000 frames, MTU 1500; and up.
    fn default() -> Self {
        Self {
            vnet_header: None,
            offloads: OFFLOADS_NONE,
            queues: 1,
            persistent: false,
            mtu: 1500,
            queue_length: 1000,
            up: true,
        }
    }
}

impl TapOptions {
    /// What QEMU makes for virtio-net: a 12-byte header, checksum and TCP offloads.
    pub fn like_qemu() -> Self {
        Self { vnet_header: Some(vnet::LENGTH_MODERN), offloads: OFFLOADS_TCP, ..Self::default() }
    }
}

/// A TAP and the descriptors of its guest's side. Dropping it deletes the interface, unless it is persistent.
#[derive(Debug)]
pub struct Tap {
    name: String,
    queues: Vec<OwnedFd>,
    options: TapOptions,
    index: u32,
    route: Route,
}

impl Tap {
    /// Creates the TAP, or attaches to a persistent one of that name that nobody holds.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, EBUSY when somebody else holds it, EINVAL when it exists with other flags.
    pub fn create(name: &str, options: &TapOptions) -> Result<Self> {
        let mut flags = 0;
        if options.vnet_header.is_some() {
            flags |= libc::IFF_VNET_HDR;
        }
        if options.queues > 1 {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut queues = Vec::new();
        for _ in 0..options.queues {
            let queue = sys::tap_open(name, flags).on("TUNSETIFF", name)?;
            if let Some(length) = options.vnet_header {
                let length = i32::try_from(length)
                    .map_err(|_| Error::Invalid(format!("a virtio-net header of {length} bytes")))?;
                sys::tap_set_vnet_length(queue.as_fd(), length).on("TUNSETVNETHDRSZ", name)?;
            }
            sys::tap_set_offload(queue.as_fd(), options.offloads).on("TUNSETOFFLOAD", name)?;
            sys::tap_set_persistent(queue.as_fd(), options.persistent).on("TUNSETPERSIST", name)?;
            queues.push(queue);
        }
        let index = link::index(name)?;
        let route = Route::open().on("socket(NETLINK_ROUTE)", name)?;
        let tap = Self { name: name.to_owned(), queues, options: options.clone(), index, route };
        link::set_mtu(name, options.mtu)?;
        link::set_queue_length(name, options.queue_length)?;
        if options.up {
            link::set_up(name)?;
        }
        Ok(tap)
    }

    /// Creates a persistent TAP that nobody holds: for QEMU (`ifname=`), or without carrier as after its exit.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_unheld(name: &str, options: &TapOptions) -> Result<()> {
        Self::create(name, &TapOptions { persistent: true, ..options.clone() }).map(drop)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was made.
    pub fn options(&self) -> &TapOptions {
        &self.options
    }

    /// Closes the descriptors and deletes the interface, also a persistent one.
    ///
    /// # Errors
    /// When a persistent one cannot be released.
    pub fn delete(mut self) -> Result<()> {
        self.options.persistent = false;
        for queue in &self.queues {
            sys::tap_set_persistent(queue.as_fd(), false).on("TUNSETPERSIST", &self.name)?;
        }
        Ok(())
    }

    /// Takes the carrier away or gives it back, without setting the interface down.
    ///
    /// # Errors
    /// When the kernel refuses (TUNSETCARRIER).
    pub fn set_carrier(&self, carrier: bool) -> Result<()> {
        sys::tap_set_carrier(self.queues[0].as_fd(), carrier).on("TUNSETCARRIER", &self.name)
    }

    /// Another descriptor of the first queue, for a program that is started with it.
    ///
    /// # Errors
    /// When this process may not open more.
    pub fn duplicate(&self) -> Result<OwnedFd> {
        self.queues[0].try_clone().on("duplicate", &self.name)
    }

    /// The descriptors, one for each queue.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.queues.iter().map(AsFd::as_fd)
    }

    /// One read from one queue, split into header and frame; `None` when nothing waits there.
    pub(crate) fn read_queue<'a>(
        &self,
        queue: BorrowedFd<'_>,
        buffer: &'a mut [u8],
    ) -> Result<Option<(Option<VnetHeader>, &'a [u8])>> {
        // EIO is what reading an interface that is down answers; it can come up again.
        let length = match rustix::io::read(queue, &mut *buffer) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::IO) => return Ok(None),
            result => result.on("read", &self.name)?,
        };
        let read = &buffer[..length];
        Ok(Some(match self.options.vnet_header {
            Some(header) => (VnetHeader::from_bytes(read), &read[header.min(length)..]),
            None => (None, read),
        }))
    }

    /// The next frame that reaches the guest, with its virtio-net header (all zeros on a TAP without), or
    /// `None` when none came in time.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn read(&self, timeout: Duration) -> Result<Option<Frame>> {
        let deadline = Instant::now() + timeout;
        let mut buffer = vec![0; sys::FRAME_MAX];
        loop {
            for queue in self.descriptors() {
                if let Some((header, frame)) = self.read_queue(queue, &mut buffer)? {
                    return Ok(Some(Frame { header: header.unwrap_or_default(), bytes: frame.to_vec() }));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec::try_from(left)
                .map_err(|_| Error::Invalid("a time-out beyond the kernel's range".into()))?;
            let mut polled: Vec<_> =
                self.queues.iter().map(|queue| PollFd::new(queue, PollFlags::IN)).collect();
            poll(&mut polled, Some(&left)).on("poll", &self.name)?;
        }
    }

    /// All frames up to a silence of that length.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(&self, silence: Duration) -> Result<Vec<Frame>> {
        std::iter::from_fn(|| self.read(silence).transpose()).collect()
    }

    /// Sends a frame from the guest to the host; its header goes along when the TAP has one.
    ///
    /// # Errors
    /// EIO when the interface is down, EINVAL when the kernel does not accept the header.
    pub fn write(&self, frame: &Frame) -> Result<()> {
        self.try_write(frame).on("write", &self.name)
    }

    /// [`Self::write`], with what the kernel says and no more.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn try_write(&self, frame: &Frame) -> io::Result<()> {
        self.write_bytes(&frame.header, &frame.bytes)
    }

    /// Sends a frame from the guest to the host that needs nothing of its header.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_plain(&self, frame: &[u8]) -> Result<()> {
        self.write_bytes(&VnetHeader::default(), frame).on("write", &self.name)
    }

    fn write_bytes(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<()> {
        let mut bytes = self.options.vnet_header.map(|length| header.to_bytes(length)).unwrap_or_default();
        bytes.extend(frame);
        rustix::io::write(&self.queues[0], &bytes)?;
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if self.options.persistent {
            return;
        }
        // Closing the descriptors would do, but a command that another thread is just starting holds copies of
        // them until its exec. When this fails, the interface has been deleted before.
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        let _ = self.route.change(RouteNetlinkMessage::DelLink(message), 0);
    }
}
