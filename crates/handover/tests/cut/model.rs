//! A model of QEMU's virtio-net device and of the guest's driver, with the queue in memory as they have it.

use std::collections::VecDeque;
use std::io;

use tapferry_handover::cut::{Calibration, GuestMemory, RamBlock, RingLocation, Sample, Seen};

/// Where the model's RAM lies in its QEMU process.
const HOST: u64 = 0x7f00_0000_0000;

/// The guest's RAM below the hole; the rest of the buffers are above it.
const LOW: u64 = RINGS + 30 * SLOT;
const HIGH_GUEST: u64 = 1 << 32;

/// Bytes of rings and descriptors, at the start of RAM.
const RINGS: u64 = 0x8000;

pub(crate) struct Memory(Vec<u8>);

impl GuestMemory for Memory {
    fn read(&self, host_address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let fault = || io::Error::from_raw_os_error(5);
        let start =
            host_address.checked_sub(HOST).and_then(|at| usize::try_from(at).ok()).ok_or_else(fault)?;
        let end = start.checked_add(buffer.len()).ok_or_else(fault)?;
        buffer.copy_from_slice(self.0.get(start..end).ok_or_else(fault)?);
        Ok(())
    }
}

/// How the driver lays out a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Small buffers, of which a frame may fill several.
    Mergeable,
    /// One buffer for the longest frame.
    Single,
    /// The header in a descriptor of its own.
    Chained,
    /// A table of two descriptors.
    Indirect,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Driver {
    pub(crate) layout: Layout,
    pub(crate) header_len: usize,
    /// Buffers are offered again once that many are free.
    pub(crate) refill_at: usize,
    /// Whether the avail ring's address is known to the reader.
    pub(crate) avail_known: bool,
    /// Whether the guest overwrites what it has read.
    pub(crate) scribbles: bool,
}

pub(crate) const QUEUE: u16 = 64;
const SLOT: u64 = 0x1_2000;
const SMALL: usize = 1536;

pub(crate) struct Model {
    pub(crate) memory: Memory,
    pub(crate) driver: Driver,
    /// Numbers of descriptors that are free, and buffers (slots of memory).
    free: Vec<u16>,
    free_slots: Vec<u16>,
    slot_of: Vec<u16>,
    avail: u16,
    popped: u16,
    pub(crate) used: u16,
    seen_by_guest: u16,
    /// What happened so far.
    pub(crate) captured: Vec<Vec<u8>>,
    waiting: VecDeque<usize>,
    held: VecDeque<usize>,
    pub(crate) tx_packets: u64,
    pub(crate) delivered: Vec<usize>,
    pub(crate) samples: Vec<Sample>,
}

impl Model {
    pub(crate) fn new(driver: Driver, tx_before: u64) -> Self {
        let size = RINGS + u64::from(QUEUE) * SLOT;
        let mut model = Self {
            memory: Memory(vec![0; usize::try_from(size).unwrap()]),
            driver,
            free: (0..QUEUE).step_by(driver.chain()).collect(),
            free_slots: (0..QUEUE).collect(),
            slot_of: vec![0; usize::from(QUEUE)],
            avail: 0,
            popped: 0,
            used: 0,
            seen_by_guest: 0,
            captured: Vec::new(),
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            tx_packets: tx_before,
            delivered: Vec::new(),
            samples: Vec::new(),
        };
        model.refill();
        model
    }

    pub(crate) fn location(&self) -> RingLocation {
        RingLocation {
            queue_size: QUEUE,
            desc_host: HOST,
            avail_host: self.driver.avail_known.then_some(HOST + 0x1000),
            used_host: HOST + 0x2000,
            header_len: self.driver.header_len,
            mergeable: self.driver.layout == Layout::Mergeable,
            ram: vec![
                RamBlock { guest: 0, host: HOST, len: LOW },
                RamBlock { guest: HIGH_GUEST, host: HOST + LOW, len: u64::MAX / 4 },
            ],
        }
    }

    /// The kernel gives a frame to the TAP.
    pub(crate) fn capture(&mut self, frame: Vec<u8>) {
        self.waiting.push_back(self.captured.len());
        self.captured.push(frame);
    }

    /// The TAP loses its newest frame: its queue is full.
    pub(crate) fn lose_newest(&mut self) {
        self.waiting.pop_back();
    }

    /// QEMU reads a frame from the TAP.
    pub(crate) fn read(&mut self) -> bool {
        let Some(frame) = self.waiting.pop_front() else { return false };
        self.tx_packets += 1;
        self.held.push_back(frame);
        true
    }

    /// QEMU gives all that it has read to the guest.
    pub(crate) fn deliver(&mut self) {
        while let Some(frame) = self.held.pop_front() {
            self.put(frame);
        }
    }

    /// QEMU reads and delivers all that there is.
    pub(crate) fn run(&mut self) {
        while self.read() {
            self.deliver();
        }
        self.deliver();
    }

    /// QEMU throws its oldest frame away.
    pub(crate) fn purge(&mut self) {
        self.held.pop_front();
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn sample(&mut self) -> Sample {
        let captured = u64::try_from(self.captured.len()).unwrap();
        let sample = Sample { captured, tx_packets: self.tx_packets, used: Some(self.used) };
        self.samples.push(sample);
        sample
    }

    pub(crate) fn calibration(&self) -> Calibration {
        let mut calibration = Calibration::new();
        for sample in &self.samples {
            calibration.push(*sample);
        }
        calibration
    }

    pub(crate) fn seen_from(&self, first: usize) -> Vec<Seen<'_>> {
        let indices = 0..;
        self.captured
            .iter()
            .zip(indices)
            .skip(first)
            .map(|(bytes, index)| Seen { index, timestamp_ns: index, beside: None, bytes })
            .collect()
    }

    /// The index of the first frame that the guest has not got.
    pub(crate) fn true_cut(&self) -> u64 {
        self.delivered.last().map_or(0, |last| u64::try_from(last + 1).unwrap())
    }

    /// The guest takes what is in the ring, and may offer buffers again.
    pub(crate) fn guest_runs(&mut self) {
        while self.seen_by_guest != self.used {
            let at = 0x2004 + u64::from(self.seen_by_guest % QUEUE) * 8;
            let id = self.get_u16(at);
            let slot = self.slot_of[usize::from(id)];
            if self.driver.scribbles {
                let start = usize::try_from(slot_address(slot)).unwrap();
                self.memory.0[start + 40..start + 60].fill(0xee);
            }
            self.free.push(id);
            self.free_slots.push(slot);
            self.seen_by_guest = self.seen_by_guest.wrapping_add(1);
        }
        if self.free.len() >= self.driver.refill_at {
            self.refill();
        }
    }

    fn refill(&mut self) {
        while let Some(id) = self.free.pop() {
            let slot = self.free_slots.pop().unwrap();
            self.slot_of[usize::from(id)] = slot;
            let address = slot_address(slot);
            let whole = u32::try_from(SLOT - 0x100).unwrap();
            let header = u32::try_from(self.driver.header_len).unwrap();
            match self.driver.layout {
                Layout::Mergeable => {
                    self.describe(u64::from(id) * 16, address, u32::try_from(SMALL).unwrap(), 2, 0);
                }
                Layout::Single => self.describe(u64::from(id) * 16, address, whole, 2, 0),
                Layout::Chained => {
                    self.describe(u64::from(id) * 16, address, header, 3, id + 1);
                    let rest = address + u64::from(header);
                    self.describe(u64::from(id + 1) * 16, rest, whole - header, 2, 0);
                }
                Layout::Indirect => {
                    let table = address + SLOT - 0x80;
                    self.describe(u64::from(id) * 16, table, 32, 4, 0);
                    self.describe(table, address, header, 3, 1);
                    self.describe(table + 16, address + u64::from(header), whole - header, 2, 0);
                }
            }
            self.put_bytes(0x1004 + u64::from(self.avail % QUEUE) * 2, &id.to_le_bytes());
            self.avail = self.avail.wrapping_add(1);
            self.put_bytes(0x1002, &self.avail.to_le_bytes());
        }
    }

    fn describe(&mut self, at: u64, address: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = guest(address).to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.put_bytes(at, &bytes);
    }

    /// As QEMU's `virtio_net_receive`: fills buffers, then shows them all at once.
    fn put(&mut self, frame: usize) {
        let mut bytes = vec![0xa5; self.driver.header_len];
        bytes.extend(&self.captured[frame]);
        let size = if self.driver.layout == Layout::Mergeable { SMALL } else { bytes.len() };
        let parts: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        if usize::from(self.avail.wrapping_sub(self.popped)) < parts.len() {
            self.guest_runs();
            self.refill();
        }
        let mut shown = self.used;
        for part in parts {
            assert_ne!(self.popped, self.avail, "the model's queue has room");
            let id = self.get_u16(0x1004 + u64::from(self.popped % QUEUE) * 2);
            self.popped = self.popped.wrapping_add(1);
            let address = slot_address(self.slot_of[usize::from(id)]);
            self.put_bytes(address, &part);
            let mut element = u32::from(id).to_le_bytes().to_vec();
            element.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            self.put_bytes(0x2004 + u64::from(shown % QUEUE) * 8, &element);
            shown = shown.wrapping_add(1);
        }
        self.used = shown;
        self.put_bytes(0x2002, &shown.to_le_bytes());
        self.delivered.push(frame);
    }

    fn put_bytes(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.memory.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn get_u16(&self, at: u64) -> u16 {
        let at = usize::try_from(at).unwrap();
        u16::from_le_bytes([self.memory.0[at], self.memory.0[at + 1]])
    }
}

impl Driver {
    /// Descriptors of a buffer in the queue's own table.
    fn chain(self) -> usize {
        if self.layout == Layout::Chained { 2 } else { 1 }
    }
}

fn slot_address(slot: u16) -> u64 {
    RINGS + u64::from(slot) * SLOT
}

/// The guest's address of what is at `at` in the model's memory.
fn guest(at: u64) -> u64 {
    if at < LOW { at } else { at - LOW + HIGH_GUEST }
}
