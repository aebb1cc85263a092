//! A rehearsal of either side, as JavaScript steers it.

use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use tapferry_handover::rehearsal::visit;
use tapferry_handover::wire::Hello;
use tapferry_handover::{Difference, Encounter, Identity, Rehearsal};
use tapferry_redirect::Netdev;

use crate::error::Failure;
use crate::handover::options::{HandoverAddress, HandoverNetdevOptions};
use crate::handover::report::{milliseconds, signed_milliseconds};
use crate::options::{self, netdev};
use crate::promise::{Work, promise};

/// Something that is not the same on both sides, or stands between them.
#[napi(object, object_from_js = false)]
pub struct HandoverDifference {
    /// A stable code.
    pub code: &'static str,
    /// `fault`, `cost` or `note`.
    pub weight: &'static str,
    /// What is so, and what follows.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// Who the other side says it is.
#[napi(object, object_from_js = false)]
pub struct HandoverPeer {
    /// `source`, `destination` or `rehearsal`.
    pub role: &'static str,
    /// The version of its tapferry.
    pub tapferry: String,
    /// QEMU's name of its VM; empty where that has none.
    pub vm_name: String,
    /// QEMU's id of its netdev.
    pub netdev_id: String,
    /// Of its TAP, in bytes; 0: not known.
    pub mtu: u32,
    /// `TUN_F_*` of its TAP.
    pub offloads: u32,
    /// Whether there is a virtio-net header before each frame; absent: not known.
    pub vnet_hdr: Option<bool>,
}

/// What one side has learned of the other, about one netdev.
#[napi(object, object_from_js = false)]
pub struct HandoverEncounter {
    /// QEMU's id of the netdev on this side; absent: the other asks for one that is not here.
    pub netdev: Option<String>,
    /// Absent where it has not said who it is.
    pub peer: Option<HandoverPeer>,
    /// The shortest round trip.
    pub round_trip_ms: Option<f64>,
    /// The other side's clock minus this one's.
    pub clock_offset_ms: Option<f64>,
    /// What differs, or why nothing could be compared.
    pub differences: Vec<HandoverDifference>,
}

impl From<Hello> for HandoverPeer {
    fn from(hello: Hello) -> Self {
        Self {
            role: hello.role.name(),
            tapferry: hello.tapferry,
            vm_name: hello.vm_name,
            netdev_id: hello.netdev_id,
            mtu: hello.mtu,
            offloads: hello.offloads,
            vnet_hdr: hello.vnet_hdr,
        }
    }
}

impl From<Difference> for HandoverDifference {
    fn from(difference: Difference) -> Self {
        let Difference { code, weight, message, advice } = difference;
        Self { code, weight: weight.name(), message, advice }
    }
}

impl From<Encounter> for HandoverEncounter {
    fn from(encounter: Encounter) -> Self {
        Self {
            netdev: encounter.netdev,
            peer: encounter.peer.map(Into::into),
            round_trip_ms: encounter.round_trip_ns.map(milliseconds),
            clock_offset_ms: encounter.clock_offset_ns.map(signed_milliseconds),
            differences: encounter.differences.into_iter().map(Into::into).collect(),
        }
    }
}

fn whose(options: HandoverNetdevOptions) -> Result<(Netdev, Identity), Failure> {
    Ok((netdev(&options.netdev, options.netns.as_deref())?, options.identity.try_into()?))
}

/// Looks at a destination, armed or rehearsing, for a netdev of the VM that runs here, and disturbs neither. That nobody
/// is there is an encounter, too.
#[napi(catch_unwind, ts_return_type = "Promise<HandoverEncounter>")]
pub fn visit_handover(
    options: HandoverNetdevOptions,
    to: HandoverAddress,
) -> AsyncTask<Work<HandoverEncounter>> {
    promise(move || {
        let (netdev, identity) = whose(options)?;
        Ok(visit(&netdev, &identity, &to.into_plan(false)?)?.into())
    })
}

/// A destination that only rehearses. One that is forgotten is stopped when it is collected.
#[napi]
pub struct HandoverRehearsal {
    core: Arc<Rehearsal>,
}

#[napi]
impl HandoverRehearsal {
    /// Listens for sources that come for these netdevs. Rejects with an error that has a stable `code`.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverRehearsal>")]
    pub fn start(
        netdevs: Vec<HandoverNetdevOptions>,
        from: HandoverAddress,
    ) -> AsyncTask<Work<HandoverRehearsal>> {
        promise(move || {
            let netdevs = netdevs.into_iter().map(whose).collect::<Result<_, Failure>>()?;
            Ok(Self { core: Arc::new(Rehearsal::open(&from.into_plan(true)?, netdevs)?) })
        })
    }

    /// The next that comes, or null when none does for so long.
    #[napi(catch_unwind, ts_return_type = "Promise<HandoverEncounter | null>")]
    pub fn next(&self, patience_ms: u32) -> AsyncTask<Work<Option<HandoverEncounter>>> {
        let core = Arc::clone(&self.core);
        promise(move || Ok(core.next(options::milliseconds(patience_ms)).map(Into::into)))
    }

    /// Listens no more.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn stop(&self) -> AsyncTask<Work<()>> {
        let core = Arc::clone(&self.core);
        promise(move || {
            core.stop();
            Ok(())
        })
    }
}
