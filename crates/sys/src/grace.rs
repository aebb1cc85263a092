//! The kernel's grace period: a wait for every frame that is on its way to a capture socket.
//!
//! A CPU that hands a frame to its capture sockets walks their list under RCU. It may have begun before a
//! socket was added to the list, or have passed a filter that was replaced since; after a grace period no
//! such CPU is left.

use std::time::Duration;

/// `MEMBARRIER_CMD_GLOBAL` (linux/membarrier.h): returns after an RCU grace period (kernel/sched/membarrier.c).
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Waits instead where the system call is refused, as with nohz_full: no CPU takes that long over a frame.
const INSTEAD: Duration = Duration::from_millis(50);

/// Waits until every frame whose delivery began before this call has been delivered: 5 to 20 ms.
pub fn period() {
    // SAFETY: membarrier(2) takes two numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(INSTEAD);
    }
}
