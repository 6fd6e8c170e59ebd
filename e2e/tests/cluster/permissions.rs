//! What the operator may do, and what its namespaces enforce.

use astromesh_e2e::operator::NAMESPACE;
use astromesh_e2e::{Cluster, Operator, kubectl, objects, with_temp_ns};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_not_read_a_secret_in_any_namespace() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    let user = Operator::find(&cluster.client).await?.user;
    let may = async |verb: &str, scope: &[&str]| {
        let mut args = vec!["auth", "can-i", verb, "secrets", "--as", &user];
        args.extend(scope);
        anyhow::Ok(kubectl(&args).await?.stdout.trim().to_owned())
    };
    for verb in VERBS {
        assert_eq!(may(verb, &["--all-namespaces"]).await?, "no", "{verb} secrets everywhere");
    }
    let namespaces = Api::<Namespace>::all(cluster.client.clone()).list(&ListParams::default()).await?;
    for namespace in namespaces.iter().map(kube::ResourceExt::name_any) {
        assert_eq!(may("get", &["--namespace", &namespace]).await?, "no", "get secrets in {namespace}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_rules_have_no_wildcard_and_no_word_of_secrets() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    let user = Operator::find(&cluster.client).await?.user;
    let rules = rules_of(&cluster, &user).await?;
    assert!(!rules.is_empty(), "the operator has rules");
    for rule in rules {
        let words = [Some(&rule.verbs), rule.resources.as_ref(), rule.api_groups.as_ref()];
        let words: Vec<_> = words.into_iter().flatten().flatten().map(String::as_str).collect();
        assert!(!words.iter().any(|word| word.contains('*')), "a wildcard in {rule:?}");
        assert!(!words.contains(&"secrets"), "secrets in {rule:?}");
    }
    Ok(())
}

/// The rules of every role that is bound to the service account itself.
async fn rules_of(cluster: &Cluster, user: &str) -> anyhow::Result<Vec<PolicyRule>> {
    let client = || cluster.client.clone();
    let account = user.rsplit(':').next().unwrap_or_default();
    let bound = |subjects: &Option<Vec<Subject>>| {
        subjects.iter().flatten().any(|s| s.name == account && s.namespace.as_deref() == Some(NAMESPACE))
    };
    let every = ListParams::default();
    let mut rules = Vec::new();
    for binding in Api::<ClusterRoleBinding>::all(client()).list(&every).await?.items {
        if bound(&binding.subjects) {
            let role = Api::<ClusterRole>::all(client()).get(&binding.role_ref.name).await?;
            rules.extend(role.rules.unwrap_or_default());
        }
    }
    for binding in Api::<RoleBinding>::all(client()).list(&every).await?.items {
        if bound(&binding.subjects) {
            let namespace = binding.namespace().unwrap_or_default();
            let found = if binding.role_ref.kind == "Role" {
                Api::<Role>::namespaced(client(), &namespace).get(&binding.role_ref.name).await?.rules
            } else {
                Api::<ClusterRole>::all(client()).get(&binding.role_ref.name).await?.rules
            };
            rules.extend(found.unwrap_or_default());
        }
    }
    Ok(rules)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespaces_of_the_tests_enforce_restricted_pods() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let container = json!({"name": "c", "image": "example.com/any:1", "securityContext": {"privileged": true}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "privileged"},
                         "spec": {"containers": [container]}});
        let refusal = objects::refusal(&ns.cluster.client, &ns.name, &pod).await?;
        assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_own_roles_extend_to_agents() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        for role in ["view", "edit"] {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": role}});
            ns.apply(account).await?;
            let subject = json!({"kind": "ServiceAccount", "name": role, "namespace": ns.name});
            let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
            let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                                 "metadata": {"name": role}, "subjects": [subject], "roleRef": role_ref});
            ns.apply(binding).await?;
        }
        let questions = [
            ("view", "list", "agents", "", "yes"),
            ("view", "get", "providers", "status", "yes"),
            ("view", "create", "agents", "", "no"),
            ("edit", "create", "agents", "", "yes"),
            ("edit", "delete", "providers", "", "yes"),
            ("edit", "patch", "agents", "scale", "yes"),
            ("edit", "patch", "agents", "status", "no"),
        ];
        for (role, verb, resource, subresource, expected) in questions {
            let user = format!("system:serviceaccount:{}:{role}", ns.name);
            let mut args = vec!["auth", "can-i", verb, resource, "--as", &user];
            if !subresource.is_empty() {
                args.extend(["--subresource", subresource]);
            }
            let answer = ns.kubectl(&args).await?;
            assert_eq!(answer.stdout.trim(), expected, "{role}: {verb} {resource}/{subresource}");
        }
        Ok(())
    })
    .await
}
