//! Whole tables of the kernel's by netlink (netlink(7), NLM_F_DUMP), and changes, in the network namespace of the
//! calling thread.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator, parse_i32,
};
use netlink_sys::Socket;
use rustix::io::Errno;

/// Room for one datagram; the kernel fills at most 32 KiB of what it is offered.
const DATAGRAM: usize = 64 * 1024;
/// How often a table that changed while it was read is read again.
const ATTEMPTS: u32 = 5;

/// One row of a table: a message without its netlink header.
pub(crate) type Row = Vec<u8>;

/// Reads a table. A table that keeps changing is given as it was read last.
pub(crate) fn dump<M: NetlinkSerializable>(protocol: isize, request: M) -> Result<Vec<Row>, Errno> {
    let bytes = serialized(request, NLM_F_REQUEST | NLM_F_DUMP);
    let mut table = Table::default();
    for _ in 0..ATTEMPTS {
        table = read(protocol, &bytes)?;
        if !table.torn {
            break;
        }
    }
    Ok(table.rows)
}

/// Has something changed, and waits until the kernel has done so or refused.
pub(crate) fn change<M: NetlinkSerializable>(protocol: isize, request: M) -> Result<(), Errno> {
    read(protocol, &serialized(request, NLM_F_REQUEST | NLM_F_ACK)).map(drop)
}

/// Has something made that is not there yet: `Errno::EXIST` otherwise.
pub(crate) fn create<M: NetlinkSerializable>(protocol: isize, request: M) -> Result<(), Errno> {
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    read(protocol, &serialized(request, flags)).map(drop)
}

fn serialized<M: NetlinkSerializable>(request: M, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(request));
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// The table changed meanwhile: a row may be missing, or be there twice.
    torn: bool,
    complete: bool,
}

impl Table {
    /// Takes in the messages of one datagram.
    fn add(&mut self, mut datagram: &[u8]) -> Result<(), Errno> {
        while !datagram.is_empty() && !self.complete {
            let message = NetlinkBuffer::new_checked(datagram).map_err(|_| Errno::PROTO)?;
            self.torn |= message.flags() & NLM_F_DUMP_INTR != 0;
            match message.message_type() {
                // Both begin with an errno below zero; or zero, for the end of a table.
                NLMSG_DONE | NLMSG_ERROR => {
                    let code = message.payload().get(..4).and_then(|code| parse_i32(code).ok()).unwrap_or(0);
                    if code < 0 {
                        return Err(Errno::from_raw_os_error(code.saturating_neg()));
                    }
                    self.complete = true;
                }
                _ => self.rows.push(message.payload().to_vec()),
            }
            let length = usize::try_from(message.length()).map_err(|_| Errno::PROTO)?;
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn read(protocol: isize, request: &[u8]) -> Result<Table, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let socket = Socket::new(protocol).map_err(errno)?;
    socket.send(request, 0).map_err(errno)?;
    let mut table = Table::default();
    let mut buffer = Vec::with_capacity(DATAGRAM);
    while !table.complete {
        buffer.clear();
        socket.recv(&mut buffer, 0).map_err(errno)?;
        table.add(&buffer)?;
    }
    Ok(table)
}

/// The attributes of a message or of another attribute, up to the first that cannot be read.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute: NlaBuffer<&[u8]>| {
        let (kind, length) = (attribute.kind(), attribute.length());
        let whole = attribute.into_inner();
        // Type and length, four bytes, are counted in an attribute's length.
        (kind, whole.get(4..usize::from(length)).unwrap_or_default())
    })
}

/// A string attribute, without the zero byte at its end.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A number of 32 bits in the order of this machine; zero for an attribute of another length.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_ne_bytes).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn rows_are_collected_up_to_the_end() {
        let mut table = Table::default();
        table.add(&[message(16, 2, b"first"), message(16, 2, b"next")].concat()).unwrap();
        assert!(!table.complete);
        table.add(&message(NLMSG_DONE, 2, &0_i32.to_ne_bytes())).unwrap();
        assert_eq!(table.rows, [b"first".to_vec(), b"next".to_vec()]);
        assert!(table.complete && !table.torn);
    }

    #[test]
    fn a_table_that_changed_meanwhile_is_torn() {
        let mut table = Table::default();
        table.add(&message(16, NLM_F_DUMP_INTR, b"row")).unwrap();
        assert!(table.torn);
    }

    #[test]
    fn a_refusal_is_its_errno() {
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let refusal = message(kind, 0, &(-1_i32).to_ne_bytes());
            assert_eq!(Table::default().add(&refusal), Err(Errno::PERM));
        }
        assert_eq!(Table::default().add(&[1, 2, 3]), Err(Errno::PROTO), "what is no message");
    }

    #[test]
    fn attributes_end_where_they_cannot_be_read() {
        let bytes = [5, 0, 1, 0, 7, 0, 0, 0, 8, 0, 2, 0, 1, 0, 0, 0, 99, 0, 3, 0];
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, &[7][..]), (2, &1_u32.to_le_bytes()[..])]);
        assert_eq!((text(b"tun\0"), text(b"tun"), number(&[1])), ("tun".into(), "tun".into(), 0));
    }
}
