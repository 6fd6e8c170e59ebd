//! Which addresses a client may call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a client reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every address: an operator of the cluster has chosen the server.
    Anything,
    /// Every address but those of the machine's own link, where clouds keep the metadata and credentials of a machine.
    NoMetadata,
    /// Addresses of the public internet.
    Public,
}

/// Metadata services at addresses that look like others.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl Reach {
    /// Whether an address may be called.
    #[must_use]
    pub fn permits(self, address: IpAddr) -> bool {
        let address = plain(address);
        match self {
            Self::Anything => true,
            Self::NoMetadata => !is_metadata(address),
            Self::Public => !is_metadata(address) && is_public(address),
        }
    }
}

/// The address that is meant: version 4 may be written within version 6 in several ways.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_unspecified()
                || v4.octets()[0] == 0
                || v4.is_broadcast()
                || v4.is_multicast()
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || v6 == METADATA_V6,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19)) || a >= 240;
            !(v4.is_private() || v4.is_loopback() || v4.is_documentation() || shared || special)
        }
        // 2000::/3 is what is given out.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && !matches!(v6.segments(), [0x2001, 0 | 0xdb8, ..]),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("93.184.216.34", true, true)]
    #[case("2606:4700::1111", true, true)]
    #[case("10.0.0.7", true, false)]
    #[case("172.16.3.1", true, false)]
    #[case("192.168.1.1", true, false)]
    #[case("127.0.0.1", true, false)]
    #[case("::1", true, false)]
    #[case("fd12::1", true, false)]
    #[case("100.64.0.1", true, false)]
    #[case("198.18.0.1", true, false)]
    #[case("169.254.169.254", false, false)]
    #[case("169.254.1.1", false, false)]
    #[case("fe80::1", false, false)]
    #[case("fd00:ec2::254", false, false)]
    #[case("100.100.100.200", false, false)]
    #[case("168.63.129.16", false, false)]
    #[case("0.0.0.0", false, false)]
    #[case("::", false, false)]
    #[case("224.0.0.1", false, false)]
    #[case("255.255.255.255", false, false)]
    #[case("::ffff:169.254.169.254", false, false)]
    #[case("::ffff:10.0.0.1", true, false)]
    #[case("64:ff9b::a9fe:a9fe", false, false)]
    #[case("2002:a9fe:a9fe::1", false, false)]
    #[case("::169.254.169.254", false, false)]
    fn an_address_is_within_reach_or_not(#[case] address: IpAddr, #[case] no_metadata: bool, #[case] public: bool) {
        assert_eq!(Reach::NoMetadata.permits(address), no_metadata);
        assert_eq!(Reach::Public.permits(address), public);
        assert!(Reach::Anything.permits(address));
    }
}
