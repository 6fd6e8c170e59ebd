//! Agents that agents call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use agent_pod_config::OrchestrationDocument;
use agent_pod_core::pattern::Swarm;
use agent_pod_core::peer::{Local, Peer, Target};
use agent_pod_core::service::AgentService;
use agent_pod_infra::peer::Remote;

/// Where a pod finds the token that proves who it is.
const TOKEN: &str = "/var/run/secrets/astromesh/token";

/// The ways to other agents.
pub(super) struct Peers {
    agents: Weak<dyn AgentService>,
    token: PathBuf,
}

impl Peers {
    pub(super) fn new(agents: Weak<dyn AgentService>) -> Self {
        Self { agents, token: PathBuf::from(TOKEN) }
    }

    pub(super) fn identify_by(&mut self, token: PathBuf) {
        self.token = token;
    }

    /// The agent of this name; `url` where another pod serves it.
    pub(super) fn target(&self, namespace: &str, name: &str, url: Option<&str>) -> Result<Target, String> {
        let port: Arc<dyn Peer> = match url {
            Some(url) => Arc::new(Remote::new(url, name, self.token.clone()).map_err(|error| error.to_string())?),
            None => Arc::new(Local::new(Weak::clone(&self.agents), namespace, name)),
        };
        Ok(Target { namespace: namespace.to_owned(), name: name.to_owned(), port })
    }
}

/// Whom a swarm's agent hands its conversations over to.
pub(super) fn swarm(document: &OrchestrationDocument, peers: &Peers) -> Result<Swarm, String> {
    let handoffs = document.handoffs.as_ref().ok_or("a swarm needs `handoffs`")?;
    let target = |(key, peer): (&String, &agent_pod_config::PeerDocument)| {
        Ok((key.clone(), peers.target(&peer.namespace, &peer.name, peer.url.as_deref())?))
    };
    Ok(Swarm {
        iterations_max: document.max_iterations,
        handoffs_max: handoffs.max,
        peers: handoffs.peers.iter().map(target).collect::<Result<BTreeMap<_, _>, String>>()?,
    })
}
