//! The AF_PACKET sockets of a network namespace, as /proc shows them (packet(7), net/packet/af_packet.c).

use std::fs;

use tapferry_sys::{Errno, Error};

/// Of the calling thread's network namespace.
const TABLE: &str = "/proc/thread-self/net/packet";

/// A socket that captures, or only sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketSocket {
    /// Number of the interface it is bound to; 0: all of them.
    pub ifindex: u32,
    /// Ethertype it is hooked for: ETH_P_ALL (3) is all, 0 is none: it only sends.
    pub protocol: u16,
    /// Its inode, as `/proc/PID/fd` shows it: `socket:[INODE]`.
    pub inode: u64,
    /// User id of its owner.
    pub uid: u32,
    /// It is hooked in: bound, and its interface is there.
    pub running: bool,
}

/// The sockets of the calling thread's network namespace. None where the kernel has no AF_PACKET.
pub(crate) fn list() -> Result<Vec<PacketSocket>, Error> {
    match fs::read_to_string(TABLE) {
        Ok(table) => Ok(parse(&table)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::new("read", TABLE, Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

/// One line a socket below a line of headings; a line that is different is left out.
fn parse(table: &str) -> Vec<PacketSocket> {
    table.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<PacketSocket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_address, _references, _kind, protocol, ifindex, running, _memory, uid, inode] = fields[..] else {
        return None;
    };
    Some(PacketSocket {
        // The kernel writes -1 for an interface that was deleted.
        ifindex: ifindex.parse::<i64>().ok()?.try_into().unwrap_or(0),
        protocol: u16::from_str_radix(protocol, 16).ok()?,
        inode: inode.parse().ok()?,
        uid: uid.parse().ok()?,
        running: running != "0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_is_read() {
        let table = "\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   2     1 0      0      24139
00000000f7d1a2b4 3      2    88cc   0     1 10368  1000   4294967297
ffff9a2b3c4d5e6f 3      3    0000   -1    0 0      0      7
";
        let first = PacketSocket { ifindex: 2, protocol: 3, inode: 24139, uid: 0, running: true };
        let second =
            PacketSocket { ifindex: 0, protocol: 0x88cc, inode: 4_294_967_297, uid: 1000, running: true };
        let orphan = PacketSocket { ifindex: 0, protocol: 0, inode: 7, uid: 0, running: false };
        assert_eq!(parse(table), [first, second, orphan]);
    }

    #[test]
    fn what_is_no_line_of_it_is_left_out() {
        for table in
            ["", "sk RefCnt", "sk\n1 2 3\n", "sk\na b c zzzz 2 1 0 0 1\n", "sk\na b c 0003 x 1 0 0 1\n"]
        {
            assert_eq!(parse(table), [], "{table:?}");
        }
    }
}
