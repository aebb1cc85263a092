//! Any messages, and any bytes, however they come.

use proptest::array::{uniform6, uniform10, uniform16};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;
use tapferry_handover::wire::{
    Ack, Cut, Decoder, End, Frame, Hello, MAX_FRAME, MAX_TEXT, MIN_FRAME, Message, Method, Refusal,
    RefusalCode, Role,
};

use crate::check::model::Ending;
use crate::check::pace::{Pace, agrees};
use crate::messages::{after_hello, all_encoded, at_once, encoded, hello};

#[test]
fn every_split_of_a_connection_into_three_reads_gives_the_same_messages() {
    let mut decoder = Decoder::new();
    for role in Role::ALL {
        let messages = [vec![Message::Hello(hello(role))], after_hello(role)].concat();
        let stream = all_encoded(&messages);
        for first in 0..stream.len() {
            for second in 0..stream.len() - first {
                let pace = Pace::reads(vec![first, second, usize::MAX]);
                assert_eq!(agrees(&mut decoder, &stream, &pace), (messages.len(), Ending::Between));
            }
        }
    }
}

#[test]
fn the_end_of_a_connection_is_seen_at_every_byte() {
    let messages = [vec![Message::Hello(hello(Role::Source))], after_hello(Role::Source)].concat();
    let stream = all_encoded(&messages);
    let mut ends = vec![0];
    for message in &messages {
        ends.push(ends[ends.len() - 1] + encoded(message).len());
    }
    for end in 0..=stream.len() {
        let ending = if ends.contains(&end) { Ending::Between } else { Ending::Partial };
        let decoded = ends.iter().filter(|boundary| (1..=end).contains(*boundary)).count();
        let outcome = agrees(&mut Decoder::new(), &stream[..end], &at_once());
        assert_eq!(outcome, (decoded, ending), "after {end} bytes");
    }
}

#[test]
fn the_longest_frames_go_round_the_buffer() {
    let longest = vec![0x55; MAX_FRAME];
    let tag = Some(VlanTag { tpid: 0x88a8, tci: 1 });
    let frame = Frame { index: 1, timestamp_ns: 2, vnet: VnetHeader::default(), tag, bytes: &longest };
    let mut stream = encoded(&Message::Hello(hello(Role::Source)));
    stream.extend(encoded(&Message::Frame(frame)).repeat(30));
    for read in [usize::MAX, 65_536, 9_999, 1_460] {
        for reads_per_take in [1, 3, 100] {
            let pace = Pace { reads: vec![read], reads_per_take };
            assert_eq!(agrees(&mut Decoder::new(), &stream, &pace), (31, Ending::Between));
        }
    }
}

/// What a message is made of, owned: a frame and a reason borrow from it.
#[derive(Debug, Clone)]
enum Owned {
    Rest(Message<'static>),
    Frame { numbers: [u64; 2], vnet: [u8; 10], tag: Option<(u16, u16)>, bytes: Vec<u8> },
    Discard(String),
}

impl Owned {
    fn message(&self) -> Message<'_> {
        match self {
            Self::Rest(message) => message.clone(),
            Self::Frame { numbers: [index, timestamp_ns], vnet, tag, bytes } => Message::Frame(Frame {
                index: *index,
                timestamp_ns: *timestamp_ns,
                vnet: VnetHeader::from_bytes(*vnet),
                tag: tag.map(|(tpid, tci)| VlanTag { tpid, tci }),
                bytes,
            }),
            Self::Discard(reason) => Message::Discard { reason },
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("no control characters", |letter| !letter.is_control()), 0..=MAX_TEXT / 4)
        .prop_map(String::from_iter)
}

fn any_hello(role: Role) -> impl Strategy<Value = Hello> {
    (
        (any::<u128>(), any::<u128>(), text(), uniform16(any::<u8>()), text(), text()),
        (uniform6(any::<u8>()), any::<u32>(), any::<u32>(), any::<Option<bool>>(), any::<u64>()),
        any::<Option<u64>>(),
    )
        .prop_map(
            move |(
                (session, instance, tapferry, vm_uuid, vm_name, netdev_id),
                (mac, mtu, offloads, vnet_hdr, realtime_ns),
                next_index,
            )| Hello {
                role,
                session,
                instance,
                tapferry,
                vm_uuid,
                vm_name,
                netdev_id,
                mac,
                mtu,
                offloads,
                vnet_hdr,
                realtime_ns,
                next_index,
            },
        )
}

fn of_both() -> impl Strategy<Value = Owned> {
    prop_oneof![
        (select(&RefusalCode::ALL[..]), text())
            .prop_map(|(code, text)| Owned::Rest(Message::Refusal(Refusal { code, text }))),
        text().prop_map(Owned::Discard),
        any::<u64>().prop_map(|sent_ns| Owned::Rest(Message::Ping { sent_ns })),
        any::<[u64; 2]>()
            .prop_map(|[ping_ns, received_ns]| Owned::Rest(Message::Pong { ping_ns, received_ns })),
    ]
}

fn of_the_source() -> impl Strategy<Value = Owned> {
    let bytes = prop_oneof![
        9 => vec(any::<u8>(), MIN_FRAME..1600),
        1 => (MIN_FRAME..=MAX_FRAME, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    prop_oneof![
        3 => (any::<[u64; 2]>(), uniform10(any::<u8>()), any::<Option<(u16, u16)>>(), bytes)
            .prop_map(|(numbers, vnet, tag, bytes)| Owned::Frame { numbers, vnet, tag, bytes }),
        1 => any::<u64>().prop_map(|at_ns| Owned::Rest(Message::Stopped { at_ns })),
        1 => (any::<u64>(), any::<bool>(), select(&Method::ALL[..]))
            .prop_map(|(index, is_final, method)| Owned::Rest(Message::Cut(Cut { index, is_final, method }))),
        1 => any::<[u64; 4]>().prop_map(|[next_index, captured, sent, lost]| {
            Owned::Rest(Message::End(End { next_index, captured, sent, lost }))
        }),
        2 => of_both(),
    ]
}

fn of_the_destination() -> impl Strategy<Value = Owned> {
    prop_oneof![
        any::<u64>().prop_map(|at_ns| Owned::Rest(Message::Resumed { at_ns })),
        any::<[u64; 5]>().prop_map(|[next_index, parked, injected, deduplicated, dropped]| {
            Owned::Rest(Message::Ack(Ack { next_index, parked, injected, deduplicated, dropped }))
        }),
        of_both(),
    ]
}

/// A connection of one side, from its hello on.
fn connection() -> impl Strategy<Value = Vec<Owned>> {
    let of = |role: Role, rest: BoxedStrategy<Owned>| {
        (any_hello(role), vec(rest, 0..20)).prop_map(|(hello, rest)| {
            std::iter::once(Owned::Rest(Message::Hello(hello))).chain(rest).collect()
        })
    };
    prop_oneof![
        of(Role::Source, of_the_source().boxed()),
        of(Role::Destination, of_the_destination().boxed()),
        of(Role::Rehearsal, of_both().boxed()),
    ]
}

fn pace() -> impl Strategy<Value = Pace> {
    (vec(prop_oneof![1..20_usize, 1..3000_usize, Just(usize::MAX)], 1..12), 1..4_usize)
        .prop_map(|(reads, reads_per_take)| Pace { reads, reads_per_take })
}

proptest! {
    #[test]
    fn messages_arrive_as_they_were_sent(connection in connection(), pace in pace()) {
        let messages: Vec<Message<'_>> = connection.iter().map(Owned::message).collect();
        let stream = all_encoded(&messages);
        let (naive, ending) = crate::check::model::naive(&stream);
        prop_assert_eq!((&naive, ending), (&messages, Ending::Between));
        agrees(&mut Decoder::new(), &stream, &pace);
    }

    #[test]
    fn any_bytes_are_judged_as_the_model_judges_them(
        bytes in vec(any::<u8>(), 0..300),
        role in select(&Role::ALL[..]),
        pace in pace(),
    ) {
        let mut decoder = Decoder::new();
        agrees(&mut decoder, &bytes, &pace);
        let stream = [&encoded(&Message::Hello(hello(role)))[..], &bytes].concat();
        agrees(&mut decoder, &stream, &pace);
    }

    #[test]
    fn a_damaged_connection_is_judged_as_the_model_judges_it(
        connection in connection(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        pace in pace(),
    ) {
        let messages: Vec<Message<'_>> = connection.iter().map(Owned::message).collect();
        let mut stream = all_encoded(&messages);
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        agrees(&mut Decoder::new(), &stream, &pace);
    }
}
