//! The requests as they are on the wire; their meaning is in the documentation of the lab.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

use super::sending::Sending;
use crate::error::{Error, Result};
use crate::reader;
use crate::tap::{OFFLOADS_ALL, OFFLOADS_NONE, OFFLOADS_TCP, TapOptions};

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum Request {
    Tap(TapRequest),
    TapDelete {
        name: String,
    },
    Reading {
        #[serde(alias = "tap")]
        netdev: String,
        on: bool,
    },
    Link {
        name: String,
        up: Option<bool>,
        mtu: Option<u32>,
        txqueuelen: Option<u32>,
        ipv6: Option<bool>,
    },
    LinkDelete {
        name: String,
    },
    Veth {
        name: String,
        peer: String,
    },
    Bridge {
        name: String,
        #[serde(default)]
        ports: Vec<String>,
    },
    Watch {
        netdev: String,
        #[serde(default)]
        direction: Direction,
    },
    Unwatch {
        netdev: String,
    },
    Send(Sending),
    SendStart(Sending),
    SendStop {
        name: String,
    },
    Write(Sending),
    Received(Received),
    Counters {
        netdev: String,
    },
    PacketSockets {},
    Transfer {
        to: SocketAddr,
        rate: Option<u64>,
        milliseconds: u64,
    },
    Run {
        command: Vec<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TapRequest {
    pub(super) name: String,
    vnet_hdr: usize,
    offloads: Offloads,
    mtu: u32,
    txqueuelen: u32,
    queues: usize,
    persistent: bool,
    up: bool,
    pub(super) held: bool,
    pub(super) reading: bool,
}

impl Default for TapRequest {
    fn default() -> Self {
        let plain = TapOptions::default();
        Self {
            name: String::new(),
            vnet_hdr: 0,
            offloads: Offloads::None,
            mtu: plain.mtu,
            txqueuelen: plain.queue_length,
            queues: plain.queues,
            persistent: plain.persistent,
            up: plain.up,
            held: true,
            reading: true,
        }
    }
}

impl TapRequest {
    pub(super) fn options(&self) -> Result<TapOptions> {
        // The kernel would make up a name of its own.
        if self.name.is_empty() {
            return Err(Error::Invalid("a TAP needs a name".into()));
        }
        Ok(TapOptions {
            vnet_header: (self.vnet_hdr > 0).then_some(self.vnet_hdr),
            offloads: match self.offloads {
                Offloads::None => OFFLOADS_NONE,
                Offloads::Tcp => OFFLOADS_TCP,
                Offloads::All => OFFLOADS_ALL,
            },
            queues: self.queues,
            persistent: self.persistent,
            mtu: self.mtu,
            queue_length: self.txqueuelen,
            up: self.up,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Offloads {
    None,
    Tcp,
    All,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    #[default]
    Incoming,
    Outgoing,
    Both,
}

impl From<Direction> for reader::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Incoming => Self::Incoming,
            Direction::Outgoing => Self::Outgoing,
            Direction::Both => Self::Both,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Received {
    #[serde(alias = "tap")]
    pub(super) netdev: String,
    #[serde(default)]
    pub(super) at_least: u64,
    #[serde(default = "ten_seconds")]
    pub(super) timeout_ms: u64,
    #[serde(default)]
    pub(super) settle_ms: u64,
    #[serde(default)]
    pub(super) clear: bool,
}

fn ten_seconds() -> u64 {
    10_000
}

/// A line's id and its request, or what is wrong with it.
pub(super) fn parse(line: &str) -> std::result::Result<(Value, Request), (Value, Error)> {
    let wrong = |error: serde_json::Error| Error::Invalid(format!("not a request: {error}"));
    let mut value: Value = serde_json::from_str(line).map_err(|error| (Value::Null, wrong(error)))?;
    let id = value.as_object_mut().and_then(|fields| fields.remove("id")).unwrap_or_default();
    match serde_json::from_value(value) {
        Ok(request) => Ok((id, request)),
        Err(error) => Err((id, wrong(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_an_error_with_the_id_of_its_request() {
        for line in [
            r#"{"id":7,"op":"nothing"}"#,
            r#"{"id":7,"op":"tap","name":"tapA","colour":"red"}"#,
            r#"{"id":7,"op":"link","name":"tapA","colour":"red"}"#,
            r#"{"id":7,"op":"send","netdev":"tapA","colour":"red"}"#,
            r#"{"id":7,"op":"packet-sockets","colour":"red"}"#,
        ] {
            let (id, error) = parse(line).expect_err(line);
            assert_eq!(id, 7);
            assert!(error.to_string().starts_with("not a request: unknown "), "{error}");
        }
        assert_eq!(parse("[").expect_err("it is no JSON").0, Value::Null);
    }
}
