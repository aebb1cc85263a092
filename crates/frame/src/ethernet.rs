//! The Ethernet II header and the VLAN tag (IEEE 802.3, IEEE 802.1Q; numbers from `linux/if_ether.h`).
//!
//! An untagged frame: destination (6 bytes), source (6), ethertype (2), payload. A tag is 4 bytes put in before
//! the ethertype, at [`TAG_OFFSET`]; the outermost tag is the first.

/// Destination, source and ethertype; in bytes (`ETH_HLEN`).
pub const ETHERNET_HEADER_LEN: usize = 14;

/// TPID and TCI; in bytes (`VLAN_HLEN`).
pub const VLAN_TAG_LEN: usize = 4;

/// Where the ethertype is, or the outermost tag when there is one; in bytes from the frame's start.
pub const TAG_OFFSET: usize = 12;

/// IPv4 (`ETH_P_IP`).
pub const ETHERTYPE_IPV4: u16 = 0x0800;

/// ARP (`ETH_P_ARP`).
pub const ETHERTYPE_ARP: u16 = 0x0806;

/// IPv6 (`ETH_P_IPV6`).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// TPID of a customer tag, the usual VLAN tag (`ETH_P_8021Q`).
pub const TPID_8021Q: u16 = 0x8100;

/// TPID of a service tag, the outer one of QinQ (`ETH_P_8021AD`).
pub const TPID_8021AD: u16 = 0x88a8;

/// Whether the kernel takes this ethertype for a VLAN tag (`eth_type_vlan()` in `linux/if_vlan.h`).
#[must_use]
pub const fn is_vlan_tpid(ethertype: u16) -> bool {
    matches!(ethertype, TPID_8021Q | TPID_8021AD)
}

/// A VLAN tag: as it stands in a frame, or as the kernel holds it beside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: [`TPID_8021Q`] or [`TPID_8021AD`]. Host order.
    pub tpid: u16,
    /// Tag control information: priority (3 bits), drop eligible (1), VLAN id (12). Host order.
    pub tci: u16,
}

impl VlanTag {
    /// The tag as it belongs at [`TAG_OFFSET`].
    #[must_use]
    pub const fn to_bytes(self) -> [u8; VLAN_TAG_LEN] {
        let [tpid_high, tpid_low] = self.tpid.to_be_bytes();
        let [tci_high, tci_low] = self.tci.to_be_bytes();
        [tpid_high, tpid_low, tci_high, tci_low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_written_in_the_order_of_the_wire() {
        assert_eq!(VlanTag { tpid: TPID_8021Q, tci: 0x2064 }.to_bytes(), [0x81, 0x00, 0x20, 0x64]);
    }
}
