//! The length of a TAP's own queue (`txqueuelen`), which a handover raises, and which a killed one leaves so.

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use tapferry_sys::namespace::run_in;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::{Errno, Error, queue_length};

use crate::error::Failure;
use crate::namespace::open_namespace;
use crate::promise::{Work, promise};

/// Sets it, in frames, for the interface of that number in the network namespace of that path; without one, in this
/// process's own. Needs CAP_NET_ADMIN there.
#[napi(catch_unwind, ts_return_type = "Promise<void>")]
pub fn set_queue_length(ifindex: u32, frames: u32, netns: Option<String>) -> AsyncTask<Work<()>> {
    promise(move || {
        let ifindex = IfIndex::from_netlink(ifindex).ok_or_else(|| no_interface(ifindex))?;
        let namespace = netns.as_deref().map(open_namespace).transpose()?;
        run_in(namespace.as_ref(), || queue_length::set(ifindex, frames)).map_err(|error| refused(&error))
    })
}

fn no_interface(ifindex: u32) -> Failure {
    let message = format!("no interface has the number {ifindex}");
    Failure::new("NETDEV_NOT_FOUND", &message, &"see `ip link` for those there are")
}

fn refused(error: &Error) -> Failure {
    match error.errno {
        Errno::NODEV => Failure::new("NETDEV_NOT_FOUND", error, &"see `ip link` for those there are"),
        Errno::PERM | Errno::ACCESS => {
            Failure::new("PERMISSION", error, &"it takes CAP_NET_ADMIN: run it as root")
        }
        _ => Failure::new("SYSTEM", error, &"`dmesg` may have the kernel's view"),
    }
}
