//! Capture through a TPACKET_V3 ring: the kernel writes frames into blocks of shared memory and hands
//! over a block at a time, when it is full or four milliseconds old (packet_mmap.rst).
//!
//! A block belongs either to the kernel or to us; its status word says to whom. Between
//! [`Ring::fill`] and the [`Ring::advance`] over its last frame it is ours, and frames are read where
//! they lie.

use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{tpacket_block_desc, tpacket_hdr_v1, tpacket3_hdr};
use tapferry_frame::vnet::VnetHeader;

use crate::captured::{Captured, tag_beside};
use crate::clock;
use crate::error::Error;
use crate::filter::Program;
use crate::netdev::InterfaceName;
use crate::packet::{Binding, PacketSocket, bind_by_name, open_for};
use crate::pages::Mapping;

/// The size of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of one block: a power of two and a multiple of the page size. The largest frame must fit:
    /// in a smaller block the kernel cuts it.
    pub block_bytes: u32,
    /// Number of blocks. A stalled reader is given one every [`RETIRE_MS`] even when they are nearly empty,
    /// so this also bounds how long a stall may last.
    pub blocks: u32,
}

impl Geometry {
    /// 80 blocks of 1 MiB, 80 MiB: a reader may stall for 300 ms.
    ///
    /// A block holds what 100 000 frames of 1514 bytes a second bring in [`RETIRE_MS`]. Where one is full before
    /// that, the sender has to wake the reader: with blocks of 128 KiB that was a sixth of all work.
    pub const DEFAULT: Self = Self { block_bytes: 1024 * 1024, blocks: 80 };

    fn bytes(self) -> usize {
        to_usize(self.block_bytes) * to_usize(self.blocks)
    }
}

/// After this long the kernel hands over a block that is not full, in milliseconds; half of it is a frame's
/// delay, on average. Each hand-over is a timer interrupt and a wake-up: a ring of 4 ms takes about a tenth less
/// CPU time than one of 2 ms, and that one a tenth less than one of 1 ms; 8 ms gain nothing more.
const RETIRE_MS: u32 = 4;

/// A bound capture ring.
#[derive(Debug)]
pub struct Ring {
    socket: PacketSocket,
    memory: Mapping,
    geometry: Geometry,
    /// The block that is ours now, or will be next.
    block: usize,
    /// Where we are in that block, while it is ours.
    cursor: Option<Cursor>,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Of the next frame's header, from the start of the block.
    offset: usize,
    /// Frames not yet advanced over.
    left: u32,
}

impl Ring {
    /// Opens a ring on an interface. Frames sent before this returns are not in it.
    pub fn open(name: &InterfaceName, filter: &Program, geometry: Geometry) -> Result<Self, Error> {
        let object = name.as_str();
        let socket = open_for(name)?;
        socket.enable_vnet_header().map_err(Error::on("enable PACKET_VNET_HDR", object))?;
        socket.attach(filter).map_err(Error::on("attach the capture filter", object))?;
        let memory = allocate(&socket, object, geometry)?;
        bind_by_name(&socket, name, Binding::Capture)?;
        Ok(Self { socket, memory, geometry, block: 0, cursor: None })
    }

    /// The socket: to poll, to re-bind, to count.
    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Whether a frame is there to be read, taking over the next block when the last one is done.
    pub fn fill(&mut self) -> bool {
        while self.cursor.is_none() {
            let Some(cursor) = self.take_over() else { return false };
            self.cursor = Some(cursor);
            // The kernel may retire an empty block; it goes straight back.
            self.release_if_done();
        }
        true
    }

    /// The frames of the current block that were not advanced over. Empty without a block.
    pub fn frames(&self) -> Frames<'_> {
        Frames { ring: self, cursor: self.cursor.unwrap_or(Cursor { offset: 0, left: 0 }) }
    }

    /// Steps over `count` frames of the current block and gives the block back after its last.
    pub fn advance(&mut self, count: usize) {
        let mut frames = self.frames();
        for _ in 0..count {
            frames.next();
        }
        let cursor = frames.cursor;
        if self.cursor.is_some() {
            self.cursor = Some(cursor);
        }
        self.release_if_done();
    }

    fn take_over(&self) -> Option<Cursor> {
        if self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let header = self.header();
        Some(Cursor { offset: to_usize(header.offset_to_first_pkt), left: header.num_pkts })
    }

    fn release_if_done(&mut self) {
        if self.cursor.is_some_and(|cursor| cursor.left == 0) {
            self.cursor = None;
            self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.block = (self.block + 1) % to_usize(self.geometry.blocks);
        }
    }

    fn block_start(&self) -> *const u8 {
        let offset = self.block * to_usize(self.geometry.block_bytes);
        // SAFETY: `block` is below `geometry.blocks`, so the block lies inside the mapping.
        unsafe { self.memory.start().add(offset).cast_const() }
    }

    fn descriptor(&self) -> *const tpacket_block_desc {
        // Blocks are page-aligned, so the descriptor at their start is aligned.
        self.block_start().cast()
    }

    fn status(&self) -> &AtomicU32 {
        // SAFETY: the word lies in the mapping, is aligned, lives as long as `self`, and is shared with
        // the kernel only, which also accesses it as one word.
        unsafe { AtomicU32::from_ptr((&raw const (*self.descriptor()).hdr.bh1.block_status).cast_mut()) }
    }

    /// Call only for a block that is ours: then the kernel does not write to its header.
    fn header(&self) -> tpacket_hdr_v1 {
        // SAFETY: the descriptor lies in the mapping and every bit pattern is a valid header.
        unsafe { (&raw const (*self.descriptor()).hdr.bh1).read() }
    }

    /// The frame whose header is at `offset` of the current block, and the next header's offset.
    /// `None` if the header or the frame would reach beyond the block.
    fn frame_at(&self, offset: usize) -> Option<(Captured<'_>, usize)> {
        let block_bytes = to_usize(self.geometry.block_bytes);
        if offset.checked_add(size_of::<tpacket3_hdr>())? > block_bytes {
            return None;
        }
        // SAFETY: the header lies inside the block (checked above), the block is ours, and the kernel
        // aligns headers to TPACKET_ALIGNMENT.
        let header = unsafe { self.block_start().add(offset).cast::<tpacket3_hdr>().read() };
        let frame = offset.checked_add(usize::from(header.tp_mac))?;
        let vnet = frame.checked_sub(VnetHeader::LEN)?;
        let len = to_usize(header.tp_snaplen);
        if frame.checked_add(len)? > block_bytes {
            return None;
        }
        // SAFETY: virtio-net header and frame lie inside the block (checked above), which is ours and
        // stays so while `self` is borrowed: giving it back takes `&mut self`.
        let (vnet, bytes) = unsafe {
            let start = self.block_start();
            (
                start.add(vnet).cast::<[u8; VnetHeader::LEN]>().read(),
                std::slice::from_raw_parts(start.add(frame), len),
            )
        };
        // A tci has 16 bits; the ring's field is wider.
        let tci = u16::try_from(header.hv1.tp_vlan_tci & 0xffff).unwrap_or(0);
        let captured = Captured {
            timestamp_ns: clock::join(header.tp_sec.into(), header.tp_nsec.into()),
            vnet: VnetHeader::from_bytes(vnet),
            beside: tag_beside(header.tp_status, tci, header.hv1.tp_vlan_tpid),
            bytes,
            wire_len: header.tp_len,
        };
        Some((captured, offset + to_usize(header.tp_next_offset)))
    }
}

/// Gives a socket that is not bound yet its ring, and maps it. The virtio-net header must be enabled before.
fn allocate(socket: &PacketSocket, object: &str, geometry: Geometry) -> Result<Mapping, Error> {
    let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
    socket
        .set(libc::SOL_PACKET, libc::PACKET_VERSION, &version)
        .map_err(Error::on("select TPACKET_V3", object))?;
    let request = libc::tpacket_req3 {
        tp_block_size: geometry.block_bytes,
        tp_block_nr: geometry.blocks,
        // V3 packs frames; the kernel only checks that frame size and count match the blocks.
        tp_frame_size: geometry.block_bytes,
        tp_frame_nr: geometry.blocks,
        tp_retire_blk_tov: RETIRE_MS,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    socket
        .set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
        .map_err(Error::on("allocate the capture ring", object))?;
    Mapping::shared(socket, geometry.bytes()).map_err(Error::on("map the capture ring", object))
}

/// Whether there is memory for a ring: allocates one for a socket of its own that captures nothing, and
/// gives it back.
pub fn probe(geometry: Geometry) -> Result<(), Error> {
    const OBJECT: &str = "a socket without interface";
    let socket = PacketSocket::open().map_err(Error::on("create AF_PACKET socket", OBJECT))?;
    allocate(&socket, OBJECT, geometry).map(drop)
}

/// Iterates over the unread frames of a block.
#[derive(Debug)]
pub struct Frames<'a> {
    ring: &'a Ring,
    cursor: Cursor,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Captured<'a>;

    fn next(&mut self) -> Option<Captured<'a>> {
        let left = self.cursor.left.checked_sub(1)?;
        let Some((captured, next)) = self.ring.frame_at(self.cursor.offset) else {
            // A block whose headers do not add up ends here instead of being read past its end.
            self.cursor.left = 0;
            return None;
        };
        self.cursor = Cursor { offset: next, left };
        Some(captured)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn to_usize(value: u32) -> usize {
    // Linux runs tapferry on 64-bit machines, and even 32-bit ones have a usize of 32 bits.
    usize::try_from(value).unwrap_or(usize::MAX)
}
