//! What another process lets us have: its TAPs, and its memory.

mod support;

use std::process::{Command, Stdio};

use support::{PATIENCE, Process, drop_capabilities, name, send, state, tap_with, wait_until};
use tapferry_sys::Errno;
use tapferry_sys::namespace;
use tapferry_sys::process_memory::ProcessMemory;
use tapferry_sys::tap::HeldTap;
use tapferry_testbed::link;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::pass;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::tap::{Tap, TapOptions};

/// Above what the kernel gives to any process (PID_MAX_LIMIT).
const NO_PROCESS: i32 = i32::MAX;

/// In a child of a test: it makes a TAP, and holds it.
const CHILD: &str = "TAPFERRY_TEST_HOLDS_A_TAP";

/// A process that does nothing, and inherits a descriptor.
fn sleeper(holds: Stdio) -> Process {
    Process::start(Command::new("sleep").arg("1000").stdin(holds))
}

/// A persistent TAP, and a process that is the only one to hold it.
fn held_tap(interface: &str) -> Process {
    let tap = tap_with(interface, &TapOptions { persistent: true, ..TapOptions::like_qemu() });
    sleeper(tap.duplicate().expect("another descriptor").into())
}

fn own_namespace() -> Option<namespace::NamespaceId> {
    Some(namespace::Namespace::own().expect("there is one").id())
}

#[test]
fn a_held_tap_keeps_its_carrier_and_its_frames_when_its_holder_dies() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let holder = held_tap("tapA");
    let held = HeldTap::of_process(holder.pid(), &name("tapA"), own_namespace()).unwrap();
    assert_eq!(held.len(), 1);
    let told = held[0].description();
    assert_eq!((told.interface.as_str(), told.namespace), ("tapA", own_namespace()));

    send("tapA", 0..10);
    holder.kill();
    send("tapA", 10..20);
    assert!(state("tapA").carrier);
    assert_eq!((state("tapA").tx_packets, state("tapA").tx_dropped), (0, 0), "never read, nothing lost");
    let other = Tap::create("tapA", &TapOptions::like_qemu()).map(drop).unwrap_err();
    assert!(other.to_string().contains("busy"), "{other}");

    drop(held);
    wait_until("the loss of the carrier", || !state("tapA").carrier);
    let guest = Reader::on_tap(tap_with("tapA", &TapOptions::like_qemu()));
    send("tapA", 20..30);
    assert_eq!(guest.wait_for(10, PATIENCE).ranges(0), [(20, 29)]);
}

#[test]
fn a_tap_that_its_holder_would_take_along_stays_while_it_is_held() {
    if std::env::var_os(CHILD).is_some() {
        let Err(error) = pass::become_owner("tapA", 1, &["sleep", "1000"]);
        panic!("{error}");
    }
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let holder = Process::start(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_tap_that_its_holder_would_take_along_stays_while_it_is_held"])
            .env(CHILD, "")
            .stdout(Stdio::null()),
    );
    // Not before: while a thread that is not the first executes a program, its process has no descriptors.
    let program = format!("/proc/{}/comm", holder.pid());
    wait_until("its start", || std::fs::read_to_string(&program).is_ok_and(|name| name == "sleep\n"));
    let held = HeldTap::of_process(holder.pid(), &name("tapA"), own_namespace()).unwrap();
    holder.kill();
    assert!(state("tapA").carrier);
    drop(held);
    wait_until("its going", || !link::exists("tapA"));
}

#[test]
fn a_tap_with_several_queues_is_held_by_all_of_them() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _tap = tap_with("tapA", &TapOptions { queues: 3, ..TapOptions::like_qemu() });
    let _other = tap_with("tapB", &TapOptions::like_qemu());
    let own = std::process::id().try_into().unwrap();
    let held = HeldTap::of_process(own, &name("tapA"), own_namespace()).unwrap();
    assert_eq!(held.len(), 3);
    assert!(held.iter().all(|queue| queue.description().multi_queue));
}

#[test]
fn a_tap_of_the_same_name_elsewhere_is_another() {
    let Some(_here) = Namespace::enter_or_skip() else { return };
    let holder = held_tap("tapA");
    let elsewhere = Namespace::enter_new().unwrap();
    let there = own_namespace();
    drop(elsewhere);
    let error = HeldTap::of_process(holder.pid(), &name("tapA"), there).map(drop).unwrap_err();
    assert_eq!(error.errno, Errno::NODEV);
    assert_eq!(HeldTap::of_process(holder.pid(), &name("tapA"), None).unwrap().len(), 1);
}

#[test]
fn no_tap_no_process_and_no_permission_are_told_apart() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let holder = held_tap("tapA");
    let pid = holder.pid();
    let errno =
        |pid, interface: &str| HeldTap::of_process(pid, &name(interface), None).map(drop).unwrap_err().errno;
    assert_eq!(errno(pid, "tapB"), Errno::NODEV);
    for missing in [NO_PROCESS, 0, -1] {
        assert_eq!(errno(missing, "tapA"), Errno::SRCH, "{missing}");
    }
    let refused = std::thread::spawn(move || {
        drop_capabilities();
        HeldTap::of_process(pid, &name("tapA"), None).map(drop).unwrap_err()
    });
    let refused = refused.join().unwrap();
    assert_eq!(refused.errno, Errno::PERM);
    assert!(refused.to_string().contains(&format!("'tapA of process {pid}'")), "{refused}");
}

/// Where the file of a process's program begins in its memory, behind an address without memory. A process that
/// was just started may not have it there yet.
fn program(pid: i32) -> u64 {
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).expect("it is there");
    let file = file.to_str().expect("a name in ASCII");
    let mut first = None;
    wait_until("the loading of the program", || {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is there");
        first = maps.lines().find(|line| line.ends_with(file)).map(str::to_owned);
        first.is_some()
    });
    let first = first.expect("a mapping");
    let (start, _) = first.split_once('-').expect("its first and last address");
    u64::from_str_radix(start, 16).expect("an address")
}

#[test]
fn the_memory_of_another_process_is_read_whole_or_not_at_all() {
    let process = sleeper(Stdio::null());
    let start = program(process.pid());
    let memory = ProcessMemory::open(process.pid()).unwrap();
    let mut magic = [0; 4];
    memory.read(start, &mut magic).unwrap();
    assert_eq!(&magic, b"\x7fELF");

    for nowhere in [0, start - 2, 1 << 63, u64::MAX] {
        let refused = memory.read(nowhere, &mut magic);
        assert!(matches!(refused, Err(Errno::IO | Errno::FAULT)), "{nowhere:#x}: {refused:?}");
    }
    assert_eq!(memory.read(0, &mut []), Ok(()));
}

#[test]
fn what_the_own_process_writes_is_read_anew_each_time() {
    let memory = ProcessMemory::open(std::process::id().try_into().unwrap()).unwrap();
    let number = std::sync::atomic::AtomicU16::new(0);
    let address = u64::try_from(number.as_ptr().expose_provenance()).unwrap();
    for value in [1_u16, 2, 0xffff] {
        number.store(value, std::sync::atomic::Ordering::Relaxed);
        let mut read = [0; 2];
        memory.read(address, &mut read).unwrap();
        assert_eq!(u16::from_ne_bytes(read), value);
    }
}

#[test]
fn the_memory_ends_with_its_process() {
    let process = sleeper(Stdio::null());
    let start = program(process.pid());
    let memory = ProcessMemory::open(process.pid()).unwrap();
    process.kill();
    assert_eq!(memory.read(start, &mut [0; 4]), Err(Errno::SRCH));
    let missing = ProcessMemory::open(NO_PROCESS).map(drop).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("failed to open the memory for 'process {NO_PROCESS}': No such process (os error 3)")
    );
}

#[test]
fn memory_needs_permission() {
    // Only a process that has capabilities is out of reach of one without.
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let process = sleeper(Stdio::null());
    let pid = process.pid();
    let refused = std::thread::spawn(move || {
        drop_capabilities();
        ProcessMemory::open(pid).map(drop).unwrap_err().errno
    });
    assert!(matches!(refused.join().unwrap(), Errno::ACCESS | Errno::PERM));
}
