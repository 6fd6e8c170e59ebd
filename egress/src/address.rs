//! What kind of address it is, in whatever form it is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Clouds keep the metadata and credentials of a machine there.
    #[error("the address is a cloud's metadata service")]
    Metadata,
    /// Of the machine's own link, or of the site as it once was.
    #[error("the address is link-local")]
    LinkLocal,
    /// No single receiver: multicast, broadcast.
    #[error("the address is multicast or broadcast")]
    Multicast,
    /// No address: `0.0.0.0/8`, `::`. Many systems take it for the machine itself.
    #[error("the address is unspecified")]
    Unspecified,
    /// Private, of the machine itself, or given out to nobody.
    #[error("the address is not of the public internet")]
    NotPublic,
}

/// Metadata services with an address that is not link-local: of Alibaba, of Azure, of Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// The same in version 6: of Google, of Oracle, of Scaleway, of Linode. Amazon's are a whole network.
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1),
];

/// Why nobody has a reason to call this address.
pub(crate) fn never(address: IpAddr) -> Option<Reason> {
    match address {
        IpAddr::V4(v4) => never_v4(v4),
        IpAddr::V6(v6) => never_v6(v6).or_else(|| within(v6).find_map(never_v4)),
    }
}

/// Why this address, which may be called as such, is not of the public internet.
pub(crate) fn not_public(address: IpAddr) -> Option<Reason> {
    let public = match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    };
    (!public).then_some(Reason::NotPublic)
}

fn never_v4(v4: Ipv4Addr) -> Option<Reason> {
    if METADATA_V4.contains(&v4) {
        Some(Reason::Metadata)
    } else if v4.is_link_local() {
        Some(Reason::LinkLocal)
    } else if v4.octets()[0] == 0 {
        Some(Reason::Unspecified)
    } else if v4.is_broadcast() || v4.is_multicast() {
        Some(Reason::Multicast)
    } else {
        None
    }
}

fn never_v6(v6: Ipv6Addr) -> Option<Reason> {
    let [first, second, ..] = v6.segments();
    // fd00:ec2::/32: metadata, credentials of pods, time, names.
    if METADATA_V6.contains(&v6) || [first, second] == [0xfd00, 0xec2] {
        Some(Reason::Metadata)
    // fec0::/10 were addresses of the site.
    } else if v6.is_unicast_link_local() || first & 0xffc0 == 0xfec0 {
        Some(Reason::LinkLocal)
    } else if v6.is_unspecified() {
        Some(Reason::Unspecified)
    } else if v6.is_multicast() {
        Some(Reason::Multicast)
    } else {
        None
    }
}

/// The addresses of version 4 that one of version 6 may lead to.
fn within(v6: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let octets = v6.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let (last, none) = (at([12, 13, 14, 15]), Ipv4Addr::UNSPECIFIED);
    let found: [Option<Ipv4Addr>; 4] = match v6.segments() {
        // ::1 and :: are not of version 4; ::a.b.c.d once was.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => [Some(last), None, None, None],
        // Mapped, translated (SIIT), NAT64.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [Some(last), None, None, None]
        }
        // NAT64 of one's own, whose prefix may have any length: RFC 8215, RFC 6052.
        [0x64, 0xff9b, 1, ..] => {
            let longer = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12]].map(at);
            // Where the prefix ends elsewhere these are zeros of the prefix.
            let [a, b, c] = longer.map(|v4| (v4.octets()[0] != 0).then_some(v4));
            [Some(last).filter(|last| *last != none || longer.iter().all(|v4| v4.octets()[0] == 0)), a, b, c]
        }
        // 6to4.
        [0x2002, ..] => [Some(at([2, 3, 4, 5])), None, None, None],
        // Teredo: its server, and the client, which is written inverted.
        [0x2001, 0, ..] => [Some(at([4, 5, 6, 7])), Some(Ipv4Addr::from(!u32::from(last))), None, None],
        // ISATAP, under any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => [Some(last), None, None, None],
        _ => [None; 4],
    };
    found.into_iter().flatten()
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let special = (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19)) || a >= 240;
    let relays = [a, b, c] == [192, 88, 99];
    !(v4.is_private() || v4.is_loopback() || v4.is_documentation() || shared || special || relays)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let tunnelled = matches!(v6.segments(), [0x2002, ..] | [0x2001, 0, ..] | [_, _, _, _, 0 | 0x200, 0x5efe, ..]);
    let mut leads_to = within(v6).peekable();
    if leads_to.peek().is_some() {
        // Tunnels of today are somebody else's machine; what is only written in version 6 is what it is.
        return !tunnelled && leads_to.all(is_public_v4);
    }
    // 2000::/3 is what is given out.
    v6.segments()[0] & 0xe000 == 0x2000 && !matches!(v6.segments(), [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..])
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
    #[case("127.8.9.1", true, false)]
    #[case("::1", true, false)]
    #[case("fd12::1", true, false)]
    #[case("100.64.0.1", true, false)]
    #[case("198.18.0.1", true, false)]
    #[case("192.0.0.8", true, false)]
    #[case("203.0.113.7", true, false)]
    #[case("240.0.0.1", true, false)]
    #[case("2001:db8::1", true, false)]
    #[case("3fff::1", true, false)]
    #[case::link_local("169.254.169.254", false, false)]
    #[case("169.254.1.1", false, false)]
    #[case::pod_identity("169.254.170.23", false, false)]
    #[case("fe80::1", false, false)]
    #[case::openstack("fe80::a9fe:a9fe", false, false)]
    #[case::site_local("fec0:0:0:ffff::1", false, false)]
    #[case::site_local_to_its_end("feff::1", false, false)]
    #[case::amazon("fd00:ec2::254", false, false)]
    #[case::amazon_pod_identity("fd00:ec2::23", false, false)]
    #[case::amazon_time("fd00:ec2::123", false, false)]
    #[case("fd00:ec3::254", true, false)]
    #[case::google("fd20:ce::254", false, false)]
    #[case::oracle_v6("fd00:c1::a9fe:a9fe", false, false)]
    #[case::scaleway("fd00:42::42", false, false)]
    #[case::linode("fd00:a9fe:a9fe::1", false, false)]
    #[case::alibaba("100.100.100.200", false, false)]
    #[case::azure("168.63.129.16", false, false)]
    #[case::oracle("192.0.0.192", false, false)]
    #[case("0.0.0.0", false, false)]
    #[case("0.1.2.3", false, false)]
    #[case("::", false, false)]
    #[case("224.0.0.1", false, false)]
    #[case("ff02::1", false, false)]
    #[case("255.255.255.255", false, false)]
    #[case::mapped("::ffff:169.254.169.254", false, false)]
    #[case::mapped_oracle("::ffff:192.0.0.192", false, false)]
    #[case::mapped_zero("::ffff:0.0.0.0", false, false)]
    #[case("::ffff:10.0.0.1", true, false)]
    #[case("::ffff:93.184.216.34", true, true)]
    #[case::translated("::ffff:0:169.254.169.254", false, false)]
    #[case::nat64("64:ff9b::a9fe:a9fe", false, false)]
    #[case::nat64_private("64:ff9b::10.0.0.1", true, false)]
    #[case::nat64_public("64:ff9b::93.184.216.34", true, true)]
    #[case::own_nat64("64:ff9b:1::169.254.169.254", false, false)]
    #[case::own_nat64_of_48("64:ff9b:1:a9fe:a9:fe00::", false, false)]
    #[case::own_nat64_of_56("64:ff9b:1:a9:fe:a9fe::", false, false)]
    #[case::own_nat64_of_64("64:ff9b:1:0:a9:fea9:fe00:0", false, false)]
    #[case::own_nat64_elsewhere("64:ff9b:1::93.184.216.34", true, true)]
    #[case::own_nat64_elsewhere_of_48("64:ff9b:1:5db8:d8:2200::", true, true)]
    #[case::six_to_four("2002:a9fe:a9fe::1", false, false)]
    #[case::six_to_four_elsewhere("2002:5db8:d822::1", true, false)]
    #[case::teredo_client("2001:0:5ef5:79fb::5601:5601", false, false)]
    #[case::teredo_server("2001:0:a9fe:a9fe::1", false, false)]
    #[case::isatap("2606:4700::5efe:a9fe:a9fe", false, false)]
    #[case::isatap_of_a_public_address("fd12::200:5efe:169.254.169.254", false, false)]
    #[case::compatible("::169.254.169.254", false, false)]
    fn an_address_is_within_reach_or_not(#[case] address: IpAddr, #[case] no_metadata: bool, #[case] public: bool) {
        assert_eq!(never(address).is_none(), no_metadata, "{:?}", never(address));
        assert_eq!(never(address).is_none() && not_public(address).is_none(), public);
    }
}
