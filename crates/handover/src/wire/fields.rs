//! A message's payload, one field after the other.

use super::MAX_TEXT;
use super::error::WireError;
use super::kind::Kind;

/// What is left of a payload.
pub(crate) struct Fields<'a> {
    kind: Kind,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(kind: Kind, payload: &'a [u8]) -> Self {
        Self { kind, rest: payload }
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or(WireError::Short { kind: self.kind, field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self, field: &'static str) -> Result<u128, WireError> {
        self.array(field).map(u128::from_be_bytes)
    }

    /// 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, WireError> {
        let value = self.u8(field)?;
        match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.meaningless(field, value.into())),
        }
    }

    /// A length, and so many bytes of text.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        let kind = self.kind;
        let length = usize::from(self.u16(field)?);
        if length > MAX_TEXT {
            return Err(WireError::LongText { kind, field, length });
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or(WireError::Short { kind, field })?;
        let text = str::from_utf8(text).map_err(|_| WireError::NotUtf8 { kind, field })?;
        if text.contains(char::is_control) {
            return Err(WireError::ControlCharacters { kind, field });
        }
        self.rest = rest;
        Ok(text)
    }

    /// All that is left.
    pub(crate) const fn remainder(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing is left.
    pub(crate) const fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing { kind: self.kind, bytes: self.rest.len() })
        }
    }

    /// That the value just read means nothing.
    pub(crate) const fn meaningless(&self, field: &'static str, value: u16) -> WireError {
        WireError::Value { kind: self.kind, field, value }
    }
}
