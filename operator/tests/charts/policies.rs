//! The policies that bind the operator's account. What they deny is tried on a cluster: `e2e/tests/cluster/policy.rs`.

use serde_json::{Value, json};

use super::{of_kind, render, strings, template};

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

#[test]
fn they_are_there_unless_they_are_not_wanted_or_the_cluster_has_none() {
    let count = |args: &[&str]| {
        let rendered = template("astromesh", "astromesh", args).unwrap();
        (of_kind(&rendered, POLICY).len(), of_kind(&rendered, BINDING).len())
    };
    let all = (7, 7);
    assert_eq!(count(&[]), all, "nobody was asked");
    assert_eq!(count(&["--set", "watchNamespaces={a,b}"]), all);
    assert_eq!(count(&["--set", "policy.enabled=false"]), (0, 0));
    assert_eq!(count(&["--api-versions", "v1/Pod"]), (0, 0), "a cluster that was asked, and has none");
    let api = format!("v1/Pod,admissionregistration.k8s.io/v1/{POLICY}");
    assert_eq!(count(&["--api-versions", &api]), all);
}

#[test]
fn each_denies_the_operators_account_and_nobody_else() {
    for (values, account) in [(&[][..], "astromesh-operator"), (&["serviceAccount.name=mine"][..], "mine")] {
        let rendered = render("astromesh", values);
        let names = |kind: &str, pointer: &str| -> Vec<Value> {
            of_kind(&rendered, kind).iter().map(|object| object.pointer(pointer).unwrap().clone()).collect()
        };
        assert!(!names(POLICY, "/metadata/name").is_empty());
        assert_eq!(names(POLICY, "/metadata/name"), names(BINDING, "/spec/policyName"));
        for binding in of_kind(&rendered, BINDING) {
            assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
        }
        for policy in of_kind(&rendered, POLICY) {
            assert_eq!(policy["spec"]["failurePolicy"], "Fail");
            let user = format!("request.userInfo.username == 'system:serviceaccount:astromesh-system:{account}'");
            assert_eq!(policy["spec"]["matchConditions"], json!([{"name": "the-operator", "expression": user}]));
            for validation in policy["spec"]["validations"].as_array().unwrap() {
                assert!(validation["message"].is_string() && validation["reason"] == "Forbidden", "{validation}");
            }
        }
    }
}

#[test]
fn two_releases_of_one_name_do_not_share_them() {
    let name = |namespace: &str| {
        let rendered = template("astromesh", "astromesh", &["--namespace", namespace]).unwrap();
        of_kind(&rendered, POLICY)[0]["metadata"]["name"].clone()
    };
    assert_ne!(name("a"), name("b"));
}

#[test]
fn whatever_the_role_lets_it_write_is_judged_by_a_policy_of_its_own() {
    let rendered = render("astromesh", &[]);
    let excluded = |policy: &&&Value| !policy["spec"]["matchConstraints"]["excludeResourceRules"].is_null();
    let policies = of_kind(&rendered, POLICY);
    let others = policies.iter().find(excluded).unwrap();
    // These two it judges itself.
    let mut judged = vec!["leases".to_owned(), "events".to_owned()];
    let rules = others["spec"]["matchConstraints"]["excludeResourceRules"].as_array().unwrap();
    judged.extend(rules.iter().flat_map(|rule| strings(rule, "resources")));
    let roles = rendered.iter().filter(|object| {
        // Those of people have no business here.
        let name = object["metadata"]["name"].as_str().unwrap();
        object["kind"].as_str().unwrap().ends_with("Role") && !name.ends_with("-view") && !name.ends_with("-edit")
    });
    let mut written = Vec::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        let verbs = strings(rule, "verbs");
        assert!(!verbs.iter().any(|verb| verb.starts_with("delete")), "nothing is deleted: {rule}");
        if verbs.iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str())) {
            written.extend(strings(rule, "resources"));
        }
    }
    assert!(written.contains(&"deployments".to_owned()));
    for resource in written {
        assert!(judged.contains(&resource), "no policy is about {resource}");
    }
}

#[test]
fn namespaces_are_closed_by_name_and_limited_to_the_watched_ones() {
    let of_children = |values: &[&str]| {
        let rendered = render("astromesh", values);
        let policies = of_kind(&rendered, POLICY);
        let named = |policy: &&&Value| policy["metadata"]["name"].as_str().unwrap().ends_with(".children");
        let validations = policies.iter().find(named).unwrap()["spec"]["validations"].as_array().unwrap().clone();
        let places = validations.iter().filter_map(|validation| validation["expression"].as_str());
        places.filter(|text| text.contains("request.namespace")).map(str::to_owned).collect::<Vec<_>>()
    };
    let cluster = "!(request.namespace in ['kube-system', 'kube-public', 'kube-node-lease', 'astromesh-system'])";
    assert_eq!(of_children(&[]), [cluster]);
    assert_eq!(of_children(&["watchNamespaces={a,b}"]), [cluster, "request.namespace in ['a', 'b']"]);
    let own = of_children(&["watchNamespaces={astromesh-system}"]);
    assert!(!own[0].contains("astromesh-system"), "it is served because it is named: {}", own[0]);
}
