//! Starts of the operator: nothing is touched that is as it shall be, and a missing permission stops what needs it and nothing else.

use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::{agent, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::{Operator, eventually, with_temp_ns};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::{echoing, support};

/// A permission that comes back is noticed by the next try of the watch, half a minute later at most.
const GRANTED_WITHIN: Duration = Duration::from_secs(90);
const CLAIMS: &str = "persistentvolumeclaims";

/// Replaces the operator's pod, and waits until the next one has looked at every agent.
async fn restart(operator: &Operator) -> anyhow::Result<()> {
    operator.scale(0).await?;
    operator.scale(1).await?;
    operator.leader(PATIENCE, |_holder| true).await?;
    eventually("the agents are reconciled", PATIENCE, async || {
        let count = operator.counter("astromesh_operator_reconcile_total{kind=\"Agent\"").await.unwrap_or(0.0);
        let polls = operator.counter("astromesh_operator_state_polls_total{success=\"true\"").await.unwrap_or(0.0);
        Ok((count > 0.0 && polls > 0.0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_operator_touches_no_status() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        echoing(ns, support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        ns.await_status::<Provider>("scripted", &["Ready=True", "ModelsAvailable=True"], PATIENCE).await?;
        let versions = async || {
            let agent = ns.api::<Agent>().get("support").await?.resource_version();
            anyhow::Ok((agent, ns.api::<Provider>().get("scripted").await?.resource_version()))
        };
        let before = versions().await?;
        operator
            .restoring(async || {
                for _restart in 0..3 {
                    restart(&operator).await?;
                    assert_eq!(versions().await?, before);
                }
                Ok(())
            })
            .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_stops_what_needs_it_and_nothing_else() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        let (_llm, _caller) = echoing(ns, support("Before.")).await?;
        let roles: Api<ClusterRole> = Api::all(ns.cluster.client.clone());
        let whole = roles.get(&operator.deployment).await?;
        let mut less = whole.clone();
        for rule in less.rules.iter_mut().flatten() {
            if let Some(resources) = &mut rule.resources {
                resources.retain(|resource| resource != CLAIMS);
            }
        }
        let replace = async |role: &ClusterRole| {
            let mut role = role.clone();
            role.metadata.resource_version = roles.get(&operator.deployment).await?.resource_version();
            roles.replace(&operator.deployment, &PostParams::default(), &role).await?;
            anyhow::Ok(())
        };
        let memory = json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "1Gi"}});
        let tested = operator
            .restoring(async || {
                replace(&less).await?;
                restart(&operator).await?;
                ns.apply(support("After.")).await?;
                ns.agent_ready("support").await?;
                ns.apply(with(agent("keeper", "scripted", "Be kind."), "/spec/memory", memory.clone())).await?;
                let keeper: Agent = ns.await_status("keeper", &["Programmed=False/Denied"], PATIENCE).await?;
                let message = &keeper.condition("Programmed").unwrap().message;
                assert!(message.contains(CLAIMS), "{message}");
                let denied = format!("astromesh_operator_watch_denied{{resource=\"{CLAIMS}\"}}");
                assert!(operator.counter(&denied).await? > 0.0);
                Ok(())
            })
            .await;
        replace(&whole).await?;
        tested?;
        ns.await_status::<Agent>("keeper", &["Programmed=True"], GRANTED_WITHIN).await?;
        Ok(())
    })
    .await
}
