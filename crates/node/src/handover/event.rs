//! What a handover tells of itself.

use std::sync::Arc;

use napi::Status;
use napi::bindgen_prelude::BigInt;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use tapferry_handover::{Event, Observer};

/// Events that may wait for JavaScript. A handover tells each change once, so this many never wait.
const EVENT_QUEUE: usize = 4096;

/// Neither adds an error argument nor keeps the event loop alive.
pub(crate) type OnEvent =
    ThreadsafeFunction<HandoverEvent, (), HandoverEvent, Status, false, true, EVENT_QUEUE>;

/// Something that happened to a handover.
#[napi(object, object_from_js = false)]
pub struct HandoverEvent {
    /// What: `ready`, `waiting`, `state` and so on.
    #[napi(js_name = "type")]
    pub kind: &'static str,
    /// QEMU's id of the netdev that it is about; absent: all of them.
    pub netdev: Option<String>,
    /// The state that it is in now; empty for what is about all netdevs.
    pub state: &'static str,
    /// When: CLOCK_REALTIME, nanoseconds since 1970.
    pub time_ns: BigInt,
    /// One line for people.
    pub message: String,
    /// A stable code, for warnings and failures.
    pub code: Option<&'static str>,
}

impl From<Event> for HandoverEvent {
    fn from(event: Event) -> Self {
        Self {
            kind: event.kind.name(),
            netdev: event.netdev,
            state: event.state,
            time_ns: event.time_ns.into(),
            message: event.message,
            code: event.code,
        }
    }
}

/// Passes each event on to JavaScript; one that comes when the environment ends is for nobody.
pub(crate) fn observer(on_event: OnEvent) -> Observer {
    Arc::new(move |event| {
        on_event.call(event.into(), ThreadsafeFunctionCallMode::NonBlocking);
    })
}
