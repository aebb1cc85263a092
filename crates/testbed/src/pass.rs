//! A TAP for a program that is started with it: as libvirt starts QEMU.

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::{Context, Error, Result};
use crate::tap::{Tap, TapOptions};

/// What stands in the command's words for the descriptors' numbers, `7` or `7:8`.
pub const PLACEHOLDER: &str = "%FDS%";

/// Creates the TAP `name` and becomes `command`, which has the TAP's queues as open descriptors.
///
/// # Errors
/// Those of [`Tap::create`], and when there is no such program. Otherwise this does not return.
pub fn become_owner(name: &str, queues: usize, command: &[&str]) -> Result<Infallible> {
    let tap = Tap::create(name, &TapOptions { queues, ..TapOptions::like_qemu() })?;
    let mut numbers = Vec::new();
    for queue in tap.descriptors() {
        fcntl_setfd(queue, FdFlags::empty()).on("F_SETFD", name)?;
        numbers.push(queue.as_raw_fd().to_string());
    }
    let numbers = numbers.join(":");
    let mut words = command.iter().map(|word| word.replace(PLACEHOLDER, &numbers));
    let program = words.next().ok_or_else(|| Error::Invalid("no command to start".into()))?;
    let error = Command::new(&program).args(words).exec();
    Err(error).on("exec", &program)
}
