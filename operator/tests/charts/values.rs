//! What is refused before anything is installed, and in which words.

use serde_json::Value;

use super::{repository, template};

fn file(name: &str) -> Value {
    let text = std::fs::read_to_string(repository().join("charts/astromesh").join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn every_value_has_a_type_and_no_name_can_be_misspelt() {
    let (values, schema) = (file("values.yaml"), file("values.schema.json"));
    let mut open = vec![(String::new(), &values, &schema)];
    while let Some((path, value, schema)) = open.pop() {
        let schema = &schema["$ref"].as_str().map_or(schema, |_| &Value::Null);
        let Some(fields) = value.as_object().filter(|_| !schema.is_null()) else { continue };
        assert_eq!(schema["additionalProperties"], false, "{path} takes any name");
        for (name, value) in fields {
            let field = &schema["properties"][name];
            assert!(field.is_object(), "{path}/{name} is not in the schema");
            open.push((format!("{path}/{name}"), value, field));
        }
        for name in schema["properties"].as_object().unwrap().keys().filter(|name| *name != "global") {
            assert!(fields.contains_key(name), "{path}/{name} is not in values.yaml");
        }
    }
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_what_would() {
    for (value, words) in [
        ("replicas=0", &["/replicas", "got 0", "want 1"][..]),
        ("replicas=many", &["/replicas", "want integer"]),
        ("replicaz=2", &["replicaz"]),
        ("leaderElection=false,replicas=2", &["/replicas", "want 1"]),
        ("concurrency=0", &["/concurrency", "want 1"]),
        ("log.level=verbose", &["log.level is \"verbose\"", "info,kube=debug"]),
        ("log.level=info\\,kube=loud", &["log.level is \"info,kube=loud\""]),
        ("log.format=xml", &["/log/format", "'json', 'text'"]),
        ("resources.limits.memory=5", &["resources.limits.memory is 5", "256Mi"]),
        ("resources.limits.memory=256m", &["resources.limits.memory is \"256m\"", "256Mi"]),
        ("resources.limits.memory=12Ki", &["which is 12288 bytes", "16Mi at least"]),
        ("resources.requests.memory=-1", &["/resources/requests/memory", "want 0"]),
        ("resources.requests.cpu=5Mi", &["resources.requests.cpu is \"5Mi\"", "500m"]),
        ("resources.request.cpu=1", &["/resources", "'request'"]),
        ("image.repository=a/b:1", &["image.repository is \"a/b:1\"", "image.tag"]),
        ("agentImage.tag=sha256:1", &["agentImage.tag is \"sha256:1\""]),
        ("image.pullPolicy=Sometimes", &["/image/pullPolicy", "'IfNotPresent'"]),
        ("fullnameOverride=A_b", &["fullnameOverride is \"A_b\"", "lower case"]),
        ("watchNamespaces={Shop}", &["watchNamespaces[0] is \"Shop\"", "team-a"]),
        ("watchNamespaces=shop", &["/watchNamespaces", "want array"]),
        ("serviceAccount.name=a b", &["serviceAccount.name is \"a b\""]),
        ("tolerations[0].effect=Never", &["/tolerations/0/effect", "'NoSchedule'"]),
        ("policy.enabled=auto", &["/policy/enabled", "want boolean"]),
        ("metrics.service.port=0", &["/metrics/service/port", "want 1"]),
    ] {
        let refusal = template("astromesh", "astromesh", &["--set", value]).expect_err(value);
        for word in words {
            assert!(refusal.contains(word), "{value}: `{word}` is not in: {refusal}");
        }
        assert!(!refusal.contains('^'), "{value}: a pattern is shown: {refusal}");
    }
}

#[test]
fn a_value_that_makes_sense_is_taken() {
    for value in [
        "log.level=WARN",
        "log.level=info\\,kube=debug\\,astromesh_operator::lease=trace",
        "resources.limits.memory=268435456",
        "resources.limits.memory=1.5Gi",
        "resources.requests.cpu=2",
        "resources.requests.cpu=0.25",
        "resources.requests.ephemeral-storage=10Mi",
        "image.repository=registry.example.com:5000/astromesh/operator",
        "tolerations[0].key=a,tolerations[0].operator=Exists",
        "watchNamespaces={a,team-b}",
        "leaderElection=false,replicas=1",
        "policy.enabled=false",
    ] {
        template("astromesh", "astromesh", &["--set", value]).expect(value);
    }
}
