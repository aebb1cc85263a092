//! Generic segmentation offload: frames that stand for several, each of which must fit the output's MTU.
//!
//! - [`fit()`]: the kernel segments, but does not check what comes out against the MTU: done before it is asked to.
//! - [`Segmenter`]: cuts such a frame itself, where the far side or its kernel cannot.

mod mtu;
mod packet;
mod segmenter;

pub use mtu::{FitError, fit};
pub use segmenter::{SegmentError, Segmenter};

use crate::layers::{Fragment, Ip, IpVersion, Layers, Malformed, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::vnet::GsoKind;

/// The packet in `layers` and the offset of its payload, if it is one that `kind` announces.
fn announced(kind: GsoKind, layers: &Layers) -> Result<(Ip, usize), Malformed> {
    let ip = layers.ip.ok_or(Malformed::OtherSegments)?;
    let payload = ip.payload.ok_or(Malformed::OtherSegments)?;
    let as_announced = match kind {
        GsoKind::Tcp4 => ip.version == IpVersion::V4 && ip.protocol == PROTOCOL_TCP,
        GsoKind::Tcp6 => ip.version == IpVersion::V6 && ip.protocol == PROTOCOL_TCP,
        GsoKind::Udp | GsoKind::UdpL4 => ip.protocol == PROTOCOL_UDP,
        GsoKind::Unknown(_) => false,
    };
    if as_announced && ip.fragment == Fragment::Whole {
        Ok((ip, payload))
    } else {
        Err(Malformed::OtherSegments)
    }
}
