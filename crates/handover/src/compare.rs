//! The hellos of both sides compared: before the night in a rehearsal, and when a handover begins. Pure.

use std::time::Duration;

use crate::connection::nanos;
use crate::wire::Hello;

/// Logs of two hosts whose clocks are further apart cannot be read side by side.
const CLOCKS: Duration = Duration::from_secs(1);

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The handover cannot work.
    Fault,
    /// It costs something.
    Cost,
    /// Good to know.
    Note,
}

impl Weight {
    /// The stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Cost => "cost",
            Self::Note => "note",
        }
    }
}

/// Something that is not the same on both sides, or stands between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Stable, as in a handover's warnings.
    pub code: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What is so, and what follows, in one line.
    pub message: String,
    /// What to do, in one line.
    pub advice: String,
}

/// What differs, the same on whichever side it is asked. `offset_ns`: the destination's clock minus the source's as pings
/// have shown it; else the hellos tell.
pub(crate) fn compare(source: &Hello, destination: &Hello, offset_ns: Option<i64>) -> Vec<Difference> {
    let offset_ns = offset_ns.unwrap_or_else(|| {
        destination.realtime_ns.cast_signed().wrapping_sub(source.realtime_ns.cast_signed())
    });
    [
        mtu(source.mtu, destination.mtu),
        vnet_header(source, destination),
        clocks(offset_ns),
        versions(&source.tapferry, &destination.tapferry),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn mtu(source: u32, destination: u32) -> Option<Difference> {
    (destination < source && destination != 0).then(|| Difference {
        code: "mtu_smaller",
        weight: Weight::Cost,
        message: format!(
            "the source's TAP has an MTU of {source}, the destination's of {destination}: frames with more than \
             {destination} bytes behind their Ethernet header are lost"
        ),
        advice: format!("give the destination's TAP and its bridge the same: ip link set TAP mtu {source}"),
    })
}

/// QEMU keeps with a virtio card whether its peer has the header (hw/net/virtio-net.c, "saved image requires
/// vnet_hdr=on"); other cards do without. Only a guest with a card of the first kind allows offloads.
fn vnet_header(source: &Hello, destination: &Hello) -> Option<Difference> {
    (source.vnet_hdr == Some(true) && destination.vnet_hdr == Some(false)).then(|| Difference {
        code: "vnet_header_missing",
        weight: if source.offloads == 0 { Weight::Cost } else { Weight::Fault },
        message: "the source's TAP has a virtio header before each frame, the destination's has none: QEMU does not \
                  take a VM with a virtio network card there"
            .into(),
        advice: "start QEMU at the destination with vnet_hdr=on, or make its TAP with vnet_hdr".into(),
    })
}

fn clocks(offset_ns: i64) -> Option<Difference> {
    let apart = offset_ns.unsigned_abs();
    (apart > nanos(CLOCKS)).then(|| Difference {
        code: "clocks_apart",
        weight: Weight::Cost,
        message: format!(
            "the destination's clock is {} s {} the source's: times in the logs and reports of the two hosts do not go \
             together, and only the report's page corrects them",
            seconds(apart),
            if offset_ns > 0 { "ahead of" } else { "behind" }
        ),
        advice: "let NTP or PTP set both clocks, as chrony does".into(),
    })
}

fn versions(source: &str, destination: &str) -> Option<Difference> {
    (source != destination).then(|| Difference {
        code: "versions_differ",
        weight: Weight::Note,
        message: format!(
            "tapferry {source} at the source and {destination} at the destination: they speak the same protocol"
        ),
        advice: "run the same version on both hosts where you can".into(),
    })
}

/// With one digit behind the point.
fn seconds(nanoseconds: u64) -> String {
    let tenths = nanoseconds / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Identity;
    use crate::wire::Role;

    fn hello() -> Hello {
        let Identity { vm_uuid, vm_name, netdev_id, mac } = Identity::default();
        Hello {
            role: Role::Rehearsal,
            session: 0,
            instance: 0,
            tapferry: "0.1.0".into(),
            vm_uuid,
            vm_name,
            netdev_id,
            mac,
            mtu: 1500,
            offloads: 0xf,
            vnet_hdr: Some(true),
            realtime_ns: 10_000_000_000,
            next_index: None,
        }
    }

    fn codes(source: &Hello, destination: &Hello) -> Vec<(&'static str, Weight)> {
        let found = compare(source, destination, None);
        found.into_iter().map(|difference| (difference.code, difference.weight)).collect()
    }

    #[test]
    fn two_of_a_kind_do_not_differ() {
        assert_eq!(codes(&hello(), &hello()), []);
        // A VM that waits to be migrated has not allowed any yet.
        assert_eq!(codes(&hello(), &Hello { offloads: 0, ..hello() }), []);
    }

    #[test]
    fn only_a_smaller_mtu_at_the_destination_costs_frames() {
        let wide = || Hello { mtu: 9000, ..hello() };
        assert_eq!(codes(&wide(), &hello()), [("mtu_smaller", Weight::Cost)]);
        assert_eq!(codes(&hello(), &wide()), []);
        assert_eq!(codes(&wide(), &Hello { mtu: 0, ..hello() }), [], "it is not known");
    }

    #[test]
    fn a_header_that_qemu_misses_is_a_fault_once_the_guest_has_allowed_offloads() {
        let bare = || Hello { vnet_hdr: Some(false), ..hello() };
        assert_eq!(codes(&hello(), &bare()), [("vnet_header_missing", Weight::Fault)]);
        let idle = Hello { offloads: 0, ..hello() };
        assert_eq!(codes(&idle, &bare()), [("vnet_header_missing", Weight::Cost)]);
        assert_eq!(codes(&bare(), &hello()), []);
        assert_eq!(codes(&hello(), &Hello { vnet_hdr: None, ..hello() }), []);
    }

    #[test]
    fn clocks_are_told_by_pings_or_else_by_the_hellos() {
        let late = Hello { realtime_ns: 7_900_000_000, ..hello() };
        let told = compare(&hello(), &late, None);
        assert!(told[0].message.contains("is 2.1 s behind the source's"), "{told:?}");
        assert_eq!(compare(&hello(), &late, Some(999_999_999)), []);
        let told = compare(&hello(), &hello(), Some(61_000_000_000));
        assert!(told[0].message.contains("is 61.0 s ahead of"), "{told:?}");
    }

    #[test]
    fn another_tapferry_of_the_same_protocol_is_worth_a_note() {
        let other = Hello { tapferry: "0.2.0".into(), ..hello() };
        assert_eq!(codes(&hello(), &other), [("versions_differ", Weight::Note)]);
    }
}
