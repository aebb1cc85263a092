//! A gate at an interface's egress: only frames that bear a mark get out of it. An eBPF program at tcx (bpf(2), Linux
//! 6.6), before every other program and filter; else the first filter at clsact (cls_bpf, tc-bpf(8)). The kernel asks
//! either before the queueing discipline and before it shows a frame to captures (net/core/dev.c: `__dev_queue_xmit` has
//! sch_handle_egress, and only `xmit_one` has dev_queue_xmit_nit), so no capture sees what is refused.
//!
//! What it refuses is gone, so it must never outlive its owner's attention. It opens when it is dropped, when the
//! process ends, however that happens, and at a deadline that the owner has to move on, in case that it only hangs.
//! A local sender through AF_PACKET is told of a refusal (ENOBUFS); a bridge is not. One with
//! PACKET_QDISC_BYPASS goes around the gate, as it does around captures.
//!
//! A killed process leaves nothing at tcx, and at clsact a filter that lets everything pass, for [`remove_leftover`]. It
//! does not wait for the deadline either: the filter only jumps to the program, through a map that the kernel empties with
//! the process's last descriptor of it.
//!
//! Closing and dropping at tcx wait until every CPU has seen it: mostly 12 to 16 ms, 4 to 38. At clsact they mostly take 0.2
//! to 4 ms, 20 at most. Opening by [`EgressGate::keep_closed_for`] takes 2 to 14 microseconds. (Linux 6.18, two busy CPUs,
//! six times 40 rounds of each.)

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use crate::bpf::{Instruction, JumpTarget, SharedNumber, TCX_EGRESS, TcxLink, load_classifier, tcx_programs};
use crate::clock::monotonic_ns;
use crate::clsact::{self, ClsactFilter};
use crate::error::Error;
use crate::netdev::IfIndex;

/// The loopback interface's number, in every network namespace.
const LOOPBACK: IfIndex = IfIndex(1);

/// What the programs are called, for those who look at them.
const PROGRAM: &str = "tapferry_gate";
/// Both call nothing that is for programs under the GPL only.
const LICENSE: &CStr = c"MIT";

/// What the programs answer: enum tcx_action_base (linux/bpf.h) and TC_ACT_* (linux/pkt_cls.h) have the same numbers.
/// Next: other programs and filters may have a say.
const NEXT: i32 = -1;
const DROP: i32 = 2;

/// By what the kernel lets a gate stand before an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateKind {
    /// A link at tcx.
    Tcx,
    /// A filter at clsact, by the classifier cls_bpf.
    ClsBpf,
}

impl GateKind {
    /// `tcx` or `cls_bpf`: stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::ClsBpf => "cls_bpf",
        }
    }
}

/// A closed gate. At clsact it is to be dropped in the network namespace that it was closed in; elsewhere it only opens.
#[derive(Debug)]
pub struct EgressGate {
    /// For messages.
    interface: String,
    /// Nanoseconds of CLOCK_MONOTONIC from which on everything passes.
    deadline: SharedNumber,
    refused: SharedNumber,
    post: Post,
}

/// Keeps the program where it is.
#[derive(Debug)]
enum Post {
    Tcx { _link: TcxLink },
    ClsBpf { _filter: ClsactFilter, _program: JumpTarget },
}

impl EgressGate {
    /// Closes the way out of an interface in the calling thread's network namespace, but for frames with that
    /// mark, for so long: see [`Self::keep_closed_for`]. At tcx where the kernel has it. Frames that are on their way
    /// meanwhile may still get out.
    ///
    /// Needs CAP_BPF and CAP_NET_ADMIN on the host, not only in a user namespace: `Errno::PERM` without.
    /// `Errno::NODEV`: no such interface. At clsact, `Errno::INVAL`: a filter of another kind has the first place
    /// (priority 1); `Errno::EXIST`: the interface has the queueing discipline `ingress` instead, or a gate of this
    /// process; `Errno::NOENT`: the kernel has no clsact or no cls_bpf.
    pub fn close(ifindex: IfIndex, mark: u32, duration: Duration) -> Result<Self, Error> {
        match Self::close_by(GateKind::Tcx, ifindex, mark, duration) {
            // No such place: tcx came with Linux 6.6.
            Err(error) if error.errno == Errno::INVAL => {
                Self::close_by(GateKind::ClsBpf, ifindex, mark, duration)
            }
            result => result,
        }
    }

    /// The same by one of the two.
    pub fn close_by(kind: GateKind, ifindex: IfIndex, mark: u32, duration: Duration) -> Result<Self, Error> {
        let interface = format!("ifindex {}", ifindex.get());
        let program = Program::load(mark).map_err(Error::on("load the gate's eBPF program", &interface))?;
        program.deadline.set(after(duration)).map_err(Error::on("set the gate's deadline", &interface))?;
        let Program { descriptor, deadline, refused } = program;
        let post = match kind {
            GateKind::Tcx => {
                let link = TcxLink::attach(&descriptor, ifindex, TCX_EGRESS)
                    .map_err(Error::on("close the gate at tcx egress", &interface))?;
                Post::Tcx { _link: link }
            }
            GateKind::ClsBpf => {
                let (target, jump) =
                    load_jump(&descriptor).map_err(Error::on("load the gate's eBPF program", &interface))?;
                Post::ClsBpf { _filter: ClsactFilter::attach(&jump, ifindex)?, _program: target }
            }
        };
        Ok(Self { interface, deadline, refused, post })
    }

    /// By which of the two it stands there.
    pub const fn kind(&self) -> GateKind {
        match self.post {
            Post::Tcx { .. } => GateKind::Tcx,
            Post::ClsBpf { .. } => GateKind::ClsBpf,
        }
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

/// By which of the two this process and this kernel can close a gate. Loads the program, and attaches it nowhere; whether
/// an interface has room at clsact is not known by that. Errors as those of [`EgressGate::close`].
pub fn probe() -> Result<GateKind, Error> {
    let object = "tcx egress";
    Program::load(0).map_err(Error::on("load the gate's eBPF program", object))?;
    // A kernel without tcx loads the program all the same, and knows no such place to ask about.
    match tcx_programs(LOOPBACK, TCX_EGRESS) {
        Ok(_) | Err(Errno::NODEV | Errno::NOENT) => Ok(GateKind::Tcx),
        Err(Errno::INVAL) => Ok(GateKind::ClsBpf),
        Err(errno) => Err(Error::new("ask for the programs", object, errno)),
    }
}

/// Takes away what a killed process of that number has left of a gate at an interface in the calling thread's network
/// namespace: an open one at clsact. `false`: nothing. That of a process that lives would open.
///
/// `Errno::PERM` without CAP_NET_ADMIN.
pub fn remove_leftover(ifindex: IfIndex, process: u32) -> Result<bool, Error> {
    clsact::remove_filter_of(ifindex, process)
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
        let descriptor = load_classifier(&instructions, LICENSE, PROGRAM)?;
        Ok(Self { descriptor, deadline, refused })
    }
}

/// ```text
///     if (skb->mark == mark) goto next;
///     if (bpf_ktime_get_ns() >= *deadline) goto next;
///     __sync_fetch_and_add(refused, 1);
///     return DROP;
/// next:
///     return NEXT;
/// ```
fn instructions(mark: u32, deadline: &SharedNumber, refused: &SharedNumber) -> [Instruction; 15] {
    /// offsetof(struct __sk_buff, mark) (linux/bpf.h).
    const MARK: i16 = 8;
    /// BPF_FUNC_ktime_get_ns (linux/bpf.h): CLOCK_MONOTONIC.
    const KTIME_GET_NS: i32 = 5;

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
        op(0xb7, 2, 0, 0, 1),    // 9: r2 = 1
        op(0xdb, 1, 2, 0, 0),    // 10: lock *(u64 *)(r1 + 0) += r2
        op(0xb7, 0, 0, 0, DROP), // 11: r0 = DROP
        op(0x95, 0, 0, 0, 0),    // 12: exit
        op(0xb7, 0, 0, 0, NEXT), // 13: r0 = NEXT
        op(0x95, 0, 0, 0, 0),    // 14: exit
    ]
}

/// A program that jumps to another as long as the target is there, and lets everything pass afterwards.
///
/// ```text
///     bpf_tail_call(skb, target, 0);
///     return NEXT;
/// ```
fn load_jump(program: &OwnedFd) -> Result<(JumpTarget, OwnedFd), Errno> {
    /// BPF_FUNC_tail_call (linux/bpf.h).
    const TAIL_CALL: i32 = 12;

    let op = Instruction::new;
    let target = JumpTarget::new(program)?;
    let [map_low, map_high] = Instruction::map_of(&target, 2);
    let instructions = [
        map_low, // r2 = target
        map_high,
        op(0xb7, 3, 0, 0, 0),         // r3 = 0
        op(0x85, 0, 0, 0, TAIL_CALL), // r1 is the frame; does not return, unless there is nothing to jump to
        op(0xb7, 0, 0, 0, NEXT),      // r0 = NEXT
        op(0x95, 0, 0, 0, 0),         // exit
    ];
    let jump = load_classifier(&instructions, LICENSE, PROGRAM)?;
    Ok((target, jump))
}
