//! What an interface leaves to its hardware or driver, by the kernel's own names (ethtool(8), `-k`; the ioctl
//! SIOCETHTOOL, linux/ethtool.h).

use std::ffi::c_void;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::{Error, checked};
use crate::netdev::{InterfaceName, request_about};

/// Features that a device has (ETHTOOL_GFEATURES).
const GET_FEATURES: u32 = 0x3a;
/// Strings of a set (ETHTOOL_GSTRINGS).
const GET_STRINGS: u32 = 0x1b;
/// How many strings a set has (ETHTOOL_GSSET_INFO).
const GET_SET_INFO: u32 = 0x37;
/// The set of the features' names (ETH_SS_FEATURES).
const FEATURES: u32 = 4;
/// Bytes of a string, the zero at its end included (ETH_GSTRING_LEN).
const STRING: usize = 32;
/// Features in one block of the kernel's answer.
const BLOCK: usize = 32;
/// Twice what kernels have today: 64 features.
const BLOCKS: usize = 4;

/// What TUNSETOFFLOAD (linux/if_tun.h) switches on, by the kernel's names of it. UFO has none any more, and USO one for
/// both versions of IP.
const TUN_FLAGS: [(u32, &str); 5] = [
    (libc::TUN_F_CSUM, "tx-checksum-ip-generic"),
    (libc::TUN_F_TSO4, "tx-tcp-segmentation"),
    (libc::TUN_F_TSO6, "tx-tcp6-segmentation"),
    (libc::TUN_F_TSO_ECN, "tx-tcp-ecn-segmentation"),
    (libc::TUN_F_USO4 | libc::TUN_F_USO6, "tx-udp-segmentation"),
];

/// Asks for the offloads of interfaces in one network namespace.
#[derive(Debug)]
pub struct Offloads {
    socket: OwnedFd,
    /// The same for all interfaces, but only to be had from one; empty until then.
    names: Vec<String>,
}

#[repr(C)]
struct SetInfo {
    command: u32,
    reserved: u32,
    mask: u64,
    length: u32,
}

#[repr(C)]
struct Features {
    command: u32,
    /// How many blocks there is room for.
    size: u32,
    blocks: [FeatureBlock; BLOCKS],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FeatureBlock {
    available: u32,
    requested: u32,
    active: u32,
    never_changed: u32,
}

impl Offloads {
    /// For the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(Error::on("open a socket", "SIOCETHTOOL"))?;
        Ok(Self { socket, names: Vec::new() })
    }

    /// The names of what is active on an interface, in the kernel's order. `Errno::NODEV` when there is none of
    /// that name.
    pub fn active(&mut self, name: &InterfaceName) -> Result<Vec<&str>, Error> {
        if self.names.is_empty() {
            self.names = self.read_names(name).map_err(Error::on("read feature names", name.as_str()))?;
        }
        let blocks = self.read_blocks(name).map_err(Error::on("read offloads", name.as_str()))?;
        let is_active = |index: usize| {
            blocks.get(index / BLOCK).is_some_and(|block| block.active & (1 << (index % BLOCK)) != 0)
        };
        let names = self.names.iter().enumerate();
        Ok(names.filter_map(|(index, feature)| is_active(index).then_some(feature.as_str())).collect())
    }

    /// Those of a TAP that its holder has allowed, as bits of TUNSETOFFLOAD (`TUN_F_*`, linux/if_tun.h). UFO cannot be
    /// told.
    pub fn tun_flags(&mut self, name: &InterfaceName) -> Result<u32, Error> {
        let active = self.active(name)?;
        Ok(TUN_FLAGS.iter().filter(|(_, name)| active.contains(name)).fold(0, |all, (flag, _)| all | flag))
    }

    fn read_names(&self, name: &InterfaceName) -> Result<Vec<String>, Errno> {
        let mut info = SetInfo { command: GET_SET_INFO, reserved: 0, mask: 1 << FEATURES, length: 0 };
        // SAFETY: SetInfo is a struct ethtool_sset_info with room for the one length that is asked for.
        unsafe { self.ask(name, (&raw mut info).cast()) }?;
        let count = usize::try_from(info.length).map_err(|_| Errno::PROTO)?;
        // command, string_set, len; then the strings.
        let head = 3 * size_of::<u32>();
        let mut words = vec![0_u32; (head + count * STRING) / size_of::<u32>()];
        words[..3].copy_from_slice(&[GET_STRINGS, FEATURES, info.length]);
        // SAFETY: a struct ethtool_gstrings with room for the strings that the kernel has just counted; their
        // number does not change while it runs.
        unsafe { self.ask(name, words.as_mut_ptr().cast()) }?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).skip(head).collect();
        Ok(bytes.chunks(STRING).map(crate::netlink::text).collect())
    }

    fn read_blocks(&self, name: &InterfaceName) -> Result<[FeatureBlock; BLOCKS], Errno> {
        let size = u32::try_from(BLOCKS).map_err(|_| Errno::INVAL)?;
        let mut features = Features { command: GET_FEATURES, size, blocks: Default::default() };
        // SAFETY: a struct ethtool_gfeatures with room for the blocks that its second field promises.
        unsafe { self.ask(name, (&raw mut features).cast()) }?;
        Ok(features.blocks)
    }

    /// # Safety
    ///
    /// `question` must lead to a structure that its first word, the command, says, with room for the answer.
    unsafe fn ask(&self, name: &InterfaceName, question: *mut c_void) -> Result<(), Errno> {
        let mut request = request_about(name);
        request.ifr_ifru.ifru_data = question.cast();
        // SAFETY: the kernel reads the name, and reads and writes what the pointer leads to, as promised by the
        // caller.
        checked(unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })
            .map(drop)
    }
}
