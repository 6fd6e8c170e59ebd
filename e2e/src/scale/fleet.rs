//! The objects: nodes that kwok plays, namespaces, Providers, Agents.

use std::time::Duration;

use anyhow::Context as _;
use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::eventually;
use futures::{TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::say;
use crate::view::Key;

/// Selects everything that is made here.
pub(crate) const OURS: &str = "scale.astromesh.io/run=true";
/// Selects what the operator makes.
pub(crate) const MANAGED: &str = "app.kubernetes.io/managed-by=astromesh-operator";
/// Our namespaces begin so.
pub(crate) const PREFIX: &str = "scale-";
/// Our nodes begin so.
pub(crate) const NODE_PREFIX: &str = "scale-node-";

const PROVIDERS: &str = "scale-providers";
const NAMESPACES: u32 = 50;
/// The pods that a kubelet takes by default.
const PODS_OF_A_NODE: u32 = 110;
/// Not every node is full.
const AGENTS_OF_A_NODE: u32 = 100;
/// The most agents of one Provider.
const USERS: u32 = 2_000;
/// Requests at the same time, as from a busy pipeline.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Makes and deletes.
pub(crate) struct Fleet {
    pub(crate) client: Client,
    /// Base URL of the Providers' server.
    server: String,
}

impl Fleet {
    pub(crate) fn new(client: Client, server: String) -> Self {
        Self { client, server }
    }

    /// Everything that agents need: nodes, namespaces, Providers.
    pub(crate) async fn prepare(&self, agents: u32) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for index in 0..agents.div_ceil(AGENTS_OF_A_NODE) {
            create(&nodes, node(index)).await?;
        }
        eventually("kwok says that its nodes are ready; it must run", Duration::from_secs(60), async || {
            let all = nodes.list(&ListParams::default().labels(OURS)).await?.items;
            Ok(all.iter().all(is_ready).then_some(()))
        })
        .await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in (0..NAMESPACES).map(namespace).chain([PROVIDERS.to_owned()]) {
            create(
                &namespaces,
                json!({"metadata": {"name": name, "labels": {
                "scale.astromesh.io/run": "true", "pod-security.kubernetes.io/enforce": "restricted"}}}),
            )
            .await?;
        }
        for name in ["shared", "other"] {
            let provider = json!({
                "metadata": {"name": name, "labels": {"scale.astromesh.io/run": "true"}},
                "spec": {"type": "openai_compat", "endpoint": self.server, "models": [{"name": "scripted"}],
                         "allowedNamespaces": {"from": "All"}},
            });
            create(&self.providers(), provider).await?;
        }
        Ok(())
    }

    fn providers(&self) -> Api<Provider> {
        Api::namespaced(self.client.clone(), PROVIDERS)
    }

    fn agents(&self, namespace: &str) -> Api<Agent> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates so many agents.
    pub(crate) async fn create_agents(&self, count: u32) -> anyhow::Result<()> {
        stream::iter((0..count).map(Ok))
            .try_for_each_concurrent(AT_ONCE, |index| async move {
                create(&self.agents(&namespace(index % NAMESPACES)), agent(index)).await
            })
            .await
    }

    /// The first of so many agents that use the Provider `shared`.
    pub(crate) fn users(count: u32) -> Vec<Key> {
        (0..count.min(USERS)).map(agent_key).collect()
    }

    /// Edits the prompt of an agent, and gives the new generation.
    pub(crate) async fn edit_agent(&self, key: &Key, text: &str) -> anyhow::Result<i64> {
        let patch = Patch::Merge(json!({"spec": {"prompts": {"system": prompt(text)}}}));
        let edited = self.agents(&key.namespace).patch(&key.name, &PatchParams::default(), &patch).await;
        edited.context("the Agent was not edited")?.metadata.generation.context("an Agent has a generation")
    }

    /// Edits the Provider `shared`, so that every document changes that holds it.
    pub(crate) async fn edit_provider(&self, total_seconds: u32) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"timeouts": {"total": format!("{total_seconds}s")}}}));
        let edited = self.providers().patch("shared", &PatchParams::default(), &patch).await;
        edited.context("the Provider was not edited").map(drop)
    }

    /// Deletes all agents, and waits until their children are gone, too.
    pub(crate) async fn delete_agents(&self) -> anyhow::Result<()> {
        for index in 0..NAMESPACES {
            let all = ListParams::default();
            drop(self.agents(&namespace(index)).delete_collection(&DeleteParams::background(), &all).await?);
        }
        gone::<Agent>(&self.client, OURS).await?;
        self.pods_gone().await
    }

    async fn pods_gone(&self) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let managed = ListParams::default().labels(MANAGED);
        eventually("the pods of deleted agents are gone", PATIENCE, async || {
            let left = pods.list_metadata(&managed).await?;
            let ours = |pod: &String| pod.starts_with(PREFIX);
            Ok((!left.items.iter().filter_map(kube::ResourceExt::namespace).any(|of| ours(&of))).then_some(()))
        })
        .await
    }

    /// How many agents others have.
    pub(crate) async fn others(&self) -> anyhow::Result<usize> {
        let api: Api<Agent> = Api::all(self.client.clone());
        Ok(api.list_metadata(&ListParams::default().labels("!scale.astromesh.io/run")).await?.items.len())
    }

    /// Deletes everything.
    pub(crate) async fn clean(&self) -> anyhow::Result<()> {
        let ours = ListParams::default().labels(OURS);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found: Vec<_> = namespaces.list(&ours).await?.items.iter().map(kube::ResourceExt::name_any).collect();
        if !found.is_empty() {
            say("==> deleting namespaces");
        }
        for name in found {
            drop(namespaces.delete(&name, &DeleteParams::background()).await?);
        }
        // Nodes last: with them gone, nobody would end their pods.
        gone::<Namespace>(&self.client, OURS).await?;
        drop(Api::<Node>::all(self.client.clone()).delete_collection(&DeleteParams::default(), &ours).await?);
        drop(Api::<FlowSchema>::all(self.client.clone()).delete_collection(&DeleteParams::default(), &ours).await?);
        gone::<Node>(&self.client, OURS).await
    }
}

async fn create<K>(api: &Api<K>, object: Value) -> anyhow::Result<()>
where
    K: Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).context("not an object of its kind")?;
    api.create(&PostParams::default(), &object).await.context("the API server refused an object")?;
    Ok(())
}

async fn gone<K>(client: &Client, labels: &str) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let selected = ListParams::default().labels(labels);
    eventually(&format!("every {} is gone", K::kind(&())), PATIENCE, async || {
        Ok(api.list_metadata(&selected).await?.items.is_empty().then_some(()))
    })
    .await
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn namespace(index: u32) -> String {
    format!("{PREFIX}{index:02}")
}

fn agent_key(index: u32) -> Key {
    Key { namespace: namespace(index % NAMESPACES), name: format!("agent-{index:04}") }
}

/// Tainted, so that nobody's pods come here by accident.
fn node(index: u32) -> Value {
    let name = format!("{NODE_PREFIX}{index:03}");
    let room = json!({"cpu": "64", "memory": "512Gi", "pods": PODS_OF_A_NODE.to_string()});
    json!({
        "metadata": {
            "name": name,
            "labels": {"scale.astromesh.io/run": "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": "scale.astromesh.io/run", "value": "true", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    })
}

fn agent(index: u32) -> Value {
    let provider = if index < USERS { "shared" } else { "other" };
    let Key { name, namespace: _ } = agent_key(index);
    json!({
        "metadata": {"name": name, "labels": {"scale.astromesh.io/run": "true"}},
        "spec": {
            "model": {"candidates": [{"providerRef": {"name": provider, "namespace": PROVIDERS}}]},
            "prompts": {"system": prompt(&name)},
            "memory": {"conversational": {"backend": "in_memory", "maxTurns": 10}},
            "runtime": {
                "nodeSelector": {"scale.astromesh.io/run": "true"},
                "tolerations": [{"key": "scale.astromesh.io/run", "operator": "Exists", "effect": "NoSchedule"}],
            },
        },
    })
}

/// As long as prompts are: about a kilobyte.
fn prompt(text: &str) -> String {
    let rules = "Answer in two sentences, and say so if you do not know. ".repeat(18);
    format!("You are {{{{ identity.displayName }}}} ({text}). Today is {{{{ today }}}}. {rules}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_are_objects_of_their_kinds() {
        let _: Node = serde_json::from_value(node(3)).unwrap();
        for (index, provider) in [(7, "shared"), (1_999, "shared"), (2_000, "other")] {
            let agent: Agent = serde_json::from_value(agent(index)).unwrap();
            assert_eq!(agent.spec.model.candidates[0].provider_ref.name, provider, "{index}");
        }
        assert_eq!(Fleet::users(5_000).len(), 2_000);
    }
}
