//! A gate at an interface's egress: only frames that bear a mark get out of it. An eBPF program at tcx (bpf(2),
//! Linux 6.6), before every other program and filter, and before captures.
//!
//! What it refuses is gone, so it must never outlive its owner's attention. It opens when it is dropped, when the
//! process ends, however that happens, and at a deadline that the owner has to move on, in case that it only hangs.
//! A local sender through AF_PACKET is told of a refusal (ENOBUFS); a bridge is not. One with
//! PACKET_QDISC_BYPASS goes around the gate, as it does around captures.
//!
//! Closing and dropping wait until every CPU has seen it, for some milliseconds each. Opening by
//! [`EgressGate::keep_closed_for`] takes a microsecond.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use crate::bpf::{Instruction, SharedNumber, TCX_EGRESS, TcxLink, load_classifier, tcx_programs};
use crate::clock::monotonic_ns;
use crate::error::Error;
use crate::netdev::IfIndex;

/// The loopback interface's number, in every network namespace.
const LOOPBACK: IfIndex = IfIndex(1);

/// A closed gate.
#[derive(Debug)]
pub struct EgressGate {
    /// For messages.
    interface: String,
    /// Nanoseconds of CLOCK_MONOTONIC from which on everything passes.
    deadline: SharedNumber,
    refused: SharedNumber,
    /// Keeps the program where it is.
    _link: TcxLink,
}

impl EgressGate {
    /// Closes the way out of an interface in the calling thread's network namespace, but for frames with that
    /// mark, for so long: see [`Self::keep_closed_for`]. Frames that are on their way meanwhile may still get out.
    ///
    /// Needs CAP_BPF and CAP_NET_ADMIN on the host, not only in a user namespace: `Errno::PERM` without.
    /// `Errno::INVAL`: the kernel has no tcx, which came with Linux 6.6. `Errno::NODEV`: no such interface.
    pub fn close(ifindex: IfIndex, mark: u32, duration: Duration) -> Result<Self, Error> {
        let interface = format!("ifindex {}", ifindex.get());
        let program = Program::load(mark).map_err(Error::on("load the gate's eBPF program", &interface))?;
        program.deadline.set(after(duration)).map_err(Error::on("set the gate's deadline", &interface))?;
        let link = TcxLink::attach(&program.descriptor, ifindex, TCX_EGRESS)
            .map_err(Error::on("close the gate at tcx egress", &interface))?;
        let Program { deadline, refused, .. } = program;
        Ok(Self { interface, deadline, refused, _link: link })
    }

    /// From now on for so long, and not longer, whatever was said before. Zero opens it at once, and it may be closed
    /// again.
    pub fn keep_closed_for(&self, duration: Duration) -> Result<(), Error> {
        self.deadline.set(after(duration)).map_err(Error::on("set the gate's deadline", &self.interface))
    }

    /// Frames refused so far. A GSO frame is one.
    pub fn refused(&self) -> u64 {
        // The kernel has no reason to refuse: the map is ours, and its only entry cannot be deleted.
        self.refused.get().unwrap_or(0)
    }
}

impl Drop for EgressGate {
    fn drop(&mut self) {
        // At once; taking the program away, which is next, waits for every CPU. It opens the gate as well, should
        // this fail.
        self.deadline.set(0).ok();
    }
}

/// Whether this process and this kernel can close a gate. Loads the program, and attaches it nowhere. Errors as
/// those of [`EgressGate::close`].
pub fn probe() -> Result<(), Error> {
    let object = "tcx egress";
    Program::load(0).map_err(Error::on("load the gate's eBPF program", object))?;
    // A kernel without tcx loads the program all the same, and knows no such place to ask about.
    match tcx_programs(LOOPBACK, TCX_EGRESS) {
        Ok(_) | Err(Errno::NODEV | Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::new("ask for the programs", object, errno)),
    }
}

fn after(duration: Duration) -> u64 {
    if duration.is_zero() {
        return 0;
    }
    monotonic_ns().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// The program, and the numbers that it shares with us.
struct Program {
    descriptor: OwnedFd,
    deadline: SharedNumber,
    refused: SharedNumber,
}

impl Program {
    fn load(mark: u32) -> Result<Self, Errno> {
        let (deadline, refused) = (SharedNumber::new()?, SharedNumber::new()?);
        let instructions = instructions(mark, &deadline, &refused);
        // It calls nothing that is for programs under the GPL only.
        let descriptor = load_classifier(&instructions, c"MIT")?;
        Ok(Self { descriptor, deadline, refused })
    }
}

/// ```text
///     if (skb->mark == mark) goto next;
///     if (bpf_ktime_get_ns() >= *deadline) goto next;
///     __sync_fetch_and_add(refused, 1);
///     return TCX_DROP;
/// next:
///     return TCX_NEXT;
/// ```
fn instructions(mark: u32, deadline: &SharedNumber, refused: &SharedNumber) -> [Instruction; 15] {
    /// offsetof(struct __sk_buff, mark) (linux/bpf.h).
    const MARK: i16 = 8;
    /// BPF_FUNC_ktime_get_ns (linux/bpf.h): CLOCK_MONOTONIC.
    const KTIME_GET_NS: i32 = 5;
    /// enum tcx_action_base (linux/bpf.h). Next: other programs and filters may have a say.
    const TCX_NEXT: i32 = -1;
    const TCX_DROP: i32 = 2;

    let op = Instruction::new;
    let [deadline_low, deadline_high] = Instruction::address_of(deadline, 1);
    let [refused_low, refused_high] = Instruction::address_of(refused, 1);
    [
        op(0x61, 2, 1, MARK, 0),                // 0: r2 = *(u32 *)(r1 + MARK)
        op(0x16, 2, 0, 11, mark.cast_signed()), // 1: if w2 == mark goto 13
        op(0x85, 0, 0, 0, KTIME_GET_NS),        // 2: r0 = bpf_ktime_get_ns()
        deadline_low,                           // 3: r1 = deadline
        deadline_high,
        op(0x79, 1, 1, 0, 0), // 5: r1 = *(u64 *)(r1 + 0)
        op(0x3d, 0, 1, 6, 0), // 6: if r0 >= r1 goto 13
        refused_low,          // 7: r1 = refused
        refused_high,
        op(0xb7, 2, 0, 0, 1),        // 9: r2 = 1
        op(0xdb, 1, 2, 0, 0),        // 10: lock *(u64 *)(r1 + 0) += r2
        op(0xb7, 0, 0, 0, TCX_DROP), // 11: r0 = TCX_DROP
        op(0x95, 0, 0, 0, 0),        // 12: exit
        op(0xb7, 0, 0, 0, TCX_NEXT), // 13: r0 = TCX_NEXT
        op(0x95, 0, 0, 0, 0),        // 14: exit
    ]
}
