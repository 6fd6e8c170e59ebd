//! One look at one server.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use astromesh_egress::Reach;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Finding;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at servers.
#[derive(Clone, Debug)]
pub struct ProbeClient {
    http: reqwest::Client,
}

impl ProbeClient {
    /// A client that sends no credentials, follows nobody, and calls no address that is none of its business.
    ///
    /// # Errors
    /// When the TLS stack is not there.
    pub fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Resolver))
            // The question is whether anybody answers; nothing is told and nothing is read. The certificate authorities
            // of a provider are in a Secret, which only pods can read.
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        Ok(Self { http })
    }

    /// Asks for the models, and looks at nothing but whether an answer comes.
    pub(super) async fn look(&self, url: &Url) -> Finding {
        // An address that stands in the URL itself does not pass the resolver.
        if Reach::NoMetadata.check_url(url).is_err() {
            return Finding::Silent(Refused.to_string());
        }
        match self.http.get(url.clone()).send().await {
            Ok(_answer) => Finding::Answers,
            Err(error) => {
                Finding::Silent(find::<Refused>(&error).map_or_else(|| phrase(&error).to_owned(), ToString::to_string))
            }
        }
    }
}

/// The cause in a few words that are the same at each look.
fn phrase(error: &reqwest::Error) -> &'static str {
    use std::io::ErrorKind;
    if error.is_timeout() {
        return "no answer within 5 s";
    }
    if find::<Unresolved>(error).is_some() {
        return "the name does not resolve";
    }
    match find::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => "connection refused",
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => "no route to the address",
        Some(_) | None if error.is_connect() => "no connection",
        Some(_) | None => "the connection broke",
    }
}

/// The first cause of a type.
fn find<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The operator does not call this address, whoever names it.
#[derive(Debug, thiserror::Error)]
#[error("the address is link-local, multicast or a metadata service, which the operator does not call")]
struct Refused;

/// The name resolver gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
struct Unresolved;

/// Resolves names to the addresses that may be called.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| Unresolved)?.collect();
            let any = !found.is_empty();
            let allowed: Vec<_> = found.into_iter().filter(|address| Reach::NoMetadata.permits(address.ip())).collect();
            match (any, allowed.is_empty()) {
                (false, _) => Err(Unresolved.into()),
                (true, true) => Err(Refused.into()),
                (true, false) => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
