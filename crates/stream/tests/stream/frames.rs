//! Frames as they are seen on a network, without the care for checksums that nobody here looks at.

pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
pub(crate) const MULTICAST6: [u8; 6] = [0x33, 0x33, 0, 0, 0, 0x16];
pub(crate) const QEMU_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// As laboratories give them out.
pub(crate) const TINY_MAC: [u8; 6] = [0, 0, 0, 0, 0, 2];
pub(crate) const SOURCE: [u8; 6] = [0x5a, 0xf3, 0x01, 0x22, 0xab, 0x10];

pub(crate) fn ethernet(destination: [u8; 6], source: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat()
}

/// What hardware adds to a short frame.
pub(crate) fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

pub(crate) fn tagged(frame: &[u8], tpid: u16) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &[0, 100], &frame[12..]].concat()
}

pub(crate) fn arp() -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 1], &SOURCE[..], &[192, 168, 0, 1], &[0; 6], &[192, 168, 0, 2]].concat()
}

/// A UDP datagram over IPv4, of `payload` bytes.
pub(crate) fn ipv4(payload: usize) -> Vec<u8> {
    let total = u16::try_from(28 + payload).unwrap().to_be_bytes();
    let udp = u16::try_from(8 + payload).unwrap().to_be_bytes();
    let header =
        [0x45, 0, total[0], total[1], 0x12, 0x34, 0x40, 0, 64, 17, 0xab, 0xcd, 10, 0, 0, 1, 10, 0, 0, 2];
    [&header[..], &[0x30, 0x39, 0, 53, udp[0], udp[1], 0, 0], &vec![b'x'; payload]].concat()
}

/// A UDP datagram over IPv6, of `payload` bytes.
pub(crate) fn ipv6(payload: usize) -> Vec<u8> {
    let udp = u16::try_from(8 + payload).unwrap().to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, udp[0], udp[1], 17, 64, 0xfe, 0x80];
    header.resize(40, 0);
    [&header[..], &[0x30, 0x39, 0, 53, udp[0], udp[1], 0, 0], &vec![b'x'; payload]].concat()
}

/// The frames that a network begins with, to `destination`.
pub(crate) fn usual(destination: [u8; 6]) -> Vec<(&'static str, Vec<u8>)> {
    let to = |ethertype, packet: &[u8]| ethernet(destination, SOURCE, ethertype, packet);
    vec![
        ("ARP", to(0x0806, &arp())),
        ("ARP, padded", padded(to(0x0806, &arp()))),
        ("RARP", to(0x8035, &arp())),
        ("IPv4", to(0x0800, &ipv4(56))),
        ("IPv4, short and padded", padded(to(0x0800, &ipv4(3)))),
        ("IPv4, full", to(0x0800, &ipv4(1472))),
        ("IPv4, GSO", to(0x0800, &ipv4(65_000))),
        ("IPv6", to(0x86dd, &ipv6(0))),
        ("IPv6, full", to(0x86dd, &ipv6(1452))),
        ("VLAN and ARP", tagged(&to(0x0806, &arp()), 0x8100)),
        ("VLAN and IPv4", tagged(&to(0x0800, &ipv4(100)), 0x8100)),
        ("two VLANs and IPv6", tagged(&tagged(&to(0x86dd, &ipv6(30)), 0x8100), 0x88a8)),
        ("spanning tree", ethernet(destination, SOURCE, 38, &[&[0x42, 0x42, 3][..], &[0; 35]].concat())),
    ]
}
