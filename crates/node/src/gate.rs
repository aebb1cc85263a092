//! Whether a gate could be closed before a VM that is to arrive.

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use tapferry_sys::{Errno, egress_gate};

use crate::error::Failure;
use crate::promise::{Work, promise};

/// Tries, where it has no effect. Rejects with `PERMISSION`, or `SYSTEM` where the kernel is too old for it.
#[napi(catch_unwind, ts_return_type = "Promise<void>")]
pub fn probe_gate() -> AsyncTask<Work<()>> {
    promise(|| {
        egress_gate::probe().map_err(|error| match error.errno {
            Errno::PERM | Errno::ACCESS => Failure::new(
                "PERMISSION",
                &error,
                &"it takes CAP_BPF and CAP_NET_ADMIN on the host, not only in a user namespace: run it as root",
            ),
            Errno::INVAL => Failure::new("SYSTEM", &error, &"tcx came with Linux 6.6"),
            _ => Failure::new("SYSTEM", &error, &"`dmesg` may have the kernel's view"),
        })
    })
}
