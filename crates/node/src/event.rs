//! What a redirector tells of itself.

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use tapferry_redirect::{Event, EventKind};

/// Something that happened to a redirector.
#[napi(object, object_from_js = false)]
pub struct RedirectorEvent {
    /// What: `ready`, `waiting`, `input_down` and so on.
    #[napi(js_name = "type")]
    pub kind: &'static str,
    /// When: CLOCK_REALTIME, nanoseconds since 1970.
    pub time_ns: BigInt,
    /// One line for people.
    pub message: String,
    /// A stable code, for warnings and failures.
    pub code: Option<&'static str>,
    /// The interface it is about.
    pub netdev: Option<String>,
    /// The stream it is about.
    pub stream: Option<String>,
}

impl From<Event> for RedirectorEvent {
    fn from(event: Event) -> Self {
        Self {
            kind: name(event.kind),
            time_ns: event.time_ns.into(),
            message: event.message,
            code: event.code,
            netdev: event.netdev,
            stream: event.stream,
        }
    }
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Ready => "ready",
        EventKind::Waiting => "waiting",
        EventKind::InputDown => "input_down",
        EventKind::InputUp => "input_up",
        EventKind::InputMissing => "input_missing",
        EventKind::InputBack => "input_back",
        EventKind::InputClosed => "input_closed",
        EventKind::OutputDown => "output_down",
        EventKind::OutputUp => "output_up",
        EventKind::OutputMissing => "output_missing",
        EventKind::OutputBack => "output_back",
        EventKind::GateOpened => "gate_opened",
        EventKind::GateClosed => "gate_closed",
        EventKind::Warning => "warning",
        EventKind::CredentialsRenewed => "credentials_renewed",
        EventKind::ClockStepped => "clock_stepped",
        EventKind::CountReached => "count_reached",
        EventKind::Failed => "failed",
    }
}
