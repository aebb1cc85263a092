//! The guest's memory as it lies in the QEMU process.

use std::io;

/// Memory of the QEMU process that holds the guest's RAM: `/proc/PID/mem`, or a fake one.
pub trait GuestMemory {
    /// Fills `buffer` with what is at `host_address`, a virtual address of that process.
    ///
    /// # Errors
    ///
    /// Not all of it could be read.
    fn read(&self, host_address: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A run of guest RAM. QEMU has one below the hole under 4 GiB, and one above it if there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RamBlock {
    /// Where it begins for the guest: a physical address.
    pub guest: u64,
    /// Where it begins in the QEMU process: a virtual address.
    pub host: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl RamBlock {
    /// Where `len` bytes of the guest are in the QEMU process, if all of them are in this block.
    fn host_address(&self, guest_address: u64, len: u64) -> Option<u64> {
        let offset = guest_address.checked_sub(self.guest)?;
        if offset.checked_add(len)? > self.len {
            return None;
        }
        self.host.checked_add(offset)
    }
}

/// Where `len` bytes of the guest are in the QEMU process; `None` if they are not in one block.
pub(super) fn host_address(ram: &[RamBlock], guest_address: u64, len: u64) -> Option<u64> {
    ram.iter().find_map(|block| block.host_address(guest_address, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: [RamBlock; 2] = [
        RamBlock { guest: 0, host: 0x7000_0000, len: 0x8000_0000 },
        RamBlock { guest: 1 << 32, host: 0xf000_0000, len: 0x1000 },
    ];

    #[test]
    fn addresses_below_and_above_the_hole_are_found() {
        assert_eq!(host_address(&RAM, 0x1234, 4), Some(0x7000_1234));
        assert_eq!(host_address(&RAM, 0x7fff_fffc, 4), Some(0xefff_fffc));
        assert_eq!(host_address(&RAM, (1 << 32) + 0xfff, 1), Some(0xf000_0fff));
    }

    #[test]
    fn what_is_in_the_hole_or_sticks_out_of_a_block_is_nowhere() {
        for (address, len) in [(0x7fff_fffd, 4), (0x9000_0000, 1), (0x1_0000_0fff, 2), (u64::MAX, u64::MAX)] {
            assert_eq!(host_address(&RAM, address, len), None, "{address:#x}");
        }
    }
}
