//! Which addresses may be called on behalf of others: the one list that webhooks, `http_request`, the looks at providers
//! and the URLs of images share.
//!
//! Pure: nothing is resolved here. Whoever connects asks [`Reach::check`] with each address that a name resolves to, and
//! connects to that very address; whoever passes a URL on to somebody else asks [`forbidden`].

mod address;

use std::net::IpAddr;

use url::{Host, Url};

pub use address::Reason;

/// How far a client reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every address: an operator of the cluster has chosen the server.
    Anything,
    /// Every address but those that nobody has a reason to call: where clouds keep the credentials of a machine, the
    /// machine's own link, and what is no single receiver.
    NoMetadata,
    /// Addresses of the public internet.
    Public,
}

/// Names under which clouds offer the metadata of a machine. They resolve to addresses that are refused anyway; here they
/// are refused where somebody else would resolve them.
const METADATA_NAMES: [&str; 4] =
    ["metadata.google.internal", "metadata.goog", "instance-data.ec2.internal", "metadata.platformequinix.com"];

impl Reach {
    /// Whether an address may be called.
    #[must_use]
    pub fn permits(self, address: IpAddr) -> bool {
        self.check(address).is_ok()
    }

    /// Whether an address may be called, in whatever form it is written.
    ///
    /// # Errors
    /// The reason why it may not.
    pub fn check(self, address: IpAddr) -> Result<(), Reason> {
        let reason = match self {
            Self::Anything => None,
            Self::NoMetadata => address::never(address),
            Self::Public => address::never(address).or_else(|| address::not_public(address)),
        };
        reason.map_or(Ok(()), Err)
    }

    /// Whether a URL of `http` or `https` names an address that may not be called, or a name that stands for one. Any
    /// other name is to be checked when it has been resolved.
    ///
    /// # Errors
    /// The reason why it may not.
    pub fn check_url(self, url: &Url) -> Result<(), Reason> {
        match url.host() {
            // The parser has turned decimal, octal, hexadecimal and shortened forms into the address.
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(name)) if self != Self::Anything && is_metadata_name(name) => Err(Reason::Metadata),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// Why a URL that somebody else will call names what nobody may be made to call, if it does.
#[must_use]
pub fn forbidden(url: &Url) -> Option<Reason> {
    Reach::NoMetadata.check_url(url).err()
}

fn is_metadata_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    METADATA_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::decimal("http://2852039166/latest")]
    #[case::hexadecimal("http://0xa9fea9fe/")]
    #[case::octal("http://0251.0376.0251.0376/")]
    #[case::mixed("http://0xa9.254.0xa9fe/")]
    #[case::shortened("http://169.254.43518/")]
    #[case::fullwidth("http://１６９.２５４.１６９.２５４/")]
    #[case::trailing_dot("http://169.254.169.254./")]
    #[case::user("http://example.com@169.254.169.254/")]
    #[case::mapped("http://[::ffff:169.254.169.254]/")]
    #[case::mapped_in_hexadecimal("https://[::FFFF:A9FE:A9FE]/")]
    #[case::zero("http://0/")]
    #[case::name("http://metadata.google.internal/computeMetadata/v1/")]
    #[case::name_in_capitals_with_a_dot("http://METADATA.google.internal./")]
    #[case::oracle("http://192.0.0.192/")]
    fn every_spelling_of_a_forbidden_address_is_seen(#[case] url: &str) {
        let url = Url::parse(url).unwrap();
        assert!(forbidden(&url).is_some(), "{url}");
        assert!(Reach::Public.check_url(&url).is_err(), "{url}");
        assert_eq!(Reach::Anything.check_url(&url), Ok(()), "{url}");
    }

    #[rstest]
    #[case("https://example.com/a.png")]
    #[case("https://metadata.google.internal.example.com/")]
    #[case("http://vllm.models.svc.cluster.local:8000/v1")]
    #[case("http://10.0.0.7/")]
    #[case("http://[fd12::1]/")]
    #[case("data:image/png;base64,AAAA")]
    fn other_urls_are_not(#[case] url: &str) {
        assert_eq!(forbidden(&Url::parse(url).unwrap()), None, "{url}");
    }

    #[test]
    fn a_private_address_is_not_of_the_public_internet() {
        let url = Url::parse("http://10.0.0.7/").unwrap();
        assert_eq!(Reach::Public.check_url(&url), Err(Reason::NotPublic));
    }
}
