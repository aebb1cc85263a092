//! What each side of a handover is told before it starts.

use std::time::Duration;

use tapferry_redirect::{Netdev, StreamPlan};
use tapferry_sys::egress_gate::GateKind;

/// Bytes of memory for frames that wait, on either side.
pub const DEFAULT_MAX_HOLD: usize = 256 * 1024 * 1024;
/// How long the destination's VM may take until it runs, once its migration is complete.
pub const DEFAULT_RESUME_TIMEOUT: Duration = Duration::from_secs(60);
/// Frames that may wait in a TAP's own queue during a handover (`txqueuelen`).
pub const QUEUE_LENGTH: u32 = 50_000;

/// Which VM and which of its netdevs, so that two of different VMs are never joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The VM's UUID (`query-uuid`); zeros where it has none.
    pub vm_uuid: [u8; 16],
    /// The VM's name (`query-name`), for people.
    pub vm_name: String,
    /// QEMU's id of the netdev, or the interface's name where that is not known.
    pub netdev_id: String,
    /// The guest's MAC address; zeros where it is not known.
    pub mac: [u8; 6],
}

/// One netdev of a VM that is going to leave this host.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The VM's TAP.
    pub netdev: Netdev,
    /// Whose it is.
    pub identity: Identity,
    /// Where the destination listens.
    pub to: StreamPlan,
    /// Bytes of memory for frames that wait.
    pub max_hold: usize,
    /// SO_MARK of what is given back to the guest; frames that bear it are not captured.
    pub mark: u32,
    /// How long the destination's VM may take until it runs, once its migration is complete or its process has ended.
    pub resume_timeout: Duration,
}

/// One netdev of a VM that is going to arrive on this host.
#[derive(Debug, Clone)]
pub struct DestinationPlan {
    /// The VM's TAP.
    pub netdev: Netdev,
    /// Whose it is.
    pub identity: Identity,
    /// Bytes of memory for frames that wait.
    pub max_hold: usize,
    /// SO_MARK of what is injected: the gate lets only that pass.
    pub mark: u32,
    /// By what the gate stands; `None`: at tcx where the kernel has it, else by cls_bpf.
    pub gate: Option<GateKind>,
    /// How long the VM may take until it runs, once the source, which has stopped, is gone.
    pub resume_timeout: Duration,
}
