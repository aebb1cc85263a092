//! The AF_PACKET socket and its options (packet(7), socket(7)).

use std::ffi::{c_int, c_void};
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, checked};
use crate::filter::Program;
use crate::netdev::{self, IfIndex, InterfaceName};
use crate::stamping::SOFTWARE_STAMPS;

/// All protocols, in network byte order as `sll_protocol` wants it.
const ETH_P_ALL_BE: u16 = narrow(libc::ETH_P_ALL).to_be();

/// Whether a bound socket captures or only sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// ETH_P_ALL: every frame of the interface passes the socket's filter.
    Capture,
    /// No protocol: the socket is not hooked into the interface, so senders pay nothing for it.
    SendOnly,
}

/// A non-blocking AF_PACKET socket of type SOCK_RAW, closed when dropped.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

/// What the kernel counted since it was last asked (packet(7), PACKET_STATISTICS).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Frames that passed the filter, the dropped ones among them.
    pub packets: u32,
    /// Frames that found no room.
    pub drops: u32,
}

impl PacketSocket {
    /// Opens a socket that captures nothing until it is bound. Needs CAP_NET_RAW: `Errno::PERM` without.
    pub fn open() -> Result<Self, Errno> {
        // SAFETY: socket(2) takes no pointers.
        let fd = checked(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the descriptor was just opened and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Binds to an interface; also revives a socket whose interface was deleted.
    pub fn bind(&self, ifindex: IfIndex, binding: Binding) -> Result<(), Errno> {
        // SAFETY: a sockaddr_ll is plain data for which all zeros is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = narrow(libc::AF_PACKET);
        address.sll_ifindex = ifindex.0;
        address.sll_protocol = match binding {
            Binding::Capture => ETH_P_ALL_BE,
            Binding::SendOnly => 0,
        };
        // SAFETY: the address outlives the call and its length is its own.
        checked(unsafe {
            libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), socklen(size_of_val(&address)))
        })
        .map(drop)
    }

    /// Frames come and go with a 10-byte virtio-net header in front (PACKET_VNET_HDR): offloads survive.
    pub fn enable_vnet_header(&self) -> Result<(), Errno> {
        self.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)
    }

    /// Auxiliary data with every frame: true length and the VLAN tag beside it (PACKET_AUXDATA).
    pub fn enable_auxdata(&self) -> Result<(), Errno> {
        self.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)
    }

    /// The kernel's software timestamp with every frame, once it makes them: see
    /// [`Stamping`](crate::stamping::Stamping). (SO_TIMESTAMPNS would give a frame that came before the time
    /// of its reading, with nothing to tell the difference.)
    pub fn set_timestamps(&self, wanted: bool) -> Result<(), Errno> {
        let stamps = if wanted { SOFTWARE_STAMPS } else { 0 };
        self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &stamps)
    }

    /// Marks all that is sent (SO_MARK). CAP_NET_RAW suffices since Linux 5.17, before: CAP_NET_ADMIN.
    pub fn set_mark(&self, mark: u32) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_MARK, &mark)
    }

    /// Replaces the capture filter at once, without a gap (SO_ATTACH_FILTER).
    pub fn attach(&self, program: &Program) -> Result<(), Errno> {
        let code = program.instructions();
        let len = u16::try_from(code.len()).map_err(|_| Errno::INVAL)?;
        let fprog = libc::sock_fprog { len, filter: code.as_ptr().cast_mut() };
        // The kernel copies the program and writes nothing through the pointer.
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &fprog)
    }

    /// Asks for room for `bytes` of waiting frames, beyond the system's limit where we may.
    pub fn set_receive_buffer(&self, bytes: u32) -> Result<(), Errno> {
        self.set_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)
    }

    /// Whether there is room for `bytes` of waiting frames.
    pub fn has_receive_buffer(&self, bytes: u32) -> bool {
        // The kernel doubles what is asked for, to account for its own overhead.
        let granted = rustix::net::sockopt::socket_recv_buffer_size(self).unwrap_or(0);
        u32::try_from(granted).is_ok_and(|granted| granted >= bytes)
    }

    /// Asks for room for `bytes` of frames on their way out, beyond the system's limit where we may.
    pub fn set_send_buffer(&self, bytes: u32) -> Result<(), Errno> {
        self.set_buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes)
    }

    /// Promiscuous mode on `ifindex` for as long as this socket lives (PACKET_MR_PROMISC).
    pub fn join_promiscuous(&self, ifindex: IfIndex) -> Result<(), Errno> {
        let request = libc::packet_mreq {
            mr_ifindex: ifindex.0,
            mr_type: narrow(libc::PACKET_MR_PROMISC),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Reads and clears the socket's pending error (SO_ERROR): a ring reports POLLERR until this is done.
    pub fn take_error(&self) -> Result<(), Errno> {
        rustix::net::sockopt::socket_error(&self.fd)?
    }

    /// Reads the kernel's counters, which this clears: the caller adds them up.
    pub fn take_counts(&self) -> Result<KernelCounts, Errno> {
        // Long enough for tpacket_stats_v3; the first two words are the same in every version.
        let mut words = [0_u32; 3];
        let mut len = socklen(size_of_val(&words));
        // SAFETY: the kernel writes at most `len` bytes into an array of that length.
        checked(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                words.as_mut_ptr().cast::<c_void>(),
                &raw mut len,
            )
        })?;
        let [packets, drops, _] = words;
        Ok(KernelCounts { packets, drops })
    }

    pub(crate) fn set<T>(&self, level: c_int, option: c_int, value: &T) -> Result<(), Errno> {
        set_option(&self.fd, level, option, value)
    }

    fn set_buffer(&self, forced: c_int, limited: c_int, bytes: u32) -> Result<(), Errno> {
        // The forced form needs CAP_NET_ADMIN in the initial user namespace; the other is cut to
        // net.core.{r,w}mem_max without a word.
        self.set(libc::SOL_SOCKET, forced, &bytes).or_else(|_| self.set(libc::SOL_SOCKET, limited, &bytes))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a packet socket, naming the interface it is for in the error.
pub(crate) fn open_for(name: &InterfaceName) -> Result<PacketSocket, Error> {
    PacketSocket::open().map_err(Error::on("create AF_PACKET socket", name.as_str()))
}

/// Binds a fresh socket to the interface that has this name now.
pub(crate) fn bind_by_name(
    socket: &PacketSocket,
    name: &InterfaceName,
    binding: Binding,
) -> Result<(), Error> {
    let ifindex = netdev::ifindex(socket, name).map_err(Error::on("resolve ifindex", name.as_str()))?;
    socket.bind(ifindex, binding).map_err(Error::on("bind AF_PACKET socket", name.as_str()))
}

/// Sets an option of any socket (setsockopt(2)). `T` must be the type that the option is documented with.
pub(crate) fn set_option<T>(socket: impl AsFd, level: c_int, option: c_int, value: &T) -> Result<(), Errno> {
    // SAFETY: the pointer and the length are those of one live value; the kernel only reads it.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast::<c_void>(),
            socklen(size_of::<T>()),
        )
    })
    .map(drop)
}

pub(crate) fn socklen(bytes: usize) -> libc::socklen_t {
    // Only ever the size of an option or an address: far below 4 GiB.
    libc::socklen_t::try_from(bytes).unwrap_or(libc::socklen_t::MAX)
}

/// A constant that libc gives as a C int, for a 16-bit field of the kernel's.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is asserted")]
const fn narrow(constant: c_int) -> u16 {
    assert!(0 <= constant && constant <= 0xffff);
    constant as u16
}
