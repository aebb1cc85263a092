//! Why a stream cannot be read on, in words an operator can act on.

use crate::framing::MAX_LENGTH;

/// Why a stream cannot be read on. The connection is of no more use: where the next record begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FramingError {
    /// A record longer than QEMU's limit was announced.
    #[error("oversized packet received: {} were announced, the limit is {MAX_LENGTH}", in_words(*length))]
    Oversized {
        /// The length as announced, in bytes.
        length: u32,
    },
    /// There is no virtio-net header of the announced length.
    #[error("implausible vnet_hdr_len received: {length} bytes, where 0, 10, 12, 20 and 24 are possible")]
    VnetHeaderLength {
        /// The length as announced, in bytes.
        length: u32,
    },
    /// vnet_hdr_support is off here and on at the peer.
    #[error("the peer announces virtio-net headers, and here vnet_hdr_support is off")]
    PeerSendsVnetHeaders,
    /// vnet_hdr_support is on here and off at the peer.
    #[error("the peer announces no virtio-net headers, and here vnet_hdr_support is on")]
    PeerSendsNoVnetHeaders,
}

impl FramingError {
    /// What to do next, in one line: which end to change.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Oversized { length } if begins_tls(length) => {
                "the peer speaks TLS: give `--tls-creds` here, or take `tls-creds` away there"
            }
            Self::Oversized { .. } => {
                "the peer has lost step or speaks another protocol: frames in QEMU's framing come from \
                 filter-mirror, filter-redirector, `-netdev stream`, passt and tapferry; both ends must agree on \
                 `--vnet-hdr-support=on|off` here and `vnet_hdr_support=on|off` at QEMU"
            }
            Self::VnetHeaderLength { .. } => {
                "does the peer announce virtio-net headers? If not: `--vnet-hdr-support=off` here, or \
                 `vnet_hdr_support=on` at QEMU's filter"
            }
            Self::PeerSendsVnetHeaders => {
                "let both ends agree: `--vnet-hdr-support=on` here, or `vnet_hdr_support=off` at QEMU's filter"
            }
            Self::PeerSendsNoVnetHeaders => {
                "let both ends agree: `--vnet-hdr-support=off` here, or `vnet_hdr_support=on` at QEMU's filter"
            }
        }
    }
}

/// Whether it is the beginning of a TLS handshake: its record type and major version (RFC 8446, section 5.1).
const fn begins_tls(length: u32) -> bool {
    length >> 16 == 0x1603
}

/// A length, and the text that it was taken from, if it is one: whoever speaks another protocol shows.
fn in_words(length: u32) -> String {
    let bytes = length.to_be_bytes();
    match str::from_utf8(&bytes) {
        Ok(text) if bytes.iter().all(u8::is_ascii_graphic) => {
            format!("{length} bytes (which spell '{text}')")
        }
        _ if begins_tls(length) => format!("{length} bytes (the beginning of TLS)"),
        _ => format!("{length} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_protocol_is_shown_by_its_first_letters() {
        let error = FramingError::Oversized { length: u32::from_be_bytes(*b"GET/") };
        assert!(error.to_string().contains("1195725871 bytes (which spell 'GET/')"), "{error}");
        let error = FramingError::Oversized { length: 0x1603_0102 };
        assert!(error.to_string().contains("(the beginning of TLS)"), "{error}");
        assert!(error.hint().contains("--tls-creds"), "{}", error.hint());
        let error = FramingError::Oversized { length: 69_633 };
        assert!(error.to_string().contains("received: 69633 bytes were announced"), "{error}");
    }
}
