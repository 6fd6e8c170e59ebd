//! The charts: their definitions are the generated ones, and what they grant is no more than needed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod policies;
mod values;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What `helm template` makes of a chart.
fn render(chart: &str, values: &[&str]) -> Vec<Value> {
    let args: Vec<_> = values.iter().flat_map(|value| ["--set", value]).collect();
    template(chart, "astromesh", &args).expect("helm renders it")
}

/// The same of a release of any name, with any arguments; or why it makes nothing.
fn template(chart: &str, release: &str, args: &[&str]) -> Result<Vec<Value>, String> {
    let mut helm = Command::new("helm");
    helm.args(["template", release, "--namespace", "astromesh-system"]);
    helm.arg(repository().join("charts").join(chart)).args(args);
    let output = helm.output().expect("helm is needed; get it with PATH=$(e2e/tools/ensure helm):$PATH");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(documents(&String::from_utf8(output.stdout).unwrap()))
}

/// The objects of one kind.
fn of_kind<'a>(rendered: &'a [Value], kind: &str) -> Vec<&'a Value> {
    rendered.iter().filter(|object| object["kind"] == kind).collect()
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---")
        .filter_map(|part| serde_saphyr::from_str::<Value>(part.trim_start_matches("---")).ok())
        .filter(Value::is_object)
        .collect()
}

fn strings(rule: &Value, field: &str) -> Vec<String> {
    rule[field].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Helm writes `2.0` as `2`.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), normal(value))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn the_definitions_of_the_chart_are_the_generated_ones() {
    for name in ["agents.yaml", "providers.yaml"] {
        let generated = std::fs::read_to_string(repository().join("crds/yaml").join(name)).unwrap();
        let charted = std::fs::read_to_string(repository().join("charts/astromesh-crds/files").join(name)).unwrap();
        assert_eq!(generated, charted, "{name}");
    }
    let generated = std::fs::read_dir(repository().join("crds/yaml")).unwrap().count();
    let charted = std::fs::read_dir(repository().join("charts/astromesh-crds/files")).unwrap().count();
    assert_eq!(generated, charted, "every generated definition is in the chart");
}

#[test]
fn rendered_definitions_differ_by_their_policy_only() {
    let rendered = render("astromesh-crds", &[]);
    assert_eq!(rendered.len(), 2);
    for mut definition in rendered {
        let file = format!("{}.yaml", definition["spec"]["names"]["plural"].as_str().unwrap());
        let text = std::fs::read_to_string(repository().join("crds/yaml").join(file)).unwrap();
        let generated: Value = serde_saphyr::from_str(&text).unwrap();
        let annotations = definition["metadata"]["annotations"].as_object_mut().unwrap();
        assert_eq!(annotations.remove("helm.sh/resource-policy"), Some("keep".into()));
        let same = normal(&definition["spec"]) == normal(&generated["spec"]);
        assert!(same, "{} differs", definition["metadata"]["name"]);
    }
}

#[test]
fn no_role_of_the_operator_has_a_wildcard_or_a_verb_on_secrets() {
    for values in [&[][..], &["watchNamespaces={a,b}"]] {
        let rendered = render("astromesh", values);
        let roles: Vec<_> =
            rendered.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Role")).collect();
        assert!(!roles.is_empty());
        for rule in roles.iter().flat_map(|role| role["rules"].as_array().unwrap()) {
            let path = !strings(rule, "nonResourceURLs").is_empty();
            let fields =
                if path { &["nonResourceURLs", "verbs"][..] } else { &["apiGroups", "resources", "verbs"][..] };
            for field in fields {
                let words = strings(rule, field);
                assert!(!words.is_empty() && words.iter().all(|word| !word.contains('*')), "{rule}");
            }
            assert!(!strings(rule, "resources").iter().any(|resource| resource.starts_with("secrets")), "{rule}");
        }
    }
}

#[test]
fn namespaces_are_watched_by_their_metadata_and_in_the_whole_cluster_only() {
    let verbs = |values: &[&str]| {
        let rendered = render("astromesh", values);
        let rules = rendered.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten());
        rules
            .filter(|rule| strings(rule, "resources").iter().any(|resource| resource == "namespaces"))
            .map(|rule| strings(rule, "verbs"))
            .collect::<Vec<_>>()
    };
    assert_eq!(verbs(&[]), [["list", "watch"]]);
    assert!(verbs(&["watchNamespaces={a,b}"]).is_empty());
}

#[test]
fn with_named_namespaces_nothing_is_granted_in_the_whole_cluster() {
    let rendered = render("astromesh", &["watchNamespaces={a,b}"]);
    let kinds: Vec<_> = rendered.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert!(!kinds.iter().any(|kind| kind.starts_with("Cluster")), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "Role").count(), 3, "one per namespace, and the lease's");
}

#[test]
fn the_token_keys_may_be_read_where_the_cluster_does_not_let_every_account_read_them() {
    let rendered = render("astromesh", &[]);
    let rules = rendered.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten());
    let paths: Vec<_> = rules
        .filter(|rule| rule["verbs"] == json!(["get"]))
        .flat_map(|rule| strings(rule, "nonResourceURLs"))
        .collect();
    assert_eq!(paths, ["/openid/v1/jwks", "/.well-known/openid-configuration"]);
}

#[test]
fn pods_find_every_replica_of_the_operator() {
    for (release, name) in [("astromesh", "astromesh-operator"), ("9.test", "s-9-test-astromesh-operator")] {
        let rendered = template("astromesh", release, &["--set", "metrics.service.enabled=true"]).unwrap();
        let services = of_kind(&rendered, "Service");
        let names: Vec<_> = services.iter().map(|service| service["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, [&format!("{name}-metrics"), name], "{release}");
        let spec = &services[1]["spec"];
        assert_eq!((&spec["clusterIP"], &spec["publishNotReadyAddresses"]), (&json!("None"), &json!(true)));
        let template = &of_kind(&rendered, "Deployment")[0]["spec"]["template"];
        for (key, value) in spec["selector"].as_object().unwrap() {
            assert_eq!(&template["metadata"]["labels"][key], value, "{key}");
        }
        let env = template["spec"]["containers"][0]["env"].as_array().unwrap();
        let url = env.iter().find(|variable| variable["name"] == "ASTROMESH_ATTENTION_URL").unwrap();
        assert_eq!(url["value"], format!("http://{name}.astromesh-system.svc:8080/internal/attention"));
    }
}
