//! Whether a gate could be closed before a VM that is to arrive, and by what.

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use tapferry_sys::Errno;
use tapferry_sys::egress_gate::{GateKind, probe};

use crate::error::Failure;
use crate::promise::{Work, promise};

/// By what a gate stands before an interface.
#[napi(string_enum = "snake_case")]
pub enum GateName {
    /// A link at tcx.
    Tcx,
    /// A filter at clsact, by the classifier cls_bpf.
    ClsBpf,
}

impl From<GateKind> for GateName {
    fn from(kind: GateKind) -> Self {
        match kind {
            GateKind::Tcx => Self::Tcx,
            GateKind::ClsBpf => Self::ClsBpf,
        }
    }
}

impl From<GateName> for GateKind {
    fn from(name: GateName) -> Self {
        match name {
            GateName::Tcx => Self::Tcx,
            GateName::ClsBpf => Self::ClsBpf,
        }
    }
}

/// Tries, where it has no effect. Rejects with `PERMISSION`, or `SYSTEM` where the kernel refuses otherwise.
#[napi(catch_unwind, ts_return_type = "Promise<GateName>")]
pub fn probe_gate() -> AsyncTask<Work<GateName>> {
    promise(|| {
        probe().map(Into::into).map_err(|error| match error.errno {
            Errno::PERM | Errno::ACCESS => Failure::new(
                "PERMISSION",
                &error,
                &"it takes CAP_BPF and CAP_NET_ADMIN on the host, not only in a user namespace: run it as root",
            ),
            _ => Failure::new("SYSTEM", &error, &"`dmesg` may have the kernel's view"),
        })
    })
}
