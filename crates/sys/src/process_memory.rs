//! Another process's memory (proc_pid_mem(5)): read only, without stopping or asking it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::error::Error;

/// The memory of a process, as it was when this was opened: a program that it executes later has another.
#[derive(Debug)]
pub struct ProcessMemory {
    file: File,
}

impl ProcessMemory {
    /// Needs PTRACE_MODE_ATTACH_FSCREDS on the process (ptrace(2)): `Errno::ACCESS` or `Errno::PERM` without.
    /// `Errno::SRCH`: no such process.
    pub fn open(pid: i32) -> Result<Self, Error> {
        let on = Error::on("open the memory", &format!("process {pid}"));
        match File::open(format!("/proc/{pid}/mem")) {
            Ok(file) => Ok(Self { file }),
            Err(error) => Err(on(match errno(&error) {
                Errno::NOENT => Errno::SRCH,
                other => other,
            })),
        }
    }

    /// Fills the buffer with what lies at an address of the process. The process may write there meanwhile: only
    /// what it writes in one instruction comes whole.
    ///
    /// `Errno::IO` or `Errno::FAULT`: there is no memory at one of the addresses. `Errno::SRCH`: the process has
    /// ended.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            let offset = u64::try_from(filled).ok().and_then(|filled| address.checked_add(filled));
            let offset = offset.ok_or(Errno::FAULT)?;
            match self.file.read_at(&mut buffer[filled..], offset) {
                // Not one byte is how the kernel says that there is no memory any more.
                Ok(0) => return Err(Errno::SRCH),
                Ok(count) => filled += count,
                Err(error) => match errno(&error) {
                    Errno::INTR => {}
                    // Offsets end where the kernel's half of the addresses begins.
                    Errno::INVAL => return Err(Errno::FAULT),
                    other => return Err(other),
                },
            }
        }
        Ok(())
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
