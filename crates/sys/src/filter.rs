//! Classic BPF programs for AF_PACKET sockets: what is captured is decided in the kernel, so a frame
//! that nobody wants costs neither a copy nor a wake-up (linux/filter.h, networking/filter.rst).

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Take the frame whole.
const ACCEPT: u32 = u32::MAX;
/// Do not take it.
const REJECT: u32 = 0;

/// Which way a frame goes, from the host's side (packet(7): `sll_pkttype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the host sends out of the interface: PACKET_OUTGOING. On a TAP: frames to the guest.
    Outgoing,
    /// What the interface receives. On a TAP: frames from the guest.
    Incoming,
    /// Both.
    Both,
}

/// A filter program, checked by the kernel when it is attached.
#[derive(Debug, Clone)]
pub struct Program(Vec<sock_filter>);

impl Program {
    /// Takes frames of one direction that do not bear `mark` (SO_MARK, our own injections).
    pub fn capture(direction: Direction, mark: u32) -> Self {
        let outgoing = u32::from(libc::PACKET_OUTGOING);
        let mut code = vec![
            load_ancillary(libc::SKF_AD_MARK),
            // Equal: fall through to the refusal; else step over it.
            jump_if_equal(mark, 0, 1),
            ret(REJECT),
        ];
        match direction {
            Direction::Outgoing => code.extend([
                load_ancillary(libc::SKF_AD_PKTTYPE),
                jump_if_equal(outgoing, 1, 0),
                ret(REJECT),
            ]),
            Direction::Incoming => code.extend([
                load_ancillary(libc::SKF_AD_PKTTYPE),
                jump_if_equal(outgoing, 0, 1),
                ret(REJECT),
            ]),
            Direction::Both => {}
        }
        code.push(ret(ACCEPT));
        Self(code)
    }

    /// Takes nothing: what a socket is given before it is drained and closed.
    pub fn refuse_all() -> Self {
        Self(vec![ret(REJECT)])
    }

    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.0
    }
}

fn load_ancillary(offset: libc::c_int) -> sock_filter {
    // Ancillary data lies at addresses above SKF_AD_OFF, a negative number that the kernel reads as u32.
    statement(BPF_LD | BPF_W | BPF_ABS, (libc::SKF_AD_OFF + offset).cast_unsigned())
}

fn jump_if_equal(value: u32, if_equal: u8, if_not: u8) -> sock_filter {
    sock_filter { jt: if_equal, jf: if_not, ..statement(BPF_JMP | BPF_JEQ | BPF_K, value) }
}

fn ret(verdict: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, verdict)
}

fn statement(code: u32, k: u32) -> sock_filter {
    // Every opcode of classic BPF fits the 16-bit field (linux/bpf_common.h).
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}
