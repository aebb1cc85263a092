//! TLS as QEMU speaks it (`tls-creds-x509`), over sockets that never block.
//!
//! ```text
//!   directory --> credentials <-- watch          what we show, and whom we believe
//!                     |
//!   socket --> channel --> handshake --> frames  plain or TLS behind one face
//! ```
//!
//! - [`directory`]: the files of QEMU's layout, as they are at one moment
//! - [`credentials`]: what is made of them, checked; what new connections use
//! - [`validity`]: from when to when a certificate counts
//! - [`watch`]: files that are renewed, and certificates that are about to expire
//! - [`channel`]: bytes to and from a peer, plain or not
//! - [`handshakes`]: those of a server, several at once behind one descriptor
//! - [`error`]: what is wrong with the files; [`failure`]: what went wrong with a peer
//!
//! Invariants: both sides show a certificate and look at the other's; nothing blocks but what says so; running
//! connections never notice a renewal; what a channel has taken it sends whole and in order, or its connection is over.

#![forbid(unsafe_code)]

pub mod channel;
pub mod credentials;
pub mod directory;
pub mod error;
pub mod failure;
pub mod handshakes;
pub mod validity;
pub mod watch;

mod session;

pub use channel::{Channel, ChannelError, Progress, Received, Sent};
pub use credentials::{Credentials, Side};
pub use error::CredentialsError;
pub use failure::Failure;
pub use handshakes::Handshakes;
pub use watch::{News, Watch};
