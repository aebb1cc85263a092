//! How soon the calling thread gets a processor (sched(7)).

use rustix::io::Errno;

use crate::error::checked;

/// Before all others of the fair scheduler.
const FIRST: i32 = -20;
/// The least time slice that Linux grants: since 6.12 a thread that asks for less than the one that runs need not wait
/// until that one's slice, mostly 3 ms, is over. Earlier versions ignore it.
const SLICE_NS: u64 = 100_000;

/// Lets the calling thread run before others when it has something to do, and not for long at a time. It stays one among
/// others: a thread that never sleeps takes its share, and no more (unlike those of SCHED_FIFO).
///
/// `Errno::PERM` without CAP_SYS_NICE or a limit (RLIMIT_NICE) that allows it.
pub fn go_first() -> Result<(), Errno> {
    // SAFETY: all zeros is a valid sched_attr: SCHED_OTHER.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = u32::try_from(size_of_val(&attributes)).unwrap_or(0);
    attributes.sched_nice = FIRST;
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: it is read, and only for the length of the call; 0 is the calling thread.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use tapferry_testbed::namespace::Skip;

    use super::*;

    /// The nice value of the calling thread: the 19th field of proc_pid_stat(5), and the 17th behind its name.
    fn niceness() -> String {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().to_owned()
    }

    #[test]
    fn it_is_the_calling_thread_alone_that_goes_first() {
        let before = niceness();
        let inside = thread::spawn(|| go_first().map(|()| niceness())).join().unwrap();
        match inside {
            Ok(niceness) => assert_eq!(niceness, FIRST.to_string()),
            Err(Errno::PERM) => Skip("CAP_SYS_NICE is missing".into()).announce(),
            Err(errno) => panic!("{errno}"),
        }
        assert_eq!(niceness(), before);
    }
}
