//! A naive decoder: by the letter of `docs/handover-protocol.md`, over all of the bytes at once.
//!
//! Its conversions with `as` are of numbers that were cut to size before.

#![allow(clippy::cast_possible_truncation)]

use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;
use tapferry_handover::wire::{
    Ack, Cut, End, Frame, Hello, Kind, Message, Method, Refusal, RefusalCode, Role, WireError,
};

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// After a message.
    Between,
    /// In the midst of one.
    Partial,
    /// Before something that is none.
    Wrong(WireError),
}

/// What comes out of `bytes`, and how they end.
pub(crate) fn naive(mut bytes: &[u8]) -> (Vec<Message<'_>>, Ending) {
    let mut messages = Vec::new();
    let mut sender = None;
    loop {
        if bytes.is_empty() {
            return (messages, Ending::Between);
        }
        match front(bytes, messages.is_empty(), sender) {
            Err(error) => return (messages, Ending::Wrong(error)),
            Ok(None) => return (messages, Ending::Partial),
            Ok(Some((message, length))) => {
                if let Message::Hello(hello) = &message {
                    sender = Some(hello.role);
                }
                messages.push(message);
                bytes = &bytes[length..];
            }
        }
    }
}

type Front<'a> = Result<Option<(Message<'a>, usize)>, WireError>;

fn front(bytes: &[u8], is_first: bool, sender: Option<Role>) -> Front<'_> {
    if bytes.len() < 4 {
        return Ok(None);
    }
    let announced = number(&bytes[..4]) as u32;
    if is_first {
        let begins = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let body = &bytes[4..];
        let known = &body[..body.len().min(9)];
        let is_one = known == &b"\x01TAPFERRY"[..known.len()] || known == &b"\x02TAPFERRY"[..known.len()];
        if !(11..=4096).contains(&announced) || !is_one {
            return Err(WireError::NotTapferry { begins });
        }
        if body.len() < 11 {
            return Ok(None);
        }
        if body[9..11] != [0, 1] {
            return Err(WireError::Version { theirs: number(&body[9..11]) as u16 });
        }
    }
    if announced == 0 || announced > 69_664 {
        return Err(WireError::Length { length: announced });
    }
    let length = announced as usize;
    let Some(&kind) = bytes.get(4) else { return Ok(None) };
    let (kind, least, most, only) = match kind {
        1 => (Kind::Hello, 90, 3171, None),
        2 => (Kind::Refusal, 15, 1039, None),
        3 => (Kind::Frame, 42, 69_664, Some(Role::Source)),
        4 => (Kind::Stopped, 9, 9, Some(Role::Source)),
        5 => (Kind::Cut, 11, 11, Some(Role::Source)),
        6 => (Kind::Resumed, 9, 9, Some(Role::Destination)),
        7 => (Kind::Discard, 3, 1027, None),
        8 => (Kind::End, 33, 33, Some(Role::Source)),
        9 => (Kind::Ack, 41, 41, Some(Role::Destination)),
        10 => (Kind::Ping, 9, 9, None),
        11 => (Kind::Pong, 17, 17, None),
        number => return Err(WireError::UnknownType { number }),
    };
    if kind == Kind::Hello && !is_first {
        return Err(WireError::HelloAgain);
    }
    match (sender, only) {
        (Some(sender), Some(only)) if sender != only => return Err(WireError::WrongSide { kind, sender }),
        _ => {}
    }
    if length < least || length > most {
        return Err(WireError::KindLength { kind, length });
    }
    if bytes.len() < 4 + length {
        return Ok(None);
    }
    let mut rest = Rest { kind, bytes: &bytes[5..4 + length] };
    Ok(Some((rest.message()?, 4 + length)))
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

struct Rest<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        if self.bytes.len() < len {
            return Err(WireError::Short { kind: self.kind, field });
        }
        let taken = &self.bytes[..len];
        self.bytes = &self.bytes[len..];
        Ok(taken)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(number(self.take(field, 8)?) as u64)
    }

    /// A number that stands for one of a few things, counted from `base`.
    fn one_of<T>(
        &mut self,
        field: &'static str,
        len: usize,
        base: u16,
        things: Vec<T>,
    ) -> Result<T, WireError> {
        let value = number(self.take(field, len)?) as u16;
        let wrong = WireError::Value { kind: self.kind, field, value };
        let place = value.checked_sub(base).ok_or(wrong)?;
        things.into_iter().nth(place.into()).ok_or(wrong)
    }

    fn text(&mut self, field: &'static str) -> Result<String, WireError> {
        let kind = self.kind;
        let length = number(self.take(field, 2)?) as usize;
        if length > 1024 {
            return Err(WireError::LongText { kind, field, length });
        }
        let text = String::from_utf8(self.take(field, length)?.to_vec());
        let text = text.map_err(|_| WireError::NotUtf8 { kind, field })?;
        if text.chars().any(|letter| matches!(letter, '\0'..='\x1f' | '\x7f'..='\u{9f}')) {
            return Err(WireError::ControlCharacters { kind, field });
        }
        Ok(text)
    }

    fn opening(&mut self) -> Result<(), WireError> {
        let magic = self.take("magic", 8)?;
        if magic != b"TAPFERRY" {
            return Err(WireError::NotTapferry { begins: [magic[0], magic[1], magic[2], magic[3]] });
        }
        match number(self.take("version", 2)?) {
            1 => Ok(()),
            theirs => Err(WireError::Version { theirs: theirs as u16 }),
        }
    }

    fn message(&mut self) -> Result<Message<'a>, WireError> {
        let message = match self.kind {
            Kind::Hello => {
                self.opening()?;
                let role =
                    self.one_of("role", 1, 1, vec![Role::Source, Role::Destination, Role::Rehearsal])?;
                let session = number(self.take("session", 16)?);
                let instance = number(self.take("instance", 16)?);
                let tapferry = self.text("tapferry")?;
                let vm_uuid = self.take("vm_uuid", 16)?.try_into().expect("16 bytes");
                let vm_name = self.text("vm_name")?;
                let netdev_id = self.text("netdev_id")?;
                let mac = self.take("mac", 6)?.try_into().expect("6 bytes");
                let mtu = number(self.take("mtu", 4)?) as u32;
                let offloads = number(self.take("offloads", 4)?) as u32;
                let vnet_hdr = match self.one_of("has_vnet_hdr", 1, 0, vec![false, true])? {
                    true => Some(self.one_of("vnet_hdr", 1, 0, vec![false, true])?),
                    false => None,
                };
                let realtime_ns = self.u64("realtime_ns")?;
                let next_index = match self.one_of("has_next_index", 1, 0, vec![false, true])? {
                    true => Some(self.u64("next_index")?),
                    false => None,
                };
                Message::Hello(Hello {
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
                })
            }
            Kind::Refusal => {
                self.opening()?;
                let codes = vec![
                    RefusalCode::Version,
                    RefusalCode::Role,
                    RefusalCode::OtherVm,
                    RefusalCode::UnknownNetdev,
                    RefusalCode::Busy,
                    RefusalCode::State,
                    RefusalCode::Malformed,
                ];
                Message::Refusal(Refusal {
                    code: self.one_of("code", 2, 1, codes)?,
                    text: self.text("text")?,
                })
            }
            Kind::Frame => {
                let index = self.u64("index")?;
                let timestamp_ns = self.u64("timestamp_ns")?;
                let vnet = VnetHeader::from_bytes(self.take("vnet", 10)?.try_into().expect("10 bytes"));
                let tag = match self.one_of("has_tag", 1, 0, vec![false, true])? {
                    true => Some(VlanTag {
                        tpid: number(self.take("tpid", 2)?) as u16,
                        tci: number(self.take("tci", 2)?) as u16,
                    }),
                    false => None,
                };
                let length = self.bytes.len();
                if !(14..=69_632).contains(&length) {
                    return Err(WireError::FrameLength { length });
                }
                let bytes = self.take("bytes", length)?;
                Message::Frame(Frame { index, timestamp_ns, vnet, tag, bytes })
            }
            Kind::Stopped => Message::Stopped { at_ns: self.u64("at_ns")? },
            Kind::Cut => {
                let index = self.u64("index")?;
                let is_final = self.one_of("is_final", 1, 0, vec![false, true])?;
                let methods = vec![
                    Method::UsedRing,
                    Method::UsedIndex,
                    Method::QueueStatus,
                    Method::TxPackets,
                    Method::Timestamp,
                ];
                Message::Cut(Cut { index, is_final, method: self.one_of("method", 1, 1, methods)? })
            }
            Kind::Resumed => Message::Resumed { at_ns: self.u64("at_ns")? },
            Kind::Discard => {
                let text = &self.bytes[2..];
                let words = self.text("reason")?;
                let reason = str::from_utf8(&text[..words.len()]).expect("it was UTF-8 a moment ago");
                Message::Discard { reason }
            }
            Kind::End => Message::End(End {
                next_index: self.u64("next_index")?,
                captured: self.u64("captured")?,
                sent: self.u64("sent")?,
                lost: self.u64("lost")?,
            }),
            Kind::Ack => Message::Ack(Ack {
                next_index: self.u64("next_index")?,
                parked: self.u64("parked")?,
                injected: self.u64("injected")?,
                deduplicated: self.u64("deduplicated")?,
                dropped: self.u64("dropped")?,
            }),
            Kind::Ping => Message::Ping { sent_ns: self.u64("sent_ns")? },
            Kind::Pong => {
                Message::Pong { ping_ns: self.u64("ping_ns")?, received_ns: self.u64("received_ns")? }
            }
        };
        match self.bytes.len() {
            0 => Ok(message),
            bytes => Err(WireError::Trailing { kind: self.kind, bytes }),
        }
    }
}
