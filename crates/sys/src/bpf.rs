//! bpf(2) without a library: programs and maps that need nothing of the files and types that libraries bring.

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::checked;
use crate::netdev::IfIndex;

/// BPF_TCX_INGRESS and BPF_TCX_EGRESS (enum bpf_attach_type, Linux 6.6).
pub(crate) const TCX_INGRESS: u32 = 46;
pub(crate) const TCX_EGRESS: u32 = 47;
/// BPF_MPROG_MAX (linux/bpf_mprog.h): no interface has more programs at one place.
const PROGRAMS_MAX: usize = 64;

/// enum bpf_cmd (linux/bpf.h).
mod command {
    use std::ffi::c_long;

    pub(super) const MAP_CREATE: c_long = 0;
    pub(super) const MAP_LOOKUP_ELEM: c_long = 1;
    pub(super) const MAP_UPDATE_ELEM: c_long = 2;
    pub(super) const PROG_LOAD: c_long = 5;
    pub(super) const PROG_QUERY: c_long = 16;
    pub(super) const LINK_CREATE: c_long = 28;
    pub(super) const LINK_DETACH: c_long = 34;
}

/// enum bpf_map_type and BPF_PROG_TYPE_SCHED_CLS (linux/bpf.h).
const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_PROG_ARRAY: u32 = 3;
const PROG_TYPE_SCHED_CLS: u32 = 3;
/// BPF_OBJ_NAME_LEN (linux/bpf.h), with the zero byte at its end.
const NAME: usize = 16;
/// BPF_F_BEFORE: before all others, when none of them is named.
const BEFORE: u32 = 1 << 3;

/// A part of union bpf_attr (linux/bpf.h) that one command uses.
trait Attribute {}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapElement {
    map: c_int,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; NAME],
}

#[repr(C)]
struct LinkCreate {
    program: c_int,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    /// Nobody: then BEFORE means before all.
    relative_to: u32,
    padding: u32,
    expected_revision: u64,
}

#[repr(C)]
struct LinkDetach {
    link: c_int,
}

#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    padding: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

impl Attribute for MapCreate {}
impl Attribute for MapElement {}
impl Attribute for ProgLoad {}
impl Attribute for LinkCreate {}
impl Attribute for LinkDetach {}
impl Attribute for ProgQuery {}

/// # Safety
/// What the numbers in `attribute` point to must be as the command asks, and outlive the call.
unsafe fn bpf(command: c_long, attribute: &mut impl Attribute) -> Result<c_int, Errno> {
    let size = size_of_val(attribute);
    // SAFETY: the kernel reads and writes one attribute of the given length; the caller vouches for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) };
    c_int::try_from(checked(result)?).map_err(|_| Errno::OVERFLOW)
}

fn owned(descriptor: c_int) -> OwnedFd {
    // SAFETY: only called with what a command has just opened, so nobody else has it. bpf(2) sets FD_CLOEXEC.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn address<T: ?Sized>(pointer: *const T) -> Result<u64, Errno> {
    u64::try_from(pointer.cast::<u8>().expose_provenance()).map_err(|_| Errno::FAULT)
}

/// A number that programs and this process share: a map of one entry.
#[derive(Debug)]
pub(crate) struct SharedNumber {
    map: OwnedFd,
}

impl SharedNumber {
    /// Zero at first.
    pub(crate) fn new() -> Result<Self, Errno> {
        create_map(MAP_TYPE_ARRAY, 8).map(|map| Self { map })
    }

    pub(crate) fn get(&self) -> Result<u64, Errno> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut request = element(&self.map, &raw const key, &raw mut value)?;
        // SAFETY: the map's keys have four bytes and its values eight; both are there.
        unsafe { bpf(command::MAP_LOOKUP_ELEM, &mut request) }?;
        Ok(value)
    }

    pub(crate) fn set(&self, value: u64) -> Result<(), Errno> {
        let key = 0_u32;
        let mut request = element(&self.map, &raw const key, &raw const value)?;
        // SAFETY: the map's keys have four bytes and its values eight; both are there, and only read.
        unsafe { bpf(command::MAP_UPDATE_ELEM, &mut request) }.map(drop)
    }
}

/// A program that others can jump to, as long as this is there: when the last descriptor of it is closed, the kernel
/// empties it, although the programs that jump to it stay (kernel/bpf/arraymap.c, prog_array_map_clear).
#[derive(Debug)]
pub(crate) struct JumpTarget {
    map: OwnedFd,
}

impl JumpTarget {
    pub(crate) fn new(program: &OwnedFd) -> Result<Self, Errno> {
        let map = create_map(MAP_TYPE_PROG_ARRAY, 4)?;
        let (key, value) = (0_u32, program.as_raw_fd());
        let mut request = element(&map, &raw const key, &raw const value)?;
        // SAFETY: the map's keys and values have four bytes; both are there, and only read.
        unsafe { bpf(command::MAP_UPDATE_ELEM, &mut request) }?;
        Ok(Self { map })
    }
}

/// A map of one entry, with a key of four bytes.
fn create_map(map_type: u32, value_size: u32) -> Result<OwnedFd, Errno> {
    let mut request = MapCreate { map_type, key_size: 4, value_size, max_entries: 1, map_flags: 0 };
    // SAFETY: the command follows no pointer.
    unsafe { bpf(command::MAP_CREATE, &mut request) }.map(owned)
}

fn element<T>(map: &OwnedFd, key: *const u32, value: *const T) -> Result<MapElement, Errno> {
    let (key, value) = (address(key)?, address(value)?);
    Ok(MapElement { map: map.as_raw_fd(), padding: 0, key, value, flags: 0 })
}

/// One instruction, or half of one that takes two (linux/bpf.h, struct bpf_insn).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    code: u8,
    /// The destination in the lower half, the source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    pub(crate) const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: source << 4 | destination, offset, immediate }
    }

    /// The address of a shared number into a register (BPF_LD | BPF_DW | BPF_IMM, BPF_PSEUDO_MAP_VALUE).
    pub(crate) fn address_of(number: &SharedNumber, destination: u8) -> [Self; 2] {
        const MAP_VALUE: u8 = 2;
        // The upper half: how far behind the beginning of the entry.
        Self::load_map(&number.map, destination, MAP_VALUE)
    }

    /// The map that a jump looks into, into a register (BPF_LD | BPF_DW | BPF_IMM, BPF_PSEUDO_MAP_FD).
    pub(crate) fn map_of(target: &JumpTarget, destination: u8) -> [Self; 2] {
        const MAP: u8 = 1;
        Self::load_map(&target.map, destination, MAP)
    }

    fn load_map(map: &OwnedFd, destination: u8, what: u8) -> [Self; 2] {
        [Self::new(0x18, destination, what, 0, map.as_raw_fd()), Self::new(0, 0, 0, 0, 0)]
    }
}

/// Loads a program for tc and tcx, under a name for those who look at it (15 bytes at most). A program keeps the maps
/// that it uses.
pub(crate) fn load_classifier(
    instructions: &[Instruction],
    license: &CStr,
    name: &str,
) -> Result<OwnedFd, Errno> {
    let mut padded = [0; NAME];
    padded.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name.as_bytes());
    let mut request = ProgLoad {
        prog_type: PROG_TYPE_SCHED_CLS,
        count: u32::try_from(instructions.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: address(instructions.as_ptr())?,
        license: address(license.as_ptr())?,
        log_level: 0,
        log_size: 0,
        log: 0,
        kern_version: 0,
        prog_flags: 0,
        name: padded,
    };
    // SAFETY: there are `count` instructions where `instructions` points, and a string ending in zero where
    // `license` points. Whether the program is harmless is for the kernel to judge.
    unsafe { bpf(command::PROG_LOAD, &mut request) }.map(owned)
}

/// A program at tcx of an interface, before all that are there. It leaves when this is dropped, when the process
/// ends, or with the interface.
#[derive(Debug)]
pub(crate) struct TcxLink {
    link: OwnedFd,
}

impl TcxLink {
    /// The interface is in the calling thread's network namespace. `Errno::INVAL` before Linux 6.6.
    pub(crate) fn attach(program: &OwnedFd, ifindex: IfIndex, attach_type: u32) -> Result<Self, Errno> {
        let mut request = LinkCreate {
            program: program.as_raw_fd(),
            ifindex: ifindex.get(),
            attach_type,
            flags: BEFORE,
            relative_to: 0,
            padding: 0,
            expected_revision: 0,
        };
        // SAFETY: the command follows no pointer.
        let link = owned(unsafe { bpf(command::LINK_CREATE, &mut request) }?);
        Ok(Self { link })
    }
}

impl Drop for TcxLink {
    fn drop(&mut self) {
        // Closing the descriptor would do, but a command that another thread is just starting holds a copy of it
        // until its exec. It fails when the interface is gone, and the program with it.
        let mut request = LinkDetach { link: self.link.as_raw_fd() };
        // SAFETY: the command follows no pointer.
        unsafe { bpf(command::LINK_DETACH, &mut request) }.ok();
    }
}

/// The ids of the programs at tcx of an interface in the calling thread's network namespace, in their order.
/// `Errno::INVAL` before Linux 6.6.
pub(crate) fn tcx_programs(ifindex: IfIndex, attach_type: u32) -> Result<Vec<u32>, Errno> {
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut query = ProgQuery {
        target_ifindex: ifindex.get(),
        attach_type,
        program_ids: address(&raw mut ids)?,
        count: u32::try_from(ids.len()).map_err(|_| Errno::OVERFLOW)?,
        ..ProgQuery::default()
    };
    // SAFETY: there is room for `count` numbers where `program_ids` points.
    unsafe { bpf(command::PROG_QUERY, &mut query) }?;
    let count = usize::try_from(query.count).unwrap_or(0);
    Ok(ids.into_iter().take(count).collect())
}
