//! The receive queue of a virtio-net device: a split virtqueue (virtio 1.1, 2.6; `linux/virtio_ring.h`).
//!
//! The device writes a frame into buffers and then puts an element for each into the used ring: its descriptor's
//! number and the bytes written. So the ring's newest elements say what the guest got last. The bytes are still in
//! the buffers until the driver offers them again. Numbers are little endian.

use std::collections::HashSet;
use std::io;

use super::memory::{GuestMemory, RamBlock, host_address};

/// The largest queue there is (virtio 1.1, 2.6).
const MAX_QUEUE_SIZE: u16 = 32_768;

/// Bytes of a descriptor: address (8), length (4), flags (2), next (2).
const DESCRIPTOR: usize = 16;

/// `VRING_DESC_F_NEXT`: the buffer goes on at `next`.
const NEXT: u16 = 1;

/// `VRING_DESC_F_INDIRECT`: the buffer is a table of descriptors.
const INDIRECT: u16 = 4;

/// Flags (2 bytes) and index (2) come before the elements of both rings.
const RING_HEADER: usize = 4;

/// Bytes of a used element: id (4), length (4).
const ELEMENT: usize = 8;

/// Descriptors of one buffer that are looked at. A frame of 64 KiB in pages has fewer.
const MAX_CHAIN: usize = 64;

/// Where a receive queue is, as QEMU tells (`x-query-virtio-queue-status`, `gpa2hva`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingLocation {
    /// Elements of its rings: a power of two.
    pub queue_size: u16,
    /// Where its descriptors are in the QEMU process.
    pub desc_host: u64,
    /// Where its available ring is in the QEMU process. It tells which buffers were offered again since; without it a
    /// single buffer that looks like a frame is less sure.
    pub avail_host: Option<u64>,
    /// Where its used ring is in the QEMU process.
    pub used_host: u64,
    /// Bytes of virtio-net header in front of each frame: 10, 12 or 20.
    pub header_len: usize,
    /// Whether a frame may fill several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
    pub mergeable: bool,
    /// The guest's RAM, where its buffers are.
    pub ram: Vec<RamBlock>,
}

/// Why a queue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// No queue has this size.
    #[error("a virtqueue of {0} elements: a power of two up to {MAX_QUEUE_SIZE} was expected")]
    QueueSize(u16),
    /// No virtio-net header has this length.
    #[error("a virtio-net header of {0} bytes: 10, 12 or 20 were expected")]
    HeaderLength(usize),
    /// The memory of the QEMU process could not be read.
    #[error("cannot read the {part} at {host_address:#x} of the QEMU process: {error}")]
    Read {
        /// Which part of the queue.
        part: &'static str,
        /// Where it should be.
        host_address: u64,
        /// Why not.
        error: io::Error,
    },
}

/// The used index (mod 2^16): how many buffers the device has used. Two bytes are read.
///
/// # Errors
///
/// The memory could not be read.
pub fn used_index(memory: &dyn GuestMemory, location: &RingLocation) -> Result<u16, QueueError> {
    let mut index = [0; 2];
    fill(memory, "used index", location.used_host.saturating_add(2), &mut index)?;
    Ok(u16::from_le_bytes(index))
}

/// One buffer that the device has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsedElement {
    /// Its first descriptor.
    pub(super) id: u32,
    /// Bytes the device wrote into it, the virtio-net header among them.
    pub(super) len: u32,
}

/// A receive queue at one moment: its rings and descriptors were copied, its buffers are read when asked for.
pub struct Receive<'a> {
    memory: &'a dyn GuestMemory,
    location: &'a RingLocation,
    index: u16,
    /// The used elements, oldest to newest.
    used: Vec<UsedElement>,
    /// For each of them whether its buffer may still hold what the device wrote.
    intact: Vec<bool>,
    descriptors: Vec<u8>,
}

impl<'a> Receive<'a> {
    /// Copies the queue: one read each of used ring, descriptors and available ring.
    ///
    /// # Errors
    ///
    /// The location cannot be right, or the memory could not be read.
    pub fn read(memory: &'a dyn GuestMemory, location: &'a RingLocation) -> Result<Self, QueueError> {
        let size = usize::from(location.queue_size);
        if !location.queue_size.is_power_of_two() || location.queue_size > MAX_QUEUE_SIZE {
            return Err(QueueError::QueueSize(location.queue_size));
        }
        if !matches!(location.header_len, 10 | 12 | 20) {
            return Err(QueueError::HeaderLength(location.header_len));
        }
        let mut ring = vec![0; RING_HEADER + size * ELEMENT];
        fill(memory, "used ring", location.used_host, &mut ring)?;
        let index = u16_at(&ring, 2);
        let used = newest_last(&ring, index, size);
        let mut descriptors = vec![0; size * DESCRIPTOR];
        fill(memory, "descriptors", location.desc_host, &mut descriptors)?;
        let mut offered = HashSet::new();
        if let Some(avail_host) = location.avail_host {
            let mut ring = vec![0; RING_HEADER + size * 2];
            fill(memory, "available ring", avail_host, &mut ring)?;
            offered = waiting(&ring, index, size);
        }
        let intact = intact(&used, offered);
        Ok(Self { memory, location, index, used, intact, descriptors })
    }

    /// The used index (mod 2^16).
    #[must_use]
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// The used elements that are known, oldest to newest.
    pub(super) fn used(&self) -> &[UsedElement] {
        &self.used
    }

    /// Bytes of virtio-net header in front of each frame.
    pub(super) fn header_len(&self) -> u64 {
        u64::try_from(self.location.header_len).unwrap_or(u64::MAX)
    }

    /// Whether a frame may fill several buffers.
    pub(super) const fn mergeable(&self) -> bool {
        self.location.mergeable
    }

    /// Whether buffers that were offered again are told from those that were not.
    pub(super) const fn knows_offered(&self) -> bool {
        self.location.avail_host.is_some()
    }

    /// Whether any buffer may still hold what the device wrote.
    pub(super) fn holds_anything(&self) -> bool {
        self.intact.contains(&true)
    }

    /// The frame bytes at the start of the used element at `position`, up to `limit` of them: the first buffer of a
    /// frame. `None` if the driver has offered the buffer again, or nothing of that kind is there.
    pub(super) fn frame_start(&self, position: usize, limit: usize) -> Option<Vec<u8>> {
        let element = self.used.get(position)?;
        if !*self.intact.get(position)? {
            return None;
        }
        let written = usize::try_from(element.len).ok()?;
        let wanted = written.checked_sub(self.location.header_len)?.min(limit);
        let mut skip = self.location.header_len;
        let mut start = vec![0; wanted];
        let mut filled = 0;
        for (address, len) in self.buffers(element.id)? {
            let skipped = skip.min(len);
            skip -= skipped;
            let part = (len - skipped).min(wanted - filled);
            if part > 0 {
                let address = address.checked_add(u64::try_from(skipped).ok()?)?;
                let host = host_address(&self.location.ram, address, u64::try_from(part).ok()?)?;
                self.memory.read(host, &mut start[filled..filled + part]).ok()?;
                filled += part;
            }
            if filled == wanted {
                return Some(start);
            }
        }
        None
    }

    /// The guest addresses and lengths that make up the buffer of descriptor `id`.
    fn buffers(&self, id: u32) -> Option<Vec<(u64, usize)>> {
        let id = usize::try_from(id).ok()?;
        let first = Descriptor::at(&self.descriptors, id)?;
        if first.flags & INDIRECT == 0 {
            return chain(&self.descriptors, id);
        }
        let entries = (first.len / DESCRIPTOR).min(MAX_CHAIN);
        let mut table = vec![0; entries * DESCRIPTOR];
        let host = host_address(&self.location.ram, first.address, u64::try_from(table.len()).ok()?)?;
        self.memory.read(host, &mut table).ok()?;
        chain(&table, 0)
    }
}

/// A descriptor: a part of a buffer, or a table of such parts.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    address: u64,
    len: usize,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn at(table: &[u8], number: usize) -> Option<Self> {
        let bytes = table.get(number.checked_mul(DESCRIPTOR)?..)?.first_chunk::<DESCRIPTOR>()?;
        let (address, rest) = bytes.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            address: u64::from_le_bytes(*address),
            len: usize::try_from(u32::from_le_bytes(*len)).ok()?,
            flags: u16_at(rest, 0),
            next: u16_at(rest, 2),
        })
    }
}

/// The parts of a buffer from descriptor `first` of `table` on, up to [`MAX_CHAIN`]: a chain may be a circle.
fn chain(table: &[u8], first: usize) -> Option<Vec<(u64, usize)>> {
    let mut parts = Vec::new();
    let mut number = first;
    while parts.len() < MAX_CHAIN {
        let descriptor = Descriptor::at(table, number)?;
        if descriptor.flags & INDIRECT != 0 {
            return None;
        }
        parts.push((descriptor.address, descriptor.len));
        if descriptor.flags & NEXT == 0 {
            break;
        }
        number = usize::from(descriptor.next);
    }
    Some(parts)
}

/// The elements of a used ring whose next one is number `index`, oldest to newest. Before the ring was full once, the
/// oldest were never written: they have no length, and no frame has that.
fn newest_last(ring: &[u8], index: u16, size: usize) -> Vec<UsedElement> {
    let mut elements: Vec<UsedElement> = ring[RING_HEADER..]
        .chunks_exact(ELEMENT)
        .map(|element| UsedElement { id: u32_at(element, 0), len: u32_at(element, 4) })
        .collect();
    elements.rotate_left(usize::from(index) % size);
    let unwritten = elements.iter().rposition(|element| element.len == 0).map_or(0, |last| last + 1);
    elements.drain(..unwritten);
    elements
}

/// The buffers that wait in the available ring: those that the device has not used yet.
fn waiting(ring: &[u8], used_index: u16, size: usize) -> HashSet<u32> {
    let count = usize::from(u16_at(ring, 2).wrapping_sub(used_index)).min(size);
    (0..count)
        .map(|nth| u32::from(u16_at(ring, RING_HEADER + (usize::from(used_index) + nth) % size * 2)))
        .collect()
}

/// Which of the used buffers were neither used nor offered again after that.
fn intact(used: &[UsedElement], mut taken: HashSet<u32>) -> Vec<bool> {
    let mut intact: Vec<bool> = used.iter().rev().map(|element| taken.insert(element.id)).collect();
    intact.reverse();
    intact
}

fn fill(
    memory: &dyn GuestMemory,
    part: &'static str,
    host_address: u64,
    buffer: &mut [u8],
) -> Result<(), QueueError> {
    memory.read(host_address, buffer).map_err(|error| QueueError::Read { part, host_address, error })
}

/// A number of the ring; 0 where there is none.
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// A number of the ring; 0 where there is none.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
