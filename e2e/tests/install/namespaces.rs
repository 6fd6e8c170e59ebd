//! An operator for some namespaces only.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::operator::SELECTOR;
use astromesh_e2e::{Operator, TempNs, kubectl, with_temp_ns};

use crate::releases::{OPERATOR, apply_support, operator, restoring, support, uninstall};

#[tokio::test(flavor = "multi_thread")]
async fn with_watch_namespaces_the_operator_has_roles_only_and_serves_nobody_else() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        with_temp_ns(async |other| {
            restoring(async || serves_only(ns, other).await).await?;
            // The default installation serves everybody again.
            other.agent_ready("support").await?;
            Ok(())
        })
        .await
    })
    .await
}

async fn serves_only(ns: &TempNs, other: &TempNs) -> anyhow::Result<()> {
    uninstall(OPERATOR).await?;
    operator(&["install"], &["--set", &format!("watchNamespaces={{{}}}", ns.name)]).await?;
    let roles = ["get", "clusterroles,clusterrolebindings", "-l", SELECTOR, "-o", "name"];
    assert_eq!(kubectl(&roles).await?.text()?.trim(), "", "no role for the whole cluster");
    let _ignored = apply_support(other, "Elsewhere.").await?;
    let (_llm, caller) = support(ns, "Here.").await?;
    assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Here.");
    ns.kubectl(&["delete", "deployment", "support-agent"]).await?.text()?;
    ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
    assert!(other.api::<Agent>().get("support").await?.status.is_none(), "nobody looks at other namespaces");
    may_act_in_its_namespace_only(ns, other).await
}

async fn may_act_in_its_namespace_only(ns: &TempNs, other: &TempNs) -> anyhow::Result<()> {
    let user = Operator::find(&ns.cluster.client).await?.user;
    let questions = [
        ("list", "agents", &ns.name, "yes"),
        ("patch", "deployments", &ns.name, "yes"),
        ("get", "secrets", &ns.name, "no"),
        ("list", "agents", &other.name, "no"),
        ("patch", "deployments", &other.name, "no"),
        ("get", "secrets", &other.name, "no"),
    ];
    for (verb, resource, namespace, expected) in questions {
        let args = ["auth", "can-i", verb, resource, "--as", &user, "--namespace", namespace];
        assert_eq!(kubectl(&args).await?.stdout.trim(), expected, "{verb} {resource} in {namespace}");
    }
    // Nor may it if a role were to grant it: the policies know the namespaces, too.
    let create =
        ["create", "configmap", "new-agent", "--dry-run=server", "--as-group", "system:masters", "--as", &user];
    for (namespace, expected) in [(&ns.name, "metadata.labels must have"), (&other.name, "outside of watchNamespaces")]
    {
        let args: Vec<_> = create.into_iter().chain(["--namespace", namespace]).collect();
        let denial = kubectl(&args).await?.refusal()?;
        assert!(denial.contains(expected), "{namespace}: {denial}");
    }
    Ok(())
}
