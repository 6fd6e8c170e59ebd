//! One look at one server.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Finding;
use super::address::{Refused, refused};

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at servers.
#[derive(Clone, Debug)]
pub struct ProbeClient {
    http: reqwest::Client,
    /// Whether an address is called; tests let their own one in.
    refused: fn(IpAddr) -> Option<Refused>,
}

impl ProbeClient {
    /// A client that sends no credentials, follows nobody, and calls no address that is none of its business.
    ///
    /// # Errors
    /// When the TLS stack is not there.
    pub fn new() -> Result<Self, reqwest::Error> {
        Self::with(refused)
    }

    #[cfg(test)]
    pub(super) fn of_tests() -> Self {
        Self::with(|address| refused(address).filter(|why| *why != Refused::Own)).unwrap()
    }

    fn with(refused: fn(IpAddr) -> Option<Refused>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Resolver(refused)))
            // The question is whether anybody answers; nothing is told and nothing is read. The certificate authorities
            // of a provider are in a Secret, which only pods can read.
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        Ok(Self { http, refused })
    }

    /// Asks for the models, and looks at nothing but whether an answer comes.
    pub(super) async fn look(&self, url: &Url) -> Finding {
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        if let Some(why) = literal.and_then(self.refused) {
            return not_called(why);
        }
        match self.http.get(url.clone()).send().await {
            Ok(_answer) => Finding::Answers,
            Err(error) => match find::<Refused>(&error) {
                Some(why) => not_called(*why),
                None => Finding::Silent(phrase(&error).to_owned()),
            },
        }
    }
}

fn not_called(why: Refused) -> Finding {
    match why {
        Refused::Own => Finding::NotAsked("the address is each pod's own, so only the pods of an agent can tell"),
        Refused::Forbidden => Finding::Silent(why.to_string()),
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

/// The name resolver gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
struct Unresolved;

/// Resolves names to the addresses that may be called.
struct Resolver(fn(IpAddr) -> Option<Refused>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let judge = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| Unresolved)?.collect();
            let why = found.iter().find_map(|address| judge(address.ip()));
            let allowed: Vec<_> = found.into_iter().filter(|address| judge(address.ip()).is_none()).collect();
            match why {
                Some(why) if allowed.is_empty() => Err(why.into()),
                Some(_) | None if allowed.is_empty() => Err(Unresolved.into()),
                Some(_) | None => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
