//! What consent no longer covers, taken out of a document that goes on serving while its agent's newest spec is refused.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::{Agent, Provider};
use kube::ResourceExt as _;

use super::agent::compile_access;
use super::consent::refusal;
use super::peers::lets_in;
use super::{ObjectId, Resources, namespace, provider_key};
use crate::document::{AccessDocument, AgentDocument, CallerDocument, Document, ToolByDocument};

/// Takes out of `document` whatever the resources, as they are now, do not consent to any more.
///
/// - A provider whose owner lets the agents' namespace no longer use it goes, with the candidates that name it. A role may be
///   left without any: then its calls fail.
/// - An agent that no longer lets its caller in goes, as a tool and as somebody to hand the conversation over to.
/// - Callers that an agent's own spec, invalid as it may be otherwise, does not name any more are let in no longer. Nobody is
///   let in who was not before.
///
/// What does not exist (any more) is left as it is: that nobody finds a provider is no word of its owner.
pub fn withdraw(document: &mut Document, resources: Resources<'_>) {
    let providers: BTreeMap<String, &Provider> = resources
        .providers
        .iter()
        .map(|provider| (provider_key(&namespace(*provider), &provider.name_any()), *provider))
        .collect();
    let peers: BTreeMap<(String, String), &Agent> = resources
        .peers
        .iter()
        .chain(resources.agents)
        .map(|peer| ((namespace(*peer), peer.name_any()), *peer))
        .collect();
    let Document { agents, providers: used, .. } = document;
    for (name, agent) in agents.iter_mut() {
        let own = agent.namespace.clone();
        let permitted = |key: &str| {
            let known = providers.get(key).filter(|provider| namespace(**provider) != own);
            known.is_none_or(|provider| refusal(provider, &own, resources.namespaces).is_none())
        };
        for model in std::iter::once(&mut agent.model).chain(agent.roles.values_mut()) {
            model.candidates.retain(|candidate| permitted(&candidate.provider));
        }
        let caller = ObjectId { kind: "Agent", namespace: own.clone(), name: name.clone() };
        let welcome = |namespace: &str, name: &str| {
            let known = peers.get(&(namespace.to_owned(), name.to_owned()));
            known.is_none_or(|target| lets_in(target, &caller))
        };
        agent.tools.retain(|tool| match &tool.by {
            ToolByDocument::Agent { namespace, name, .. } => welcome(namespace, name),
            ToolByDocument::Internal { .. } | ToolByDocument::Webhook { .. } | ToolByDocument::Client { .. } => true,
        });
        if let Some(handoffs) = &mut agent.orchestration.handoffs {
            handoffs.peers.retain(|_, peer| welcome(&peer.namespace, &peer.name));
        }
        if let Some(spec) = resources.agents.iter().find(|spec| spec.name_any() == *name && namespace(**spec) == own) {
            narrow(agent, spec, &own);
        }
    }
    let roles = || agents.values().flat_map(|agent| std::iter::once(&agent.model).chain(agent.roles.values()));
    used.retain(|key, _| roles().flat_map(|role| &role.candidates).any(|candidate| candidate.provider == *key));
}

/// Lets in only those whom the document lets in and the spec does too.
fn narrow(agent: &mut AgentDocument, spec: &Agent, own: &str) {
    let default = || AccessDocument::ServiceAccount {
        allowed: vec![CallerDocument { namespace: own.to_owned(), service_account: None }],
    };
    let now = spec.spec.access.as_ref().map_or_else(default, |access| compile_access(access, own));
    let before = agent.access.clone().unwrap_or_else(default);
    let narrowed = match (before.clone(), now) {
        (before, AccessDocument::None {}) => before,
        (AccessDocument::None {}, now) => now,
        (AccessDocument::ServiceAccount { allowed: before }, AccessDocument::ServiceAccount { allowed: now }) => {
            let both = before.iter().flat_map(|one| now.iter().filter_map(|other| common(one, other)));
            let mut allowed: Vec<CallerDocument> = Vec::new();
            for caller in both {
                if !allowed.contains(&caller) {
                    allowed.push(caller);
                }
            }
            AccessDocument::ServiceAccount { allowed }
        }
    };
    if narrowed != before {
        agent.access = Some(narrowed);
    }
}

/// Whom both let in.
fn common(one: &CallerDocument, other: &CallerDocument) -> Option<CallerDocument> {
    if one.namespace != other.namespace {
        return None;
    }
    let service_account = match (&one.service_account, &other.service_account) {
        (Some(one), Some(other)) if one != other => return None,
        (Some(account), _) | (None, Some(account)) => Some(account.clone()),
        (None, None) => None,
    };
    Some(CallerDocument { namespace: one.namespace.clone(), service_account })
}
