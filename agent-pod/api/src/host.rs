//! Whom a request is for: its `Host`, or its target's authority.
//!
//! A browser that a foreign site has talked into calling this machine (by a name that now resolves to loopback) still
//! says that site's name here. So the name decides whether such a call is taken for one of this machine's user.

use std::net::IpAddr;

use agent_pod_core::error::{ErrorCode, RunError};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, Version};
use axum::response::{IntoResponse as _, Response};

use crate::error::ApiError;
use crate::layers::speaks_openai;
use crate::openai::error::ChatError;

/// The answer to a request that does not say properly whom it is for: RFC 9112, section 3.2, and RFC 9113, section 8.3.1.
/// Serve both ports behind it.
#[must_use]
pub fn misdirected(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let error = RunError::new(ErrorCode::InvalidMessage, fault(version, uri, headers)?);
    let answer = if speaks_openai(uri.path()) {
        ChatError::from(error).into_response()
    } else {
        ApiError::from(error).into_response()
    };
    Some(answer)
}

fn fault(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Some("the request has more than one `Host`; send one"),
        (Some(host), None) => match authority(host) {
            None => Some("the `Host` of the request is not a host with or without a port; send the one that you call"),
            Some(host) if version == Version::HTTP_2 && uri.authority().is_some_and(|target| *target != host) => {
                Some("the request's `Host` and `:authority` differ; send the latter only")
            }
            Some(_) => None,
        },
        (None, _) if version == Version::HTTP_11 => Some("the request has no `Host`; send the host that you call"),
        (None, _) if version == Version::HTTP_2 && uri.authority().is_none() => {
            Some("the request has no `:authority`; send the host that you call")
        }
        (None, _) => None,
    }
}

/// Whether whoever is called is called by a name of this machine. HTTP/1.0 needs no name.
pub(crate) fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let target = uri.authority().is_none_or(|target| is_local_name(target.host()));
    target && headers.get_all(HOST).iter().all(|host| authority(host).is_some_and(|host| is_local_name(host.host())))
}

/// Whether a name is this machine's whatever a resolver says: RFC 6761, section 6.3, and the loopback addresses.
pub(crate) fn is_local_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    last.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A host with or without a port, and nothing else.
fn authority(host: &HeaderValue) -> Option<Authority> {
    let authority: Authority = host.to_str().ok()?.trim().parse().ok()?;
    let port = authority.as_str().strip_prefix(authority.host())?;
    let whole = port.is_empty() || port == ":" || authority.port_u16().is_some();
    (whole && !authority.host().is_empty() && !authority.as_str().contains('@')).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (HOST, HeaderValue::from_str(host).unwrap())).collect()
    }

    #[test]
    fn a_request_names_one_host() {
        let path = Uri::from_static("/v1/health");
        let refused = |version, hosts: &[&str]| fault(version, &path, &headers(hosts)).is_some();
        for host in ["pod", "pod:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "a_b.example", "localhost."] {
            assert!(!refused(Version::HTTP_11, &[host]), "{host}");
        }
        for host in ["", " ", "a b", "a/b", "http://a", "user@a", "a:b", "a:99999", ":80", "[::1", "a,b c"] {
            assert!(refused(Version::HTTP_11, &[host]), "{host}");
        }
        assert!(refused(Version::HTTP_11, &[]));
        assert!(refused(Version::HTTP_11, &["pod", "pod"]));
        assert!(refused(Version::HTTP_10, &["pod", "pod"]));
        assert!(!refused(Version::HTTP_10, &[]));
        assert!(refused(Version::HTTP_2, &[]), "no :authority either");
        let whole = Uri::from_static("http://pod:8080/v1/health");
        assert!(fault(Version::HTTP_2, &whole, &headers(&[])).is_none());
        assert!(fault(Version::HTTP_2, &whole, &headers(&["pod:8080"])).is_none());
        assert!(fault(Version::HTTP_2, &whole, &headers(&["other"])).is_some());
    }

    #[test]
    fn names_of_this_machine_are_those_that_no_resolver_can_give_away() {
        for name in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_local_name(name), "{name}");
        }
        for name in ["", "evil.example", "localhost.evil.example", "alocalhost", "0.0.0.0", "10.0.0.1", "2130706433"] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
