//! The handle of the netdevs of a VM that is going to arrive.

use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, BigInt};
use napi_derive::napi;
use tapferry_handover::{Destination, DestinationReport};

use crate::error::Failure;
use crate::handover::event::{OnEvent, observer};
use crate::handover::options::{HandoverDestinationOptions, moment};
use crate::handover::report::HandoverDestinationReport;
use crate::promise::{Answer, Work, promise};

/// The netdevs of a VM that is going to arrive. One that is forgotten is stopped when it is collected.
#[napi]
pub struct HandoverDestination {
    core: Arc<Destination>,
    netdevs: usize,
}

#[napi]
impl HandoverDestination {
    /// Closes the gates before the VM and listens, in threads of its own. Rejects with an error that has a stable
    /// `code`.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverDestination>")]
    pub fn start(
        options: HandoverDestinationOptions,
        #[napi(ts_arg_type = "(event: HandoverEvent) => void")] on_event: OnEvent,
    ) -> AsyncTask<Work<HandoverDestination>> {
        promise(move || {
            let (from, plans) = options.into_plans()?;
            let netdevs = plans.len();
            let core = Destination::start(&from, plans, &observer(on_event))?;
            Ok(Self { core: Arc::new(core), netdevs })
        })
    }

    /// The VM runs since that time (CLOCK_REALTIME, nanoseconds since 1970); without it, now.
    #[napi(catch_unwind)]
    pub fn resumed(&self, at_ns: Option<BigInt>) {
        self.core.resumed(moment(at_ns));
    }

    /// The VM's process has ended.
    #[napi(catch_unwind)]
    pub fn gone(&self) {
        self.core.gone();
    }

    /// A snapshot of each netdev, in the order in which they were given; the final one of those that have ended.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverDestinationReport[]>")]
    pub fn reports(&self) -> AsyncTask<Work<Vec<HandoverDestinationReport>>> {
        let (core, netdevs) = (Arc::clone(&self.core), self.netdevs);
        promise(move || all(core.reports(), netdevs))
    }

    /// Ends all, whatever their state, and resolves with the final reports; so does every further call.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverDestinationReport[]>")]
    pub fn stop(&self) -> AsyncTask<Work<Vec<HandoverDestinationReport>>> {
        let (core, netdevs) = (Arc::clone(&self.core), self.netdevs);
        promise(move || all(core.stop(), netdevs))
    }
}

/// Those of all netdevs: one whose thread has panicked has none, and then the others could not be told apart.
fn all(reports: Vec<DestinationReport>, netdevs: usize) -> Answer<Vec<HandoverDestinationReport>> {
    if reports.len() < netdevs {
        return Err(Failure::thread_ended());
    }
    Ok(reports.into_iter().map(Into::into).collect())
}
