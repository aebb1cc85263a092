//! eBPF programs at tcx, which run before every filter and which `tc` does not show.

use std::ffi::{c_int, c_long};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tapferry_sys::link::Links;
use tapferry_sys::netdev::{IfIndex, InterfaceName};
use tapferry_sys::traffic_control::{Direction, TrafficControl};
use tapferry_testbed::namespace::{Namespace, Skip};
use tapferry_testbed::tap::{Tap, TapOptions};

const PROGRAM_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;

/// The parts of union bpf_attr (linux/bpf.h) that are used here.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    /// Log level, size, buffer and what follows: zeros.
    rest: [u64; 12],
}

#[repr(C)]
struct Create {
    program: c_int,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    rest: [u64; 4],
}

fn bpf<T>(command: c_long, request: &T) -> Result<OwnedFd, Skip> {
    // SAFETY: the kernel reads one request of the given length, and what its pointers lead to; all of it outlives
    // the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>()) };
    let fd = c_int::try_from(fd).expect("a descriptor");
    if fd < 0 {
        return Err(Skip(format!("no eBPF program at tcx: {}", std::io::Error::last_os_error())));
    }
    // SAFETY: the descriptor was just opened and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program that leaves every frame to the next: `r0 = TCX_NEXT (-1); exit`.
fn load() -> Result<OwnedFd, Skip> {
    let instructions: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
    let address = |pointer: *const u8| u64::try_from(pointer.expose_provenance()).expect("64 bits");
    let request = Load {
        kind: 3, // BPF_PROG_TYPE_SCHED_CLS
        count: 2,
        instructions: address(instructions.as_ptr().cast()),
        license: address(c"GPL".as_ptr().cast()),
        rest: [0; 12],
    };
    bpf(PROGRAM_LOAD, &request)
}

fn attach(program: &OwnedFd, ifindex: IfIndex, attach_type: u32) -> Result<OwnedFd, Skip> {
    let request =
        Create { program: program.as_raw_fd(), ifindex: ifindex.get(), attach_type, flags: 0, rest: [0; 4] };
    bpf(LINK_CREATE, &request)
}

fn id(program: &OwnedFd) -> u32 {
    let info =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).expect("/proc is mounted");
    let id = info.lines().find_map(|line| line.strip_prefix("prog_id:")).expect("a program has an id");
    id.trim().parse().expect("a number")
}

#[test]
fn programs_at_tcx_are_told_with_their_direction_and_id() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _tap = Tap::create("tapA", &TapOptions::default()).unwrap();
    let name = InterfaceName::new("tapA").unwrap();
    let ifindex = Links::open().unwrap().by_name(&name).unwrap().expect("it is there").ifindex;
    let filters = || TrafficControl::open().unwrap().filters(ifindex).unwrap();
    assert_eq!(filters(), []);

    let programs = match (load(), load(), load()) {
        (Ok(a), Ok(b), Ok(c)) => [a, b, c],
        (Err(skip), ..) | (_, Err(skip), _) | (.., Err(skip)) => return skip.announce(),
    };
    let places = [TCX_INGRESS, TCX_EGRESS, TCX_EGRESS];
    let links: Result<Vec<_>, Skip> =
        programs.iter().zip(places).map(|(program, place)| attach(program, ifindex, place)).collect();
    let links = match links {
        Ok(links) => links,
        Err(skip) => return skip.announce(),
    };
    let seen: Vec<_> = filters()
        .into_iter()
        .map(|filter| (filter.direction, filter.kind, filter.priority, filter.program_id))
        .collect();
    let [ingress, first, second] = programs.each_ref().map(|program| Some(id(program)));
    let expected = [
        (Direction::Ingress, "tcx".to_owned(), 0, ingress),
        (Direction::Egress, "tcx".to_owned(), 0, first),
        (Direction::Egress, "tcx".to_owned(), 1, second),
    ];
    assert_eq!(seen, expected);
    drop(links);
    assert_eq!(filters(), []);
}
