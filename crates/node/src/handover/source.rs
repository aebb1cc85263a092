//! The handle of a netdev that its VM is going to leave.

use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, BigInt};
use napi_derive::napi;
use tapferry_handover::{RingLocation, Source, SourcePlan};

use crate::error::Failure;
use crate::handover::event::{OnEvent, observer};
use crate::handover::options::{HandoverReceiveQueue, HandoverSourceOptions, moment};
use crate::handover::report::HandoverSourceReport;
use crate::promise::{Work, promise};

/// A netdev that its VM is going to leave. One that is forgotten is stopped when it is collected.
#[napi]
pub struct HandoverSource {
    core: Arc<Source>,
}

#[napi]
impl HandoverSource {
    /// Opens what there is to open, in a thread of its own; the destination may come later. Rejects with an error that
    /// has a stable `code`.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverSource>")]
    pub fn start(
        options: HandoverSourceOptions,
        #[napi(ts_arg_type = "(event: HandoverEvent) => void")] on_event: OnEvent,
    ) -> AsyncTask<Work<HandoverSource>> {
        promise(move || {
            let core = Source::start(SourcePlan::try_from(options)?, observer(on_event))?;
            Ok(Self { core: Arc::new(core) })
        })
    }

    /// A migration has begun: frames are captured from now on.
    #[napi(catch_unwind)]
    pub fn calibrate(&self, pid: Option<i32>) {
        self.core.calibrate(pid);
    }

    /// Where the guest's receive queue is, or why that is not known. Resolves with whether it can be read.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn receive_queue(&self, queue: HandoverReceiveQueue) -> AsyncTask<Work<bool>> {
        let core = Arc::clone(&self.core);
        promise(move || {
            let ring = queue.ring.map(RingLocation::try_from).transpose()?;
            Ok(core.receive_queue(ring.ok_or_else(|| queue.why_no_ring.unwrap_or_default())))
        })
    }

    /// The used index of that queue, as the VM's monitor has just answered; without it, it did not. `is_last`: it was
    /// asked after the stop had been told here.
    #[napi(catch_unwind)]
    pub fn used_index(&self, used: Option<u16>, is_last: bool) {
        self.core.used_index(used, is_last);
    }

    /// The VM stopped, at that time (CLOCK_REALTIME, nanoseconds since 1970); without it, now.
    #[napi(catch_unwind)]
    pub fn stopped(&self, at_ns: Option<BigInt>) {
        self.core.stopped(moment(at_ns));
    }

    /// The VM runs on here.
    #[napi(catch_unwind)]
    pub fn resumed(&self) {
        self.core.resumed();
    }

    /// The migration is complete.
    #[napi(catch_unwind)]
    pub fn completed(&self) {
        self.core.completed();
    }

    /// The VM's process has ended.
    #[napi(catch_unwind)]
    pub fn gone(&self) {
        self.core.gone();
    }

    /// A snapshot; the final one once it has ended.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverSourceReport>")]
    pub fn report(&self) -> AsyncTask<Work<HandoverSourceReport>> {
        let core = Arc::clone(&self.core);
        promise(move || core.report().map(Into::into).ok_or_else(Failure::thread_ended))
    }

    /// Ends it, whatever its state, and resolves with the final report; so does every further call.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverSourceReport>")]
    pub fn stop(&self) -> AsyncTask<Work<HandoverSourceReport>> {
        let core = Arc::clone(&self.core);
        promise(move || core.stop().map(Into::into).ok_or_else(Failure::thread_ended))
    }
}
