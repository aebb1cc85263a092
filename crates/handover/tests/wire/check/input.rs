//! What a fuzz input means: how its bytes come, and after which beginning.

use tapferry_handover::wire::{Decoder, Hello, Message, Refusal, RefusalCode, Role, encode};

use super::pace::{Pace, agrees};

/// Bytes before the messages in a fuzz input.
const HEADER: usize = 8;

/// Bytes of messages that are repeated, at most: enough to go round the buffer a few times.
const REPEATED: usize = 3 << 19;

/// The check of one fuzz input. Its first bytes say how the others are taken:
///
/// | byte | |
/// | --- | --- |
/// | 0 | bits 0, 1: what comes before the others: nothing, a source's hello, a destination's, a refusal; bits 2, 3: further reads before messages are taken |
/// | 1 | how often the others are repeated; 0: they come once |
/// | 2 to 7 | sizes of the reads, over and over: up to 127 as they are, above in steps of 600 bytes |
pub(crate) fn check(input: &[u8]) {
    let Some((&[mode, repeats, reads @ ..], others)) = input.split_first_chunk::<HEADER>() else {
        return;
    };
    let mut stream = Vec::new();
    let first = match mode & 3 {
        0 => None,
        1 => Some(hello(Role::Source)),
        2 => Some(hello(Role::Destination)),
        _ => Some(Message::Refusal(Refusal { code: RefusalCode::Busy, text: String::new() })),
    };
    if let Some(first) = first {
        assert_eq!(encode(&first, &mut stream), Ok(()));
    }
    let repeats = 1 + usize::from(repeats).min(REPEATED / others.len().max(1));
    stream.extend(others.repeat(repeats));
    // A long stream in reads of a byte each would show nothing new, slowly.
    let scale = 1 + (stream.len() >> 14);
    let read = |size: u8| scale * if size < 128 { usize::from(size) } else { usize::from(size - 127) * 600 };
    let pace = Pace {
        reads_per_take: 1 + usize::from(mode >> 2 & 3),
        ..Pace::reads(reads.iter().copied().map(read).collect())
    };
    agrees(&mut Decoder::new(), &stream, &pace);
}

fn hello(role: Role) -> Message<'static> {
    Message::Hello(Hello {
        role,
        session: 1,
        instance: 2,
        tapferry: "0".into(),
        vm_uuid: [3; 16],
        vm_name: "vm".into(),
        netdev_id: "hn0".into(),
        mac: [4; 6],
        mtu: 1500,
        offloads: 0,
        vnet_hdr: Some(true),
        realtime_ns: 5,
        next_index: None,
    })
}
