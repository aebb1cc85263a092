//! The decoder: bytes as they come from a peer, messages as it sent them.

use tapferry_frame::ethernet::VlanTag;
use tapferry_frame::vnet::VnetHeader;

use super::error::WireError;
use super::fields::Fields;
use super::kind::{Kind, MAX_LENGTH};
use super::message::{Ack, Cut, End, Frame, Hello, Message, Method, Refusal, RefusalCode, Role};
use super::{LENGTH_LEN, MAGIC, MAX_FRAME, MIN_FRAME, VERSION, opening};

/// Bytes of a message with its length at most.
const MAX_MESSAGE: usize = LENGTH_LEN + MAX_LENGTH;

/// Bytes of the buffer: a few of the longest messages, so that one cut by the buffer's end is seldom moved.
const CAPACITY: usize = 512 * 1024;

const _: () = assert!(CAPACITY >= 4 * MAX_MESSAGE);

/// Incremental decoder of what one peer says over one connection; owns the buffer that is read into.
///
/// ```
/// use tapferry_handover::wire::{Decoder, Message, Refusal, RefusalCode, encode};
///
/// let refusal = Message::Refusal(Refusal { code: RefusalCode::Busy, text: "come back later".into() });
/// let mut bytes = Vec::new();
/// encode(&refusal, &mut bytes)?;
///
/// let mut decoder = Decoder::new();
/// let (first, second) = bytes.split_at(7);
/// decoder.room()[..first.len()].copy_from_slice(first);
/// decoder.filled(first.len());
/// assert_eq!(decoder.next_message()?, None);
/// decoder.room()[..second.len()].copy_from_slice(second);
/// decoder.filled(second.len());
/// assert_eq!(decoder.next_message()?, Some(refusal));
/// assert!(decoder.is_between_messages());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// What was read and not yet handed out is `buffer[start..end]`.
    start: usize,
    end: usize,
    standing: Standing,
}

/// What is known of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing yet: the first message decides.
    Unknown,
    /// It speaks our version. Its role, if it has given a hello.
    Begun(Option<Role>),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for a new connection. Allocates its buffer, of a fixed size.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: vec![0; CAPACITY], start: 0, end: 0, standing: Standing::Unknown }
    }

    /// Free room to read into: never empty once [`Decoder::next_message`] says that there is no complete message, and
    /// then enough for the rest of the longest.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < MAX_MESSAGE {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Tells that the first `bytes` of [`Decoder::room`] were read into. No more than there was room for count.
    pub fn filled(&mut self, bytes: usize) {
        self.end = self.end.saturating_add(bytes).min(self.buffer.len());
    }

    /// The next message, and steps over it; `None` as long as it is not complete.
    ///
    /// # Errors
    ///
    /// What comes next is no message, or none that may come now. An error stays until [`Decoder::reset`].
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, WireError> {
        let bytes = &self.buffer[self.start..self.end];
        if self.standing == Standing::Unknown && !opening::judge(bytes)? {
            return Ok(None);
        }
        let Some((kind, length)) = announced(bytes, self.standing)? else { return Ok(None) };
        let Some(payload) = bytes.get(LENGTH_LEN + 1..LENGTH_LEN + length) else { return Ok(None) };
        let message = read(kind, payload)?;
        self.start += LENGTH_LEN + length;
        match &message {
            Message::Hello(hello) => self.standing = Standing::Begun(Some(hello.role)),
            _ if self.standing == Standing::Unknown => self.standing = Standing::Begun(None),
            _ => {}
        }
        Ok(Some(message))
    }

    /// Whether no part of a message is waiting: the end of the connection cuts none. Asked once
    /// [`Decoder::next_message`] has nothing more.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        self.start == self.end
    }

    /// Forgets everything: a new connection begins.
    pub const fn reset(&mut self) {
        (self.start, self.end, self.standing) = (0, 0, Standing::Unknown);
    }
}

/// The type and the length that the message at the front announces, if they are there and it may come now.
fn announced(bytes: &[u8], standing: Standing) -> Result<Option<(Kind, usize)>, WireError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let announced = u32::from_be_bytes(*length);
    let length = match usize::try_from(announced) {
        Ok(length) if (1..=MAX_LENGTH).contains(&length) => length,
        _ => return Err(WireError::Length { length: announced }),
    };
    let Some(&number) = rest.first() else { return Ok(None) };
    let kind = Kind::from_number(number).ok_or(WireError::UnknownType { number })?;
    if let Standing::Begun(role) = standing {
        if kind == Kind::Hello {
            return Err(WireError::HelloAgain);
        }
        if let (Some(sender), Some(only)) = (role, kind.sender())
            && sender != only
        {
            return Err(WireError::WrongSide { kind, sender });
        }
    }
    if !kind.lengths().contains(&length) {
        return Err(WireError::KindLength { kind, length });
    }
    Ok(Some((kind, length)))
}

fn read(kind: Kind, payload: &[u8]) -> Result<Message<'_>, WireError> {
    let mut fields = Fields::new(kind, payload);
    let message = match kind {
        Kind::Frame => return read_frame(fields).map(Message::Frame),
        Kind::Hello => Message::Hello(read_hello(&mut fields)?),
        Kind::Refusal => Message::Refusal(read_refusal(&mut fields)?),
        Kind::Stopped => Message::Stopped { at_ns: fields.u64("at_ns")? },
        Kind::Cut => Message::Cut(Cut {
            index: fields.u64("index")?,
            is_final: fields.flag("is_final")?,
            method: read_method(&mut fields)?,
        }),
        Kind::Resumed => Message::Resumed { at_ns: fields.u64("at_ns")? },
        Kind::Discard => Message::Discard { reason: fields.text("reason")? },
        Kind::End => Message::End(End {
            next_index: fields.u64("next_index")?,
            captured: fields.u64("captured")?,
            sent: fields.u64("sent")?,
            lost: fields.u64("lost")?,
        }),
        Kind::Ack => Message::Ack(Ack {
            next_index: fields.u64("next_index")?,
            parked: fields.u64("parked")?,
            injected: fields.u64("injected")?,
            deduplicated: fields.u64("deduplicated")?,
            dropped: fields.u64("dropped")?,
        }),
        Kind::Ping => Message::Ping { sent_ns: fields.u64("sent_ns")? },
        Kind::Pong => {
            Message::Pong { ping_ns: fields.u64("ping_ns")?, received_ns: fields.u64("received_ns")? }
        }
    };
    fields.end()?;
    Ok(message)
}

/// Magic and version, which `opening` has judged if this is the first message. A refusal has them wherever it comes.
fn read_opening(fields: &mut Fields<'_>) -> Result<(), WireError> {
    let magic: [u8; 8] = fields.array("magic")?;
    if magic != MAGIC {
        let [a, b, c, d, ..] = magic;
        return Err(WireError::NotTapferry { begins: [a, b, c, d] });
    }
    match fields.u16("version")? {
        VERSION => Ok(()),
        theirs => Err(WireError::Version { theirs }),
    }
}

fn read_hello(fields: &mut Fields<'_>) -> Result<Hello, WireError> {
    read_opening(fields)?;
    Ok(Hello {
        role: read_role(fields)?,
        session: fields.u128("session")?,
        instance: fields.u128("instance")?,
        tapferry: fields.text("tapferry")?.to_owned(),
        vm_uuid: fields.array("vm_uuid")?,
        vm_name: fields.text("vm_name")?.to_owned(),
        netdev_id: fields.text("netdev_id")?.to_owned(),
        mac: fields.array("mac")?,
        mtu: fields.u32("mtu")?,
        offloads: fields.u32("offloads")?,
        vnet_hdr: if fields.flag("has_vnet_hdr")? { Some(fields.flag("vnet_hdr")?) } else { None },
        realtime_ns: fields.u64("realtime_ns")?,
        next_index: if fields.flag("has_next_index")? { Some(fields.u64("next_index")?) } else { None },
    })
}

fn read_role(fields: &mut Fields<'_>) -> Result<Role, WireError> {
    let number = fields.u8("role")?;
    let role = Role::ALL.into_iter().find(|role| role.number() == number);
    role.ok_or_else(|| fields.meaningless("role", number.into()))
}

fn read_refusal(fields: &mut Fields<'_>) -> Result<Refusal, WireError> {
    read_opening(fields)?;
    let number = fields.u16("code")?;
    let code = RefusalCode::ALL.into_iter().find(|code| code.number() == number);
    Ok(Refusal {
        code: code.ok_or_else(|| fields.meaningless("code", number))?,
        text: fields.text("text")?.to_owned(),
    })
}

fn read_method(fields: &mut Fields<'_>) -> Result<Method, WireError> {
    let number = fields.u8("method")?;
    let method = Method::ALL.into_iter().find(|method| method.number() == number);
    method.ok_or_else(|| fields.meaningless("method", number.into()))
}

fn read_frame(mut fields: Fields<'_>) -> Result<Frame<'_>, WireError> {
    let index = fields.u64("index")?;
    let timestamp_ns = fields.u64("timestamp_ns")?;
    let vnet = VnetHeader::from_bytes(fields.array("vnet")?);
    let tag = if fields.flag("has_tag")? {
        Some(VlanTag { tpid: fields.u16("tpid")?, tci: fields.u16("tci")? })
    } else {
        None
    };
    let bytes = fields.remainder();
    if !(MIN_FRAME..=MAX_FRAME).contains(&bytes.len()) {
        return Err(WireError::FrameLength { length: bytes.len() });
    }
    Ok(Frame { index, timestamp_ns, vnet, tag, bytes })
}
