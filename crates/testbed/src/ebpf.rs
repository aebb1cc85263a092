//! The eBPF maps of this process, for tests of what happens when they can no longer be written to.

use std::fs;

use crate::error::{Context, Result};
use crate::sys;

/// Has the kernel refuse what this process and others would change in the maps that this one has now. Programs go on
/// with them, and they can be read.
///
/// # Errors
/// EPERM without CAP_BPF, on some kernels.
pub fn freeze_maps() -> Result<()> {
    let directory = "/proc/self/fdinfo";
    for entry in fs::read_dir(directory).on("read", directory)? {
        let path = entry.on("read", directory)?.path();
        // One that has been closed meanwhile was no map that matters.
        let info = fs::read_to_string(&path).unwrap_or_default();
        let is_warm = info.lines().any(|line| line.split_whitespace().eq(["frozen:", "0"]));
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(map) = number.filter(|_| is_warm) {
            sys::bpf_map_freeze(map).on("bpf(BPF_MAP_FREEZE)", path.display().to_string())?;
        }
    }
    Ok(())
}
