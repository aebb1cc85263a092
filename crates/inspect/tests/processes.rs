//! What can be told of processes: TAPs they hold, sockets that connect them, and what the kernel allows.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::thread::{CapabilitySet, capabilities, gettid, set_capabilities};
use tapferry_inspect::{Privilege, clock, network, privileges, tap_descriptor, unix_peers};
use tapferry_sys::Errno;
use tapferry_sys::namespace::Namespace as Visited;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::tap::{Tap, TapOptions};

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// Descriptors of this process that hold the TAP, as /proc tells. Tests run beside each other in one process, so the
/// name alone must not occur twice.
fn descriptors_of(name: &str) -> Vec<i32> {
    let holds = |fd: &i32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        info.lines().any(|line| line.strip_prefix("iff:\t") == Some(name))
    };
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(holds).collect()
}

/// A process that holds a descriptor of ours as its standard input.
struct Holder(Child);

impl Holder {
    fn start(fd: i32) -> Self {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("a pidfd");
        let duplicate: OwnedFd = pidfd_getfd(own, fd, PidfdGetfdFlags::empty()).expect("a duplicate");
        let child = Command::new("sleep").arg("600").stdin(Stdio::from(duplicate)).spawn();
        let child = child.expect("it starts");
        Self(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().expect("a pid")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

#[test]
fn a_tap_s_descriptor_names_its_interface_and_where_that_is() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let here = Visited::own().unwrap().id();
    let options = TapOptions { queues: 2, ..TapOptions::like_qemu() };
    let _tap = Tap::create("tapDescriptor", &options).unwrap();
    let descriptors = descriptors_of("tapDescriptor");
    assert_eq!(descriptors.len(), 2);
    for fd in descriptors {
        let seen = tap_descriptor(own_pid(), fd).unwrap();
        assert_eq!((seen.interface.as_str(), seen.namespace), ("tapDescriptor", Some(here)));
        assert_eq!(
            (seen.tap, seen.multi_queue, seen.vnet_header, seen.vnet_header_bytes),
            (true, true, true, 12)
        );
    }
}

#[test]
fn the_descriptor_of_another_process_leads_to_a_namespace_that_it_is_not_in() {
    let Some(home) = Namespace::enter_or_skip() else { return };
    let there = Namespace::enter_new().unwrap();
    let elsewhere = Visited::own().unwrap();
    let _tap = Tap::create("tapElsewhere", &TapOptions::default()).unwrap();
    let _back = home.handle().enter().unwrap();
    let holder = Holder::start(descriptors_of("tapElsewhere")[0]);

    let seen = tap_descriptor(holder.pid(), 0).unwrap();
    assert_eq!((seen.interface.as_str(), seen.namespace), ("tapElsewhere", Some(elsewhere.id())));
    assert_eq!((seen.multi_queue, seen.vnet_header, seen.vnet_header_bytes), (false, false, 0));
    let view = network(Some(&elsewhere)).unwrap();
    assert!(view.interfaces.iter().any(|host| host.interface.name == "tapElsewhere"));
    drop(there);
}

#[test]
fn what_is_no_tap_is_told_with_what_to_look_at() {
    let pid = own_pid();
    let file = fs::File::open("/dev/null").unwrap();
    for (pid, fd) in [(pid, file.as_raw_fd()), (pid, 9999), (pid, -1), (i32::MAX, 0), (0, 0), (-1, 0)] {
        let error = tap_descriptor(pid, fd).unwrap_err();
        assert_eq!(error.code(), "NETDEV_NOT_FOUND", "{pid} {fd}: {error}");
        assert!(error.hint().contains("/proc/"), "{error}");
    }
    if let Ok(unattached) = fs::File::options().read(true).write(true).open("/dev/net/tun") {
        let error = tap_descriptor(pid, unattached.as_raw_fd()).unwrap_err();
        assert!(error.to_string().contains("no interface yet"), "{error}");
    }
}

fn inode(socket: &impl AsRawFd) -> u32 {
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("/proc is mounted");
    let text = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
    text.and_then(|text| text.parse().ok()).expect("a socket's inode")
}

#[test]
fn connected_unix_sockets_know_each_other_and_their_listener_s_path() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let directory = std::env::temp_dir().join(format!("tapferry-inspect-{}", gettid().as_raw_nonzero()));
    fs::create_dir(&directory).unwrap();
    let path = directory.join("monitor.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let (server, _) = listener.accept().unwrap();
    fs::remove_dir_all(&directory).unwrap();

    let peers = unix_peers(None).unwrap();
    let end = |inode: u32| peers.iter().find(|end| end.inode == inode).cloned().expect("it is listed");
    let (near, far) = (end(inode(&client)), end(inode(&server)));
    assert_eq!((near.peer, near.path), (inode(&server), None));
    assert_eq!((far.peer, far.path.as_deref()), (inode(&client), path.to_str()));
    assert!(peers.iter().all(|end| end.inode != inode(&listener)), "a listener has no peer");
}

#[test]
fn unix_sockets_belong_to_a_namespace() {
    let Some(home) = Namespace::enter_or_skip() else { return };
    let there = Namespace::enter_new().unwrap();
    let elsewhere = Visited::own().unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let _back = home.handle().enter().unwrap();
    let listed = |namespace| unix_peers(namespace).unwrap().iter().any(|end| end.inode == inode(&one));
    assert_eq!((listed(None), listed(Some(&elsewhere))), (false, true));
    drop(there);
}

#[test]
fn every_privilege_is_tried_and_nothing_stays_open() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let probes = privileges(None).unwrap();
    let tried: Vec<_> = probes.iter().map(|probe| probe.what).collect();
    assert_eq!(tried, [Privilege::PacketSocket, Privilege::Mark, Privilege::ReceiveBuffer, Privilege::Ring]);
    for probe in probes {
        // Refused in a user namespace, even to its root.
        if probe.what != Privilege::ReceiveBuffer {
            assert_eq!(probe.refusal, None);
        }
    }
    assert_eq!(network(None).unwrap().packet_sockets, []);
}

/// Gives capabilities up, in this thread and those that it starts.
fn without(given_up: CapabilitySet) {
    let mut sets = capabilities(None).expect("our own");
    sets.effective -= given_up;
    sets.permitted -= given_up;
    sets.inheritable -= given_up;
    set_capabilities(None, sets).expect("fewer than before");
}

#[test]
fn without_cap_net_raw_there_is_no_packet_socket_and_nothing_else_either() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    without(CapabilitySet::NET_RAW);
    for probe in privileges(None).unwrap() {
        let refusal = probe.refusal.expect("it is refused");
        assert_eq!(refusal.errno, Errno::PERM, "{:?}", probe.what);
        assert!(refusal.to_string().contains("AF_PACKET"), "{refusal}");
    }
}

#[test]
fn without_cap_net_admin_only_the_large_buffer_is_refused() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    without(CapabilitySet::NET_ADMIN);
    for probe in privileges(None).unwrap() {
        assert_eq!(probe.refusal.is_some(), probe.what == Privilege::ReceiveBuffer, "{probe:?}");
    }
}

#[test]
fn the_view_of_a_namespace_needs_no_privilege_and_entering_another_does() {
    let Some(home) = Namespace::enter_or_skip() else { return };
    let there = Namespace::enter_new().unwrap();
    let elsewhere = Visited::own().unwrap();
    let _tap = Tap::create("tapA", &TapOptions::like_qemu()).unwrap();
    let _back = home.handle().enter().unwrap();
    let elsewhere_before = network(Some(&elsewhere)).unwrap();
    assert_eq!(elsewhere_before.interfaces.len(), 2);
    let before = network(None).unwrap();
    without(CapabilitySet::all());
    assert_eq!(network(None), Ok(before));
    let error = network(Some(&elsewhere)).unwrap_err();
    assert_eq!(error.code(), "PERMISSION");
    assert!(error.hint().contains("CAP_SYS_ADMIN"), "{error}");
    drop(there);
}

#[test]
fn a_process_with_more_privileges_may_not_be_looked_into() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    without(CapabilitySet::all());
    assert_eq!(tap_descriptor(1, 0).unwrap_err().code(), "PERMISSION");
}

#[test]
fn clocks_are_told_without_any_privilege() {
    std::thread::spawn(|| {
        without(CapabilitySet::all());
        let clock = clock().unwrap();
        assert!(clock.jiffy_ns > 0, "{clock:?}");
    })
    .join()
    .unwrap();
}
