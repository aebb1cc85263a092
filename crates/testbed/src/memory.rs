//! The memory of this process.

use crate::sys;

/// Resident memory in KiB, without what the allocator keeps for later (proc_pid_status(5)).
///
/// # Panics
/// Without /proc.
pub fn resident_kib() -> u64 {
    sys::trim_heap();
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number of KiB")
}
