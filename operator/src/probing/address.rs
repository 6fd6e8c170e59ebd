//! Which addresses the operator does not call, whoever names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why the operator does not call an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Its own.
    #[error("the address is each pod's own, so only the pods of an agent can tell")]
    Own,
    /// One where machines find credentials, or one of many receivers.
    #[error("the address is link-local, multicast or a metadata service, which the operator does not call")]
    Forbidden,
}

/// Metadata services with an address that is not link-local: Amazon's by IPv6, Alibaba's, Oracle's, Azure's.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Why an address is not called, if so.
pub(super) fn refused(address: IpAddr) -> Option<Refused> {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return Some(Refused::Own);
    }
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    (link_local || address.is_multicast() || METADATA.contains(&address)).then_some(Refused::Forbidden)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", None)]
    #[case("203.0.113.7", None)]
    #[case("fd12::1", None)]
    #[case("127.0.0.1", Some(Refused::Own))]
    #[case("::1", Some(Refused::Own))]
    #[case("0.0.0.0", Some(Refused::Own))]
    #[case("::ffff:127.0.0.1", Some(Refused::Own))]
    #[case("169.254.169.254", Some(Refused::Forbidden))]
    #[case("::ffff:169.254.169.254", Some(Refused::Forbidden))]
    #[case("fe80::1", Some(Refused::Forbidden))]
    #[case("fd00:ec2::254", Some(Refused::Forbidden))]
    #[case("100.100.100.200", Some(Refused::Forbidden))]
    #[case("168.63.129.16", Some(Refused::Forbidden))]
    #[case("224.0.0.1", Some(Refused::Forbidden))]
    #[case("255.255.255.255", Some(Refused::Forbidden))]
    fn only_what_can_be_a_model_server_is_called(#[case] address: &str, #[case] expected: Option<Refused>) {
        assert_eq!(refused(address.parse().unwrap()), expected);
    }
}
