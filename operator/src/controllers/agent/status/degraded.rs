//! What is broken while the agent serves.

use std::collections::BTreeSet;

use agent_pod_config::{Document, SecretPresence};
use astromesh_crds::v1alpha1::{Reason, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Stage;
use crate::conditions::{Verdict, find};
use crate::names::ObjectKey;
use crate::reports::{Report, TOOL_READY};

/// While pods are being replaced, an old one may miss what the new ones have; while none is ready, nothing is known.
pub(super) fn degraded(stage: &Stage<'_>, previous: &[Condition]) -> Option<Verdict> {
    let carried = || {
        let before = find(previous, condition::DEGRADED)?;
        Some(Verdict::present(Reason::parse(&before.reason)?, before.message.as_str()))
    };
    let Stage::Built { agent, rollout: Some(rollout), observation: Some(observation), .. } = stage else {
        return carried();
    };
    if !rollout.is_complete(agent.replicas_wanted()) || observation.ready().next().is_none() {
        return carried();
    }
    let report = observation.report();
    let missing = missing_secrets(&agent.document, &report);
    let down = models_that_are_down(&agent.document, &report);
    let tools = tools_that_are_down(&report);
    let reason = match (&missing, down.is_empty()) {
        (Some(_), _) => Reason::CredentialsMissing,
        (None, false) => Reason::ProviderUnavailable,
        (None, true) => Reason::ToolUnavailable,
    };
    let messages: Vec<String> = missing.into_iter().chain(down).chain(tools).collect();
    (!messages.is_empty()).then(|| Verdict::present(reason, messages.join("; ")))
}

fn tools_that_are_down(report: &Report) -> Option<String> {
    let down: Vec<_> =
        report.tools.iter().filter(|(_, state)| *state != TOOL_READY).map(|(name, _)| format!("`{name}`")).collect();
    (!down.is_empty()).then(|| format!("left alone for a while after failures in a row: tool {}", down.join(", ")))
}

fn missing_secrets(document: &Document, report: &Report) -> Option<String> {
    let named = document.secrets();
    let missing: Vec<_> = report
        .secrets
        .iter()
        .filter(|(key, presence)| **presence == SecretPresence::Missing && named.contains(key))
        .map(|(key, _)| format!("Secret `{}` has no key `{}`", key.name, key.key))
        .collect();
    (!missing.is_empty()).then(|| format!("{}; a value that was there before goes on being used", missing.join(", ")))
}

/// The candidates of every role that cannot be called, each once.
fn models_that_are_down(document: &Document, report: &Report) -> Vec<String> {
    let roles = document.agents.values().flat_map(|agent| std::iter::once(&agent.model).chain(agent.roles.values()));
    let candidates: BTreeSet<_> = roles
        .flat_map(|role| &role.candidates)
        .map(|candidate| (candidate.provider.as_str(), candidate.model.as_str()))
        .collect();
    candidates
        .into_iter()
        .filter_map(|(provider, model)| {
            let (namespace, name) = provider.split_once('/')?;
            let key = ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() };
            let fault = report.providers.get(&key)?.fault(model)?;
            Some(format!("model `{name}/{model}`: {}", fault.words()))
        })
        .collect()
}
