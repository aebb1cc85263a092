//! What a killed handover leaves of an interface, to be put right: the length of a TAP's own queue (`txqueuelen`), which
//! was raised, and a gate that lets everything pass.

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use tapferry_sys::namespace::run_in;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::{Errno, Error, egress_gate, queue_length};

use crate::error::Failure;
use crate::namespace::open_namespace;
use crate::promise::{Work, promise};

/// Sets the length, in frames, for the interface of that number in the network namespace of that path; without one, in
/// this process's own. Needs CAP_NET_ADMIN there.
#[napi(catch_unwind, ts_return_type = "Promise<void>")]
pub fn set_queue_length(ifindex: u32, frames: u32, netns: Option<String>) -> AsyncTask<Work<()>> {
    promise(move || change(ifindex, netns.as_deref(), |ifindex| queue_length::set(ifindex, frames)))
}

/// Takes away the gate that the process of that number has left there, and says whether there was one. Needs
/// CAP_NET_ADMIN there if so.
#[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
pub fn remove_left_gate(ifindex: u32, pid: u32, netns: Option<String>) -> AsyncTask<Work<bool>> {
    promise(move || change(ifindex, netns.as_deref(), |ifindex| egress_gate::remove_leftover(ifindex, pid)))
}

fn change<T: Send>(
    ifindex: u32,
    netns: Option<&str>,
    change: impl FnOnce(IfIndex) -> Result<T, Error> + Send,
) -> Result<T, Failure> {
    let ifindex = IfIndex::from_netlink(ifindex).ok_or_else(|| no_interface(ifindex))?;
    let namespace = netns.map(open_namespace).transpose()?;
    run_in(namespace.as_ref(), || change(ifindex)).map_err(|error| refused(&error))
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
