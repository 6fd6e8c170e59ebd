//! What the policies of the chart let the operator's account do, also if its role let it do everything.
//!
//! The tests speak as the operator's account with the group of administrators, so that no role stands in the way, and
//! only try: nothing is written.

mod attempt;
mod attempts;

use astromesh_e2e::operator::NAMESPACE;
use astromesh_e2e::{Operator, TempNs, with_temp_ns};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::children::{self, NAME};
use crate::support::{echoing, support};
use attempt::Attempt;
use attempts::{attempts_on_children, attempts_on_pods, attempts_on_templates, attempts_on_the_rest};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_never_does_is_denied() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        attempts::foreign_objects(ns).await?;
        let operator = as_operator(ns).await?;
        let new = new_children(ns).await?;
        for child in new.iter().chain([&attempts::claim(&new[0])]) {
            Attempt::Apply(child.clone()).succeeds(&operator, &ns.name).await?;
        }
        let pod = attempts::first_pod(ns).await?;
        let mut wrong = Vec::new();
        let attempts = [
            attempts_on_children(&new),
            attempts_on_templates(&new[3]),
            attempts_on_pods(&pod),
            attempts_on_the_rest(&ns.name),
        ];
        let mut count = 0;
        for (what, attempt, expected) in attempts.into_iter().flatten() {
            count += 1;
            let answer = attempt.denial(&operator, &ns.name).await?;
            let denied = answer.contains("denied request") && answer.contains(expected);
            if !denied {
                wrong.push(format!("{what}: expected `{expected}`, was: {answer}"));
            }
        }
        println!("{count} attempts were denied");
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_does_is_allowed() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let operator = as_operator(ns).await?;
        let pod = attempts::first_pod(ns).await?;
        let nudge = json!({"metadata": {"annotations": {"astromesh.io/revision": "abc/1"}}});
        let status = json!({"status": {"observedGeneration": 1}});
        for (kind, before) in children::KINDS.into_iter().zip(children::all(ns).await?) {
            // What an orphan of ours looks like, and one that lost its label besides.
            for patch in [
                json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "astromesh-operator"},
                                    "annotations": {"astromesh.io/applied": before.metadata.resource_version}}}),
                json!({"metadata": {"labels": {"example.com/mine": "1"}}}),
            ] {
                Attempt::merge(kind, NAME, patch).succeeds(&operator, &ns.name).await?;
            }
            Attempt::delete(kind, NAME).succeeds(&operator, &ns.name).await?;
        }
        Attempt::merge(("v1", "Pod"), &pod, nudge).succeeds(&operator, &ns.name).await?;
        Attempt::MergeStatus(status).succeeds(&operator, &ns.name).await?;
        Attempt::Apply(attempts::lease(NAMESPACE, "astromesh-operator")).succeeds(&operator, &ns.name).await?;
        Attempt::Create(attempts::event(&ns.name, "astromesh.io/v1alpha1", "Agent")).succeeds(&operator, &ns.name).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_taken_on_by_its_mark_and_nothing_else_is() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let operator = as_operator(ns).await?;
        let new = new_children(ns).await?.remove(0);
        let mark = json!({"astromesh.io/applied": "0"});
        for (labels, annotations, expected) in [
            (json!({}), json!({}), Some("not the operator's to change")),
            (
                json!({"astromesh.io/agent": "new"}),
                json!({"example.com/mine": "1"}),
                Some("not the operator's to change"),
            ),
            (json!({}), mark, None),
            (json!({"app.kubernetes.io/managed-by": "astromesh-operator"}), json!({}), None),
        ] {
            let metadata = json!({"name": "new-agent", "labels": labels, "annotations": annotations});
            ns.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await?;
            let attempt = Attempt::Apply(new.clone());
            match expected {
                Some(expected) => {
                    let denial = attempt.denial(&operator, &ns.name).await?;
                    assert!(denial.contains(expected), "{labels} {annotations}: {denial}");
                }
                None => attempt.succeeds(&operator, &ns.name).await?,
            }
            ns.api::<ConfigMap>().delete("new-agent", &kube::api::DeleteParams::default()).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_add_to_a_deployment_stays_and_cannot_be_changed() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let operator = as_operator(ns).await?;
        let deployment = ("apps/v1", "Deployment");
        let env = json!({"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "any", "key": "k", "optional": true}}});
        let pod = json!({
            "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["mine"]}],
            "initContainers": [{"name": "before", "image": "example.com/before:1"}],
            "containers": [{"name": "agent", "env": [env]}, {"name": "proxy", "image": "example.com/proxy:1"}],
            "volumes": [{"name": "mine", "configMap": {"name": "mine"}}],
        });
        let live = children::api(ns, deployment)?;
        let theirs = PatchParams::default();
        live.patch(NAME, &theirs, &Patch::Strategic(json!({"spec": {"paused": true, "template": {"spec": pod}}}))).await?;

        let template = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
        let ours = template(json!({"terminationGracePeriodSeconds": 11, "containers": [{"name": "agent", "image": "example.com/new:1"}]}));
        Attempt::strategic(deployment, NAME, ours).succeeds(&operator, &ns.name).await?;
        for (pod, expected) in [
            (json!({"hostAliases": [{"ip": "192.0.2.10", "hostnames": ["mine"]}]}), "hostAliases is set or changed"),
            (json!({"initContainers": [{"name": "before", "image": "example.com/evil:1"}]}), "initContainers is set or changed"),
            (json!({"containers": [{"name": "proxy", "image": "example.com/evil:1"}]}), "another one than agent"),
            (json!({"containers": [{"name": "agent", "env": [{"name": "MORE", "value": "1"}]}]}), "env is set or changed"),
            (json!({"volumes": [{"name": "mine", "configMap": {"name": "yours"}}]}), "volumes must be"),
        ] {
            let denial = Attempt::strategic(deployment, NAME, template(pod)).denial(&operator, &ns.name).await?;
            assert!(denial.contains(expected), "{expected}: {denial}");
        }
        Ok(())
    })
    .await
}

/// A client that is the operator's account, and an administrator besides.
async fn as_operator(ns: &TempNs) -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.auth_info.impersonate = Some(Operator::find(&ns.cluster.client).await?.user);
    config.auth_info.impersonate_groups = Some(vec!["system:masters".into()]);
    Ok(Client::try_from(config)?)
}

/// The children of the agent `support`, as they would be of an agent `new`, in the order of [`children::KINDS`].
async fn new_children(ns: &TempNs) -> anyhow::Result<Vec<Value>> {
    let mut new = Vec::new();
    for child in children::all(ns).await? {
        let mut value = serde_json::to_value(&child)?;
        let fields = |value: &mut Value, pointer: &str, names: &[&str]| {
            if let Some(fields) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
                names.iter().for_each(|name| drop(fields.remove(*name)));
            }
        };
        fields(&mut value, "", &["status"]);
        fields(
            &mut value,
            "/metadata",
            &["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "namespace"],
        );
        fields(&mut value, "/metadata/annotations", &["deployment.kubernetes.io/revision"]);
        fields(&mut value, "/spec", &["clusterIP", "clusterIPs"]);
        new.push(attempts::of_agent(&value, "support", "new"));
    }
    Ok(new)
}
