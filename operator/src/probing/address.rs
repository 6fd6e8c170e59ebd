//! Which addresses the operator does not call, whoever names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The operator does not call this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is link-local, multicast or a metadata service, which the operator does not call")]
pub(super) struct Refused;

/// Metadata services with an address that is not link-local: Amazon's by IPv6, Alibaba's, Oracle's, Azure's.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Refuses addresses where machines find credentials, and those of many receivers.
pub(super) fn allow(address: IpAddr) -> Result<(), Refused> {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if link_local || address.is_multicast() || METADATA.contains(&address) { Err(Refused) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", true)]
    #[case("203.0.113.7", true)]
    #[case("fd12::1", true)]
    #[case("127.0.0.1", true)]
    #[case("169.254.169.254", false)]
    #[case("::ffff:169.254.169.254", false)]
    #[case("fe80::1", false)]
    #[case("fd00:ec2::254", false)]
    #[case("100.100.100.200", false)]
    #[case("168.63.129.16", false)]
    #[case("224.0.0.1", false)]
    #[case("255.255.255.255", false)]
    fn only_what_can_be_a_model_server_is_called(#[case] address: &str, #[case] allowed: bool) {
        assert_eq!(allow(address.parse().unwrap()).is_ok(), allowed);
    }
}
