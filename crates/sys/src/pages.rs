//! Memory in pages of its own: what the kernel shares with us, and large buffers.
//!
//! Untouched pages of a buffer take no memory, and all go back to the system when it is dropped. A general
//! allocator would keep them, and clear them by touching them.

use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// A mapping that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// Memory that a descriptor shares with us.
    pub(crate) fn shared(fd: impl AsFd, bytes: usize) -> Result<Self, Errno> {
        // SAFETY: a fresh mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, READ_WRITE, MapFlags::SHARED, fd, 0) }?;
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, bytes })
    }

    fn private(bytes: usize) -> Result<Self, Errno> {
        // SAFETY: as above.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, READ_WRITE, MapFlags::PRIVATE) }?;
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, bytes })
    }

    /// Its first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it any more.
        unsafe { munmap(self.start.as_ptr().cast(), self.bytes) }.ok();
    }
}

// SAFETY: the mapping is plain memory owned by this value; it is not tied to a thread.
unsafe impl Send for Mapping {}

/// A large buffer, all zeros in the beginning.
#[derive(Debug)]
pub struct Pages(Mapping);

impl Pages {
    /// A buffer of `bytes` bytes, at least one.
    pub fn zeroed(bytes: usize) -> Result<Self, Errno> {
        Mapping::private(bytes).map(Self)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is readable, as long as that, and private to this value.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.bytes) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; writable, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.start(), self.0.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_and_can_be_written_from_end_to_end() {
        let mut pages = Pages::zeroed(10_000).unwrap();
        assert!(pages.iter().all(|byte| *byte == 0));
        pages.fill(7);
        assert_eq!((pages.len(), pages[9_999]), (10_000, 7));
    }
}
