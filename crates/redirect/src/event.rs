//! What a redirector tells of itself: once per change, never per frame.

use tapferry_sys::clock;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// All endpoints are open and the gate is known. Once.
    Ready,
    /// An interface is missing at the start and is waited for.
    Waiting,
    /// The input went down; of interfaces alone.
    InputDown,
    /// The input is up again.
    InputUp,
    /// The input was deleted, or its peer has left.
    InputMissing,
    /// The input is there again, or has a peer.
    InputBack,
    /// The input's only peer has left, and there will be no other.
    InputClosed,
    /// The output went down.
    OutputDown,
    /// The output is up again.
    OutputUp,
    /// The output was deleted, or its peer has left.
    OutputMissing,
    /// The output is there again, or has a peer.
    OutputBack,
    /// Frames pass from now on.
    GateOpened,
    /// Frames do not pass any more.
    GateClosed,
    /// Something an operator should know; `code` says what. Once for each code.
    Warning,
    /// The credentials of a stream were renewed: new connections use them.
    CredentialsRenewed,
    /// Somebody set the wall clock.
    ClockStepped,
    /// As many frames as were asked for have been forwarded.
    CountReached,
    /// The redirector cannot go on and has ended.
    Failed,
}

/// Something that happened to a redirector.
#[derive(Debug, Clone)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When: CLOCK_REALTIME, nanoseconds since 1970.
    pub time_ns: u64,
    /// One line for people.
    pub message: String,
    /// A stable code, for warnings and failures.
    pub code: Option<&'static str>,
    /// The interface it is about.
    pub netdev: Option<String>,
    /// The stream it is about.
    pub stream: Option<String>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            time_ns: clock::realtime_ns(),
            message: message.into(),
            code: None,
            netdev: None,
            stream: None,
        }
    }

    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(crate) fn about(self, netdev: &str) -> Self {
        Self { netdev: Some(netdev.to_owned()), ..self }
    }

    pub(crate) fn about_stream(self, stream: &str) -> Self {
        Self { stream: Some(stream.to_owned()), ..self }
    }
}

/// Who is told. Called on the redirector's thread: it must not block.
pub type Observer = Box<dyn Fn(Event) + Send>;
