//! How soon the calling thread gets a processor (sched(7)).

use rustix::io::Errno;

use crate::error::checked;

/// Before all others of the fair scheduler.
const FIRST: i32 = -20;
/// The least time slice that Linux grants: since 6.12 a thread that asks for less than the one that runs need not wait
/// until that one's slice, mostly 3 ms, is over. Earlier versions ignore it.
const SLICE_NS: u64 = 100_000;

/// Lets the calling thread run before others when it has something to do, and not for long at a time. It stays one among
/// others: a thread that never sleeps takes its share, and no more. One that has a real-time policy keeps it, which is more.
///
/// `Errno::PERM` without CAP_SYS_NICE or a limit (RLIMIT_NICE) that allows it: then it has short slices, and no more.
pub fn go_first() -> Result<(), Errno> {
    // SAFETY: it takes a number; 0 is the calling thread.
    let policy = checked(unsafe { libc::sched_getscheduler(0) })?;
    if [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].contains(&policy) {
        return Ok(());
    }
    // SAFETY: it takes numbers; PRIO_PROCESS and 0 are the calling thread. One that fails tells the usual value.
    let present = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    take_place(FIRST).inspect_err(|_| {
        take_place(present).ok();
    })
}

/// With that nice value, and the shortest slices.
fn take_place(nice: i32) -> Result<(), Errno> {
    // SAFETY: all zeros is a valid sched_attr: SCHED_OTHER.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = u32::try_from(size_of_val(&attributes)).unwrap_or(0);
    attributes.sched_nice = nice;
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: it is read, and only for the length of the call; 0 is the calling thread.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    use tapferry_testbed::namespace::Skip;

    use super::*;

    fn attributes() -> libc::sched_attr {
        // SAFETY: all zeros is a valid sched_attr.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = u32::try_from(size_of_val(&attributes)).unwrap();
        // SAFETY: as many bytes are written as it is told there are; 0 is the calling thread.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        assert_eq!(got, 0);
        attributes
    }

    /// Linux tells the slice since 6.12; before that it has none to tell.
    fn has_short_slices(attributes: &libc::sched_attr) -> bool {
        [0, SLICE_NS].contains(&attributes.sched_runtime)
    }

    #[test]
    fn it_is_the_calling_thread_alone_that_goes_first() {
        let before = attributes();
        match thread::spawn(|| go_first().map(|()| attributes())).join().unwrap() {
            Ok(inside) => {
                assert_eq!(inside.sched_nice, FIRST);
                assert!(has_short_slices(&inside), "{}", inside.sched_runtime);
            }
            Err(Errno::PERM) => Skip("CAP_SYS_NICE is missing".into()).announce(),
            Err(errno) => panic!("{errno}"),
        }
        assert_eq!(attributes().sched_nice, before.sched_nice);
        assert_eq!(attributes().sched_runtime, before.sched_runtime);
    }

    #[test]
    fn without_the_privilege_slices_are_short_all_the_same() {
        let inside = thread::spawn(|| {
            let had = capabilities(None).unwrap();
            let effective = had.effective - CapabilitySet::SYS_NICE;
            set_capabilities(None, CapabilitySets { effective, ..had }).unwrap();
            (attributes().sched_nice, go_first(), attributes())
        });
        let (nice, result, after) = inside.join().unwrap();
        assert_eq!((result, after.sched_nice), (Err(Errno::PERM), nice));
        assert!(has_short_slices(&after), "{}", after.sched_runtime);
    }

    #[test]
    fn a_real_time_policy_is_kept() {
        let inside = thread::spawn(|| {
            let wanted = libc::sched_param { sched_priority: 10 };
            // SAFETY: it is read, and only for the length of the call; 0 is the calling thread.
            let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const wanted) } != 0;
            (refused, go_first(), attributes())
        });
        let (refused, result, after) = inside.join().unwrap();
        if refused {
            return Skip("SCHED_FIFO is refused".into()).announce();
        }
        assert_eq!((result, after.sched_priority), (Ok(()), 10));
        assert_eq!(i32::try_from(after.sched_policy), Ok(libc::SCHED_FIFO));
    }
}
