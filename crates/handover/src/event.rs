//! What a handover tells of itself: once per change, never per frame.

use std::sync::Arc;

use tapferry_sys::clock;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Armed, and the other side is known. Once.
    Ready,
    /// The other side cannot be reached yet.
    Waiting,
    /// The state machine moved on; `state` says where to.
    State,
    /// The connection to the other side is lost, and tried again.
    LinkLost,
    /// It is there again.
    LinkBack,
    /// Somebody else connected, and was refused.
    PeerRefused,
    /// The credentials for TLS are new ones.
    CredentialsRenewed,
    /// Something an operator should know; `code` says what. Once for each code.
    Warning,
    /// The handover has ended; the report is complete.
    Ended,
}

impl EventKind {
    /// The stable name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::State => "state",
            Self::LinkLost => "link_lost",
            Self::LinkBack => "link_back",
            Self::PeerRefused => "peer_refused",
            Self::CredentialsRenewed => "credentials_renewed",
            Self::Warning => "warning",
            Self::Ended => "ended",
        }
    }
}

/// Something that happened to a handover.
#[derive(Debug, Clone)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// The netdev it is about, by its id; `None`: all of them.
    pub netdev: Option<String>,
    /// When: CLOCK_REALTIME, nanoseconds since 1970.
    pub time_ns: u64,
    /// The state that it is in now, by its stable name; empty for what is about all netdevs.
    pub state: &'static str,
    /// One line for people.
    pub message: String,
    /// A stable code, for warnings and failures.
    pub code: Option<&'static str>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, state: &'static str, message: impl Into<String>) -> Self {
        Self { kind, netdev: None, time_ns: clock::realtime_ns(), state, message: message.into(), code: None }
    }

    pub(crate) fn about(self, netdev: &str) -> Self {
        Self { netdev: Some(netdev.to_owned()), ..self }
    }

    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// Who is told. Called on the handover's threads: it must not block.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;
