//! QEMU's own filter-mirror: QEMU reads the TAP, and the filter writes each frame to the socket.
//!
//! There is no guest, which would cost QEMU more than the filter. A hub takes the frames in its place: one that has a
//! port without a peer takes and forgets them. The TAP comes by descriptor, as from libvirt. No guest, no offloads:
//! QEMU then has the kernel cut GSO frames up. So the benchmark asks for offloads on the guest's behalf, and leaves
//! it as it is for one peer more.

use super::{Joins, Peer, SHORTLY, Way};
use crate::program::Program;
use crate::stream::Framing;

pub(crate) const PLAIN: Peer = Peer {
    name: "filter-mirror",
    about: "QEMU's filter, GSO frames whole: one read and two writes per frame",
    way: Way::Program(OFF),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

pub(crate) const WITH_VNET_HEADER: Peer = Peer {
    name: "filter-mirror+vnet",
    about: "the same with vnet_hdr_support=on: three writes per frame",
    way: Way::Program(ON),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: true }),
    holds: SHORTLY,
};

pub(crate) const WITHOUT_OFFLOADS: Peer = Peer {
    name: "filter-mirror-cut",
    about: "the same as filter-mirror, as QEMU sets its TAP up without a guest: the kernel cuts GSO frames",
    way: Way::Program(OFF),
    joins: Joins::CutStreams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

const OFF: Program = Program {
    command: "qemu-system-x86_64 -machine none -accel tcg -display none -nodefaults \
              -netdev tap,id=hn0,fd={tap} -netdev hubport,id=p0,hubid=0,netdev=hn0 \
              -netdev hubport,id=p1,hubid=0 -chardev socket,id=c0,path={output} \
              -object filter-mirror,id=f0,netdev=hn0,queue=tx,outdev=c0",
    package: "qemu-system-x86",
    version: "qemu-system-x86_64 -version",
};

const ON: Program = Program {
    command: "qemu-system-x86_64 -machine none -accel tcg -display none -nodefaults \
              -netdev tap,id=hn0,fd={tap} -netdev hubport,id=p0,hubid=0,netdev=hn0 \
              -netdev hubport,id=p1,hubid=0 -chardev socket,id=c0,path={output} \
              -object filter-mirror,id=f0,netdev=hn0,queue=tx,outdev=c0,vnet_hdr_support=on",
    package: "qemu-system-x86",
    version: "qemu-system-x86_64 -version",
};
