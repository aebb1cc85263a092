//! Descriptors that the process was started with.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;

use crate::error::Error;

/// Above those of standard input, output and error.
const LOWEST: i32 = 3;

/// A duplicate of our own of the descriptor with this number. `Errno::BADF`: there is none.
pub fn duplicate(number: u32) -> Result<OwnedFd, Error> {
    let object = format!("fd:{number}");
    let raw =
        i32::try_from(number).map_err(|_| Error::new("duplicate", object.as_str(), crate::Errno::BADF))?;
    // SAFETY: the number is handed to the kernel once, which says if there is no such descriptor; whoever has it
    // keeps it, because a duplicate is made.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    fcntl_dupfd_cloexec(borrowed, LOWEST).map_err(Error::on("duplicate", &object))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::Errno;

    #[test]
    fn a_duplicate_is_another_descriptor_and_the_first_stays() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let copy = duplicate(u32::try_from(file.as_raw_fd()).unwrap()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        drop(copy);
        assert!(file.metadata().is_ok());
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_an_error() {
        for number in [1_000_000, u32::MAX] {
            assert_eq!(duplicate(number).unwrap_err().errno, Errno::BADF);
        }
    }
}
