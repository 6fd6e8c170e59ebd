//! What was applied last of an agent whose newest spec is refused: it goes on being applied.
//!
//! The ConfigMap of the children has it: the document, and beside it what shapes the pods. It is read once when a spec is
//! refused, and kept in memory until one is accepted again, so that it can be written again when somebody deletes it.

use std::sync::Arc;

use agent_pod_config::{Document, Resources, withdraw};
use astromesh_crds::v1alpha1::{Agent, Provider};
use dashmap::DashMap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _};

use super::dereference::{Inputs, asks_for_labels};
use super::validate::{PodsSpec, Validated};
use crate::applier::CALL_TIMEOUT;
use crate::names::{DOCUMENT_KEY, ObjectKey, PODS_KEY, TRUST_KEY, child};
use crate::trust::TrustBundle;

/// Why it could not be read. That there is none is no error.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The operator may not read it.
    #[error("the operator may not read ConfigMaps: {0}")]
    Denied(String),
    /// The API server refused, or could not be asked.
    #[error("failed to read what was applied last")]
    Read(#[source] Box<kube::Error>),
    /// The API server did not answer in time.
    #[error("the API server did not answer with what was applied last in time")]
    Timeout,
}

/// What was applied last.
#[derive(Clone, Debug)]
struct LastGood {
    document: Document,
    /// Absent in what an earlier release has written.
    pods: Option<PodsSpec>,
    trust: Option<Arc<TrustBundle>>,
}

/// What was applied last of the agents whose newest spec is refused.
pub struct LastGoods {
    client: Client,
    /// By agent and its uid; nothing where nothing was ever applied.
    known: DashMap<ObjectKey, (String, Option<Arc<LastGood>>)>,
}

impl LastGoods {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: DashMap::new() }
    }

    /// What goes on being applied while the agent's newest spec is refused: without what consent no longer covers, with the
    /// token keys and the image of now. `None` when nothing was ever applied.
    ///
    /// # Errors
    /// See [`LastGoodError`].
    pub async fn of(&self, inputs: &Inputs, default_image: &str) -> Result<Option<Validated>, LastGoodError> {
        let uid = inputs.agent.uid().unwrap_or_default();
        let known = self.known.get(&inputs.key).filter(|known| known.0 == uid).map(|known| known.1.clone());
        let last = match known {
            Some(last) => last,
            None => {
                let last = self.read(&inputs.key, &uid).await?.map(Arc::new);
                self.known.insert(inputs.key.clone(), (uid, last.clone()));
                last
            }
        };
        Ok(last.and_then(|last| rebuild(&last, inputs, default_image)))
    }

    /// Forgets an agent that is gone, or whose spec is accepted.
    pub fn forget(&self, agent: &ObjectKey) {
        self.known.remove(agent);
    }

    async fn read(&self, agent: &ObjectKey, uid: &str) -> Result<Option<LastGood>, LastGoodError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &agent.namespace);
        match tokio::time::timeout(CALL_TIMEOUT, api.get_opt(&child(&agent.name))).await {
            Ok(Ok(found)) => Ok(found.filter(|found| belongs_to(found, uid)).and_then(|found| parse(&found))),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err(LastGoodError::Denied(status.message.clone()))
            }
            Ok(Err(source)) => Err(LastGoodError::Read(Box::new(source))),
            Err(_elapsed) => Err(LastGoodError::Timeout),
        }
    }
}

fn belongs_to(config_map: &ConfigMap, uid: &str) -> bool {
    config_map.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

fn parse(config_map: &ConfigMap) -> Option<LastGood> {
    let text = |key: &str| config_map.data.as_ref().and_then(|data| data.get(key));
    Some(LastGood {
        document: Document::from_bytes(text(DOCUMENT_KEY)?.as_bytes()).ok()?,
        pods: text(PODS_KEY).and_then(|text| serde_json::from_str(text).ok()),
        trust: text(TRUST_KEY).map(|text| Arc::new(TrustBundle::of_text(text.clone()))),
    })
}

fn rebuild(last: &LastGood, inputs: &Inputs, default_image: &str) -> Option<Validated> {
    let agent: &Agent = &inputs.agent;
    let mut document = last.document.clone();
    let Inputs { namespaces, config_maps, .. } = inputs;
    // A permission that the operator lacks is nobody's no: whose consent cannot be seen is left as it was.
    let unseen = |provider: &Provider| {
        inputs.unreadable.is_some() && namespaces.is_empty() && asks_for_labels(provider, &inputs.key.namespace)
    };
    let providers: Vec<_> = inputs.providers.iter().map(Arc::as_ref).filter(|provider| !unseen(provider)).collect();
    let peers: Vec<_> = inputs.peers.iter().map(Arc::as_ref).collect();
    withdraw(
        &mut document,
        Resources { agents: &[agent], providers: &providers, peers: &peers, namespaces, config_maps },
    );
    let mut pods = last.pods.clone().unwrap_or_else(|| PodsSpec::of(agent));
    // Who wants it to stop is not to be held up by a mistake elsewhere.
    pods.suspend |= agent.spec.suspend;
    let trust = inputs.trust.known().or_else(|| last.trust.clone())?;
    Some(Validated::new(Arc::clone(&inputs.agent), pods, document, trust, default_image))
}
