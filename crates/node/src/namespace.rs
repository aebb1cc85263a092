//! Network namespaces by their path, as JavaScript names them.

use std::path::Path;

use tapferry_sys::Errno;
use tapferry_sys::namespace::Namespace;

use crate::error::Failure;

/// Opens a network namespace by its path.
pub(crate) fn open_namespace(path: &str) -> Result<Namespace, Failure> {
    Namespace::open(Path::new(path)).map_err(|error| match error.errno {
        Errno::NOENT => Failure::new(
            "NETNS_NOT_FOUND",
            &format!("network namespace '{path}' not found"),
            &"see `ip netns` for named ones; /proc/PID/ns/net is that of a process",
        ),
        Errno::INVAL => Failure::new(
            "NETNS_NOT_FOUND",
            &format!("'{path}' is not a network namespace"),
            &"see `ip netns` for named ones; /proc/PID/ns/net is that of a process",
        ),
        Errno::ACCESS | Errno::PERM => Failure::new(
            "PERMISSION",
            &error,
            &"the network namespace of another user's process is opened with CAP_SYS_PTRACE: run it as root",
        ),
        _ => Failure::new("SYSTEM", &error, &"`dmesg` may have the kernel's view"),
    })
}
