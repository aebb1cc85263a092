//! What a side's TAP is like, as its hello tells: looked at anew for each, for an operator may have put something right
//! meanwhile.

use tapferry_redirect::Netdev;
use tapferry_sys::Error;
use tapferry_sys::clock;
use tapferry_sys::link::Links;
use tapferry_sys::namespace::run_in;
use tapferry_sys::netdev::InterfaceName;
use tapferry_sys::offloads::Offloads;

use crate::plan::Identity;
use crate::wire::{Hello, Role};

/// Looks at one TAP, from wherever the calling thread is.
#[derive(Debug)]
pub(crate) struct Survey {
    name: InterfaceName,
    links: Links,
    offloads: Offloads,
}

impl Survey {
    /// For a TAP of the calling thread's network namespace.
    pub(crate) fn open(name: &InterfaceName) -> Result<Self, Error> {
        Ok(Self { name: name.clone(), links: Links::open()?, offloads: Offloads::open()? })
    }

    /// For a TAP of any.
    pub(crate) fn of(netdev: &Netdev) -> Result<Self, Error> {
        run_in(netdev.namespace.as_ref(), || Self::open(&netdev.name))
    }

    /// A hello of no session. Of a TAP that is gone it has zeros.
    pub(crate) fn hello(&mut self, role: Role, identity: &Identity) -> Hello {
        let link = self.links.by_name(&self.name).ok().flatten();
        Hello {
            role,
            session: 0,
            instance: 0,
            tapferry: env!("CARGO_PKG_VERSION").into(),
            vm_uuid: identity.vm_uuid,
            vm_name: identity.vm_name.clone(),
            netdev_id: identity.netdev_id.clone(),
            mac: identity.mac,
            mtu: link.as_ref().map_or(0, |link| link.mtu),
            offloads: self.offloads.tun_flags(&self.name).unwrap_or(0),
            vnet_hdr: link.and_then(|link| link.vnet_header),
            realtime_ns: clock::realtime_ns(),
            next_index: None,
        }
    }
}
