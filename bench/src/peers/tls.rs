//! The same ways to a stream, through TLS 1.3 with certificates on both sides, up to one terminator for all
//! (`stream/terminator.rs`): tapferry, QEMU's filter-mirror on a chardev with tls-creds-x509, socat's OPENSSL.

use std::any::Any;
use std::path::PathBuf;

use tapferry_redirect::{Address, Latency};

use super::tapferry::{start, to_stream};
use super::{Joins, Peer, SHORTLY, Way};
use crate::error::Result;
use crate::program::Program;
use crate::stream::{Framing, TLS_PORT, credentials_of};

pub(crate) const BALANCED: Peer = Peer {
    name: "balanced-tls",
    about: "as balanced-stream, with --tls-creds",
    way: Way::Child(start_balanced),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

pub(crate) const LOW: Peer = Peer {
    name: "low-tls",
    about: "as low-stream, with --tls-creds",
    way: Way::Child(start_low),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

pub(crate) const MIRROR: Peer = Peer {
    name: "filter-mirror-tls",
    about: "as filter-mirror, on a chardev with tls-creds-x509 (GnuTLS)",
    way: Way::Program(Program {
        command: "qemu-system-x86_64 -machine none -accel tcg -display none -nodefaults \
                  -netdev tap,id=hn0,fd={tap} -netdev hubport,id=p0,hubid=0,netdev=hn0 \
                  -netdev hubport,id=p1,hubid=0 \
                  -object tls-creds-x509,id=t0,dir={output}.tls,endpoint=client \
                  -chardev socket,id=c0,host=127.0.0.1,port=4433,tls-creds=t0 \
                  -object filter-mirror,id=f0,netdev=hn0,queue=tx,outdev=c0",
        package: "qemu-system-x86",
        version: "qemu-system-x86_64 -version",
    }),
    joins: Joins::Streams(Framing::Qemu { vnet_hdr_support: false }),
    holds: SHORTLY,
};

pub(crate) const SOCAT: Peer = Peer {
    name: "socat-tls",
    about: "as socat-stream, into OPENSSL: one record per frame",
    way: Way::Program(Program {
        command: "socat -u -b 69632 INTERFACE:{input} OPENSSL:localhost:4433,pf=ip4,nodelay,\
                  cafile={output}.tls/ca-cert.pem,cert={output}.tls/client-cert.pem,key={output}.tls/client-key.pem",
        package: "socat",
        version: "socat -V",
    }),
    joins: Joins::Streams(Framing::None),
    holds: SHORTLY,
};

fn start_balanced(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start_secure(input, output, Latency::Balanced)
}

fn start_low(input: &str, output: &str) -> Result<Box<dyn Any>> {
    start_secure(input, output, Latency::Low)
}

fn start_secure(input: &str, output: &str, latency: Latency) -> Result<Box<dyn Any>> {
    let address = Address::Tcp { host: "localhost".into(), port: TLS_PORT, server: false };
    start(to_stream(input, address, false, Some(PathBuf::from(credentials_of(output))))?, latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_in_command_lines_is_that_of_the_terminator() {
        for peer in [MIRROR, SOCAT] {
            let Way::Program(program) = peer.way else { panic!("{} is a program", peer.name) };
            assert!(program.command.contains(&TLS_PORT.to_string()), "{}", program.command);
        }
    }
}
