//! The testbed's only unsafe code: namespaces, TAP ioctls and AF_PACKET sockets, each safe to call.
//!
//! Written apart from `tapferry-sys` on purpose: the testbed judges that crate.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_long, c_ulong};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The longest frame a socket or TAP hands out: 64 KiB of GSO payload, its headers, a virtio-net header.
pub(crate) const FRAME_MAX: usize = 72 * 1024;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("the types of socket calls are small")
}

/// Moves the calling thread into a new, empty network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET changes only which network namespace this thread sees; no memory is involved,
    // and descriptors keep the namespace they were opened in.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Wakes this thread's sleeps within microseconds of their time instead of the default 50.
pub(crate) fn set_fine_timer_slack() -> io::Result<()> {
    let nanoseconds: c_ulong = 1;
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) }).map(drop)
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain old data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    Ok(request)
}

/// Opens `/dev/net/tun` and attaches it to the TAP `name`, which is created when it does not exist.
/// The descriptor does not block.
pub(crate) fn tap_open(name: &str, flags: c_int) -> io::Result<OwnedFd> {
    let mut request = interface_request(name)?;
    let tun: File =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | flags;
    request.ifr_ifru.ifru_flags =
        i16::try_from(flags).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(tun.into())
}

/// TUNSETOFFLOAD: the `TUN_F_*` bits that the holder of the descriptor accepts.
pub(crate) fn tap_set_offload(tap: BorrowedFd<'_>, offloads: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(offloads)) }).map(drop)
}

/// TUNSETVNETHDRSZ: the length of the virtio-net header before each frame, in bytes.
pub(crate) fn tap_set_vnet_length(tap: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, which outlives the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const bytes) }).map(drop)
}

/// BPF_MAP_FREEZE (linux/bpf.h) on the eBPF map that has that descriptor.
pub(crate) fn bpf_map_freeze(map: c_int) -> io::Result<()> {
    const MAP_FREEZE: c_long = 22;
    // SAFETY: the command reads one number, which outlives the call, and refuses what is no descriptor of a map.
    let result = unsafe { libc::syscall(libc::SYS_bpf, MAP_FREEZE, &raw const map, size_of::<c_int>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// TUNSETPERSIST: whether the TAP outlives its last descriptor.
pub(crate) fn tap_set_persistent(tap: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETPERSIST, c_ulong::from(persistent)) }).map(drop)
}

/// TUNSETCARRIER: what the interface shows as its carrier.
pub(crate) fn tap_set_carrier(tap: BorrowedFd<'_>, carrier: bool) -> io::Result<()> {
    let carrier = c_int::from(carrier);
    // SAFETY: TUNSETCARRIER reads one int, which outlives the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETCARRIER, &raw const carrier) }).map(drop)
}

/// A raw packet socket that is not bound and receives nothing yet.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket() touches no memory.
    let descriptor = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The index of an interface, by SIOCGIFINDEX in the namespace of `socket`.
pub(crate) fn interface_index(socket: BorrowedFd<'_>, name: &str) -> io::Result<c_int> {
    let mut request = interface_request(name)?;
    // SAFETY: SIOCGIFINDEX reads and writes one ifreq, which outlives the call; on success the kernel has
    // written the index into the union.
    unsafe {
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request))?;
        Ok(request.ifr_ifru.ifru_ifindex)
    }
}

/// Binds a packet socket to an interface. `protocol` is an ethertype; 0 receives nothing, ETH_P_ALL all.
pub(crate) fn packet_bind(socket: BorrowedFd<'_>, index: c_int, protocol: u16) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain old data for which all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("AF_PACKET is 17");
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index;
    // SAFETY: the address outlives the call and its length is its own.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length::<libc::sockaddr_ll>()) };
    check(result).map(drop)
}

/// An int option of a socket.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the value outlives the call and its length is its own.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length::<c_int>())
    };
    check(result).map(drop)
}

/// Receives every frame of the interface, also those for other addresses, while the socket is open.
pub(crate) fn packet_set_promiscuous(socket: BorrowedFd<'_>, index: c_int) -> io::Result<()> {
    // SAFETY: packet_mreq is plain old data for which all zeros is a valid value.
    let mut request: libc::packet_mreq = unsafe { zeroed() };
    request.mr_ifindex = index;
    request.mr_type = u16::try_from(libc::PACKET_MR_PROMISC).expect("PACKET_MR_PROMISC is 1");
    // SAFETY: the request outlives the call and its length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length::<libc::packet_mreq>(),
        )
    };
    check(result).map(drop)
}

/// The frames lost because this socket's buffer was full, since the last call.
pub(crate) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: tpacket_stats is plain old data for which all zeros is a valid value.
    let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
    let mut size = length::<libc::tpacket_stats>();
    // SAFETY: both outlive the call, and `size` is the room behind the pointer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut size,
        )
    };
    check(result)?;
    Ok(statistics.tp_drops)
}

/// One frame as a packet socket hands it out.
pub(crate) struct Received {
    /// Bytes written into the buffer.
    pub(crate) length: usize,
    /// `sll_pkttype`: PACKET_HOST, PACKET_OUTGOING and so on.
    pub(crate) packet_type: u8,
    /// The VLAN tag that the kernel holds beside the frame: TPID and TCI.
    pub(crate) tag: Option<(u16, u16)>,
}

/// Reads one frame; PACKET_AUXDATA must be on for the VLAN tag to be known.
pub(crate) fn packet_receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    #[repr(C, align(8))]
    struct Control([u8; 128]);
    let mut control = Control([0; 128]);
    // SAFETY: both are plain old data for which all zeros is a valid value.
    let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = length::<libc::sockaddr_ll>();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: every pointer in the message leads to memory that outlives the call, each with its own length.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    if length > buffer.len() {
        return Err(io::Error::other(format!("a frame of {length} bytes is longer than the read buffer")));
    }
    let mut tag = None;
    // SAFETY: the kernel has filled `control` with msg_controllen bytes of well-formed control messages, which
    // is what the CMSG functions walk; PACKET_AUXDATA carries one tpacket_auxdata, read unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                let auxiliary = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    tag = Some((auxiliary.tp_vlan_tpid, auxiliary.tp_vlan_tci));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Received { length, packet_type: address.sll_pkttype, tag })
}

/// How far a TCP connection has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpProgress {
    /// Bytes that the peer has acknowledged; its SYN counts as one.
    pub(crate) acknowledged: u64,
    /// Segments sent again so far.
    pub(crate) retransmissions: u32,
}

/// TCP_INFO of a connected socket.
pub(crate) fn tcp_progress(socket: BorrowedFd<'_>) -> io::Result<TcpProgress> {
    /// Where `tcpi_total_retrans` and `tcpi_bytes_acked` are in `struct tcp_info` (linux/tcp.h).
    const RETRANSMISSIONS: usize = 100;
    const ACKNOWLEDGED: usize = 120;
    let mut info = [0_u8; 256];
    let mut size = length::<[u8; 256]>();
    // SAFETY: both outlive the call, and `size` is the room behind the pointer. The kernel writes at most so much.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    check(result)?;
    let field = |at: usize, length: usize| &info[at..at + length];
    Ok(TcpProgress {
        acknowledged: u64::from_ne_bytes(field(ACKNOWLEDGED, 8).try_into().expect("8 bytes")),
        retransmissions: u32::from_ne_bytes(field(RETRANSMISSIONS, 4).try_into().expect("4 bytes")),
    })
}

/// Gives the memory that the allocator keeps for later back to the system (malloc_trim(3)).
pub(crate) fn trim_heap() {
    // SAFETY: malloc_trim only touches memory that nobody has allocated.
    unsafe { libc::malloc_trim(0) };
}
