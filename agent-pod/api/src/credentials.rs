//! Where a call comes from, what it proves, and which agents it may therefore call.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use agent_pod_core::access::{Arrival, Caller, TokenVerifier};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::service::{AgentHandle, AgentService};
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};

use crate::host;

/// An agent that a caller may call, and who that is where the agent asks for it.
pub(crate) struct Admitted {
    /// The agent.
    pub(crate) agent: Arc<AgentHandle>,
    /// The caller that its token proves; none where the agent asks for no token.
    pub(crate) caller: Option<Caller>,
}

/// The peer and the bearer token of a call.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// How the call arrived.
    pub(crate) arrival: Arrival,
    token: Option<String>,
}

impl Credentials {
    /// The bearer token as the caller sent it, verified by nobody yet.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The agent of this name, if the caller may call it.
    ///
    /// # Errors
    /// `unauthenticated` or `forbidden`; `agent_not_found` only for callers that may call some agent here, so that
    /// nobody else can find out names.
    pub(crate) fn agent(&self, agents: &dyn AgentService, name: &str) -> Result<Admitted, RunError> {
        let Some(agent) = agents.agent(name) else {
            self.agents(agents)?;
            let message = format!("there is no agent `{name}` here; GET /v1/agents lists those that you may call");
            return Err(RunError::new(ErrorCode::AgentNotFound, message));
        };
        let caller = agent.access.check(self.arrival, self.token(), &*agents.verifier())?;
        Ok(Admitted { agent, caller })
    }

    /// The agents that the caller may call.
    ///
    /// # Errors
    /// The refusal of the first agent, if there are agents and every one refuses.
    pub(crate) fn agents(&self, agents: &dyn AgentService) -> Result<Vec<Arc<AgentHandle>>, RunError> {
        let verifier = Once { verifier: agents.verifier(), verdict: OnceLock::new() };
        let mut callable = Vec::new();
        let mut refusal = None;
        for agent in agents.agents() {
            match agent.access.check(self.arrival, self.token(), &verifier) {
                Ok(_caller) => callable.push(agent),
                Err(error) => {
                    refusal.get_or_insert(error);
                }
            }
        }
        match refusal {
            Some(error) if callable.is_empty() => Err(error),
            Some(_) | None => Ok(callable),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Credentials {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        Ok(Self { arrival: arrival(peer, parts), token: bearer(&parts.headers) })
    }
}

/// Who decides or asks, for records.
pub(crate) fn name_of(caller: Option<&Caller>) -> String {
    caller.map_or_else(
        || "anonymous".to_owned(),
        |caller| format!("system:serviceaccount:{}:{}", caller.namespace, caller.service_account),
    )
}

/// Verifies the one token of a call once, however many agents ask.
struct Once {
    verifier: Arc<dyn TokenVerifier>,
    verdict: OnceLock<Result<Caller, RunError>>,
}

impl TokenVerifier for Once {
    fn verify(&self, token: &str) -> Result<Caller, RunError> {
        self.verdict.get_or_init(|| self.verifier.verify(token)).clone()
    }
}

/// Loopback is trusted as the user of this machine. A browser on it that carries out a script of another site is not:
/// such calls name their site in `Origin`, or in `Host` if its name has been made to resolve to this machine. An unknown
/// peer may be anyone.
fn arrival(peer: Option<IpAddr>, parts: &Parts) -> Arrival {
    let local_peer = peer.is_some_and(|address| address.to_canonical().is_loopback());
    let foreign_site = parts.headers.get_all(ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(is_local_site));
    let called_here = host::is_local(&parts.uri, &parts.headers);
    if local_peer && called_here && !foreign_site { Arrival::Loopback } else { Arrival::Network }
}

fn is_local_site(origin: &str) -> bool {
    origin.parse::<Uri>().is_ok_and(|site| site.host().is_some_and(host::is_local_name))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}
