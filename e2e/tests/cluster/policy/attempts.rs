//! What a role may let the operator do by mistake, and what the policies say to it.

use anyhow::Context as _;
use astromesh_e2e::TempNs;
use astromesh_e2e::manifests::with;
use astromesh_e2e::operator::NAMESPACE;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::attempt::{Attempt, Kind};
use crate::children::NAME;

/// What is tried in words, what is tried, and what of the refusal tells it from others.
type Row = (&'static str, Attempt, &'static str);

const CONFIG_MAP: Kind = ("v1", "ConfigMap");
const POD: Kind = ("v1", "Pod");
const POD_SPEC: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// Objects that the operator has not made.
pub(super) async fn foreign_objects(ns: &TempNs) -> anyhow::Result<()> {
    for name in ["theirs", "theirs-agent"] {
        ns.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}))
            .await?;
    }
    ns.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"}, "spec": restricted()})).await?;
    Ok(())
}

/// A pod that every namespace takes.
fn restricted() -> Value {
    let security = json!({"runAsNonRoot": true, "runAsUser": 1, "allowPrivilegeEscalation": false,
                          "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let container = json!({"name": "agent", "image": "example.com/any:1", "securityContext": security});
    json!({"restartPolicy": "Never", "containers": [container]})
}

/// A child of one agent as it would be of another one.
pub(super) fn of_agent(child: &Value, agent: &str, other: &str) -> Value {
    serde_json::from_str(&child.to_string().replace(agent, other)).unwrap_or_default()
}

/// A pod of the agent `support`.
pub(super) async fn first_pod(ns: &TempNs) -> anyhow::Result<String> {
    Ok(ns.pods("support").await?.first().context("the agent has a pod")?.name_any())
}

/// The volume of the agent whose ConfigMap this is.
pub(super) fn claim(config_map: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": config_map["metadata"],
           "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

/// A Lease.
pub(super) fn lease(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace}})
}

/// An Event of the operator about an object.
pub(super) fn event(namespace: &str, version: &str, kind: &str) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "support-"},
           "regarding": {"apiVersion": version, "kind": kind, "name": "support", "namespace": namespace}, "type": "Normal", "reason": "Test",
           "action": "Test", "reportingController": "astromesh-operator", "reportingInstance": "test",
           "eventTime": "2026-01-01T00:00:00.000000Z"})
}

/// On the objects themselves: whose they are, where they are, what they do.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn attempts_on_children(new: &[Value]) -> Vec<Row> {
    let [config_map, account, service, deployment] = new else { return Vec::new() };
    let set = |object: &Value, pointer: &str, value: Value| Attempt::Apply(with(object.clone(), pointer, value));
    let owner = |fields: Value| {
        let mut owner = json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "name": "new", "uid": "u", "controller": true});
        fields.as_object().into_iter().flatten().for_each(|(key, value)| owner[key] = value.clone());
        json!([owner])
    };
    let place = "/metadata/namespace";
    let owners = "/metadata/ownerReferences";
    let claim = claim(config_map);
    let theirs = json!({"data": {"a": "c"}});
    let no_owner = "must have the agent of that name as its controller";
    vec![
        ("a Deployment in kube-system", set(deployment, place, json!("kube-system")), "those of the cluster itself"),
        ("a Deployment beside the operator", set(deployment, place, json!(NAMESPACE)), "nothing in its own namespace"),
        ("a ConfigMap in kube-public", set(config_map, place, json!("kube-public")), "those of the cluster itself"),
        ("a ConfigMap without an owner", set(config_map, owners, json!([])), no_owner),
        (
            "one of an owner that is no controller",
            set(config_map, owners, owner(json!({"controller": false}))),
            no_owner,
        ),
        ("one of another agent", set(config_map, owners, owner(json!({"name": "other"}))), no_owner),
        ("one of a Provider", set(config_map, owners, owner(json!({"kind": "Provider"}))), no_owner),
        (
            "one of an Agent of another group",
            set(config_map, owners, owner(json!({"apiVersion": "example.com/v1"}))),
            no_owner,
        ),
        ("one without labels", set(config_map, "/metadata/labels", json!({})), "metadata.labels must have"),
        (
            "one with the label of another agent",
            set(config_map, "/metadata/labels/astromesh.io~1agent", json!("x")),
            "metadata.labels must have",
        ),
        ("one with another name", set(config_map, "/metadata/name", json!("coredns")), "with the suffix -agent"),
        (
            "a change of somebody's ConfigMap",
            Attempt::merge(CONFIG_MAP, "theirs", theirs.clone()),
            "with the suffix -agent",
        ),
        (
            "one that is named like an agent's",
            Attempt::merge(CONFIG_MAP, "theirs-agent", theirs),
            "metadata.labels must have",
        ),
        (
            "a claim to somebody's ConfigMap",
            Attempt::Apply(of_agent(config_map, "new", "theirs")),
            "is not the operator's to change",
        ),
        (
            "the end of somebody's ConfigMap",
            Attempt::delete(CONFIG_MAP, "theirs-agent"),
            "is not the operator's to change",
        ),
        (
            "another controller for a child",
            Attempt::merge(
                CONFIG_MAP,
                NAME,
                json!({"metadata": {"ownerReferences": owner(json!({"name": "support"}))}}),
            ),
            "another agent of that name",
        ),
        (
            "a Service of type LoadBalancer",
            set(service, "/spec/type", json!("LoadBalancer")),
            "spec.type must be ClusterIP",
        ),
        ("a Service of type NodePort", set(service, "/spec/type", json!("NodePort")), "spec.type must be ClusterIP"),
        ("a Service with externalIPs", set(service, "/spec/externalIPs", json!(["192.0.2.1"])), "externalIPs is set"),
        ("a Service of other pods", set(service, "/spec/selector", json!({"app": "bank"})), "spec.selector must be"),
        (
            "an account with a token in its pods",
            set(account, "/automountServiceAccountToken", json!(true)),
            "must be false",
        ),
        (
            "an account with an identity elsewhere",
            set(account, "/metadata/annotations/eks.amazonaws.com~1role-arn", json!("arn:x")),
            "astromesh.io/applied only",
        ),
        ("an account with a Secret", set(account, "/secrets", json!([{"name": "any"}])), "secrets is set"),
        (
            "a claim of a volume that is there",
            set(&claim, "/spec/volumeName", json!("pv-of-others")),
            "volumeName is set",
        ),
        (
            "a copy of a volume",
            set(&claim, "/spec/dataSource", json!({"kind": "PersistentVolumeClaim", "name": "x"})),
            "dataSource is set",
        ),
    ]
}

/// On the template of pods.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn attempts_on_templates(deployment: &Value) -> Vec<Row> {
    let set = |pointer: String, value: Value| Attempt::Apply(with(deployment.clone(), &pointer, value));
    let pod = |field: &str, value: Value| set(format!("{POD_SPEC}/{field}"), value);
    let container = |field: &str, value: Value| set(format!("{CONTAINER}/{field}"), value);
    let more = |list: &str, item: Value| {
        let mut items = deployment.pointer(list).cloned().unwrap_or_else(|| json!([]));
        items.as_array_mut().into_iter().for_each(|items| items.push(item.clone()));
        set(list.to_owned(), items)
    };
    let volume = |fields: Value| more(&format!("{POD_SPEC}/volumes"), with(fields, "/name", json!("more")));
    let secret = json!({"name": "any", "key": "k"});
    let token = json!({"serviceAccountToken": {"path": "t", "audience": "https://kubernetes.default.svc"}});
    let account = "must be the agent's own account";
    let volumes = "volumes must be";
    vec![
        ("a directory of the node", volume(json!({"hostPath": {"path": "/"}})), volumes),
        ("somebody's ConfigMap", volume(json!({"configMap": {"name": "theirs"}})), volumes),
        ("somebody's volume", volume(json!({"persistentVolumeClaim": {"claimName": "theirs"}})), volumes),
        ("a volume of the network", volume(json!({"nfs": {"server": "192.0.2.1", "path": "/"}})), volumes),
        ("a token for the API server", volume(json!({"projected": {"sources": [token]}})), "tokens of an audience"),
        (
            "a token of no audience",
            volume(json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})),
            "tokens of an audience",
        ),
        ("all keys of a Secret", volume(json!({"secret": {"secretName": "any"}})), "must name the keys"),
        (
            "all keys, projected",
            volume(json!({"projected": {"sources": [{"secret": {"name": "any"}}]}})),
            "keys of Secrets",
        ),
        (
            "a Secret in the environment",
            container("env", json!([{"name": "K", "valueFrom": {"secretKeyRef": secret}}])),
            "env is set",
        ),
        (
            "a Secret as the environment",
            container("envFrom", json!([{"secretRef": {"name": "any"}}])),
            "envFrom is set",
        ),
        (
            "a privileged container",
            container("securityContext", json!({"privileged": true})),
            "must have allowPrivilegeEscalation false",
        ),
        (
            "privileges that grow",
            container("securityContext/allowPrivilegeEscalation", json!(true)),
            "must have allowPrivilegeEscalation false",
        ),
        (
            "a root that can be written",
            container("securityContext/readOnlyRootFilesystem", json!(false)),
            "readOnlyRootFilesystem true",
        ),
        ("capabilities", container("securityContext/capabilities/add", json!(["NET_RAW"])), "must add no capabilities"),
        ("capabilities that are kept", container("securityContext/capabilities/drop", json!([])), "drop ALL"),
        ("another user for the container", container("securityContext/runAsUser", json!(0)), "runAsUser is set"),
        (
            "no seccomp for the container",
            container("securityContext/seccompProfile", json!({"type": "Unconfined"})),
            "seccompProfile is set",
        ),
        ("root", pod("securityContext/runAsNonRoot", json!(false)), "must have runAsNonRoot"),
        ("the user 0", pod("securityContext/runAsUser", json!(0)), "a runAsUser that is not 0"),
        (
            "no seccomp",
            pod("securityContext/seccompProfile", json!({"type": "Unconfined"})),
            "the seccompProfile RuntimeDefault",
        ),
        ("another command", container("command", json!(["sh"])), "command is set"),
        ("a hook", container("lifecycle", json!({"preStop": {"exec": {"command": ["sh"]}}})), "lifecycle is set"),
        (
            "a probe that runs a program",
            container("livenessProbe", json!({"exec": {"command": ["sh"]}})),
            "must ask the pod itself",
        ),
        (
            "a probe of another host",
            container("livenessProbe/httpGet/host", json!("192.0.2.1")),
            "must ask the pod itself",
        ),
        ("a port of the node", container("ports/0/hostPort", json!(8080)), "no hostPort"),
        (
            "another container",
            more(&format!("{POD_SPEC}/containers"), json!({"name": "more", "image": "example.com/x:1"})),
            "another one than agent",
        ),
        ("no container of that name", container("name", json!("main")), "must have one named agent"),
        (
            "a container before it",
            pod("initContainers", json!([{"name": "more", "image": "example.com/x:1"}])),
            "initContainers is set",
        ),
        ("the default account", pod("serviceAccountName", json!("default")), account),
        ("the account of another agent", pod("serviceAccountName", json!("support-agent")), account),
        (
            "a token for the API",
            pod("automountServiceAccountToken", json!(true)),
            "automountServiceAccountToken must be false",
        ),
        ("the network of the node", pod("hostNetwork", json!(true)), "hostNetwork is set"),
        ("the processes of the node", pod("hostPID", json!(true)), "hostPID is set"),
        ("the memory of the node", pod("hostIPC", json!(true)), "hostIPC is set"),
        ("a node of its choice", pod("nodeName", json!("node")), "nodeName is set"),
        ("a priority", pod("priorityClassName", json!("system-node-critical")), "priorityClassName is set"),
        (
            "pods of another agent",
            set("/spec/template/metadata/labels/astromesh.io~1agent".into(), json!("support")),
            "the labels of spec.template",
        ),
    ]
}

/// On pods.
pub(super) fn attempts_on_pods(pod: &str) -> Vec<Row> {
    let merge = |name: &str, patch: Value| Attempt::strategic(POD, name, patch);
    let nudge = json!({"metadata": {"annotations": {"astromesh.io/revision": "x"}}});
    let only = "astromesh.io/revision only";
    vec![
        ("a label of a pod", merge(pod, json!({"metadata": {"labels": {"a": "b"}}})), only),
        ("another annotation", merge(pod, json!({"metadata": {"annotations": {"a": "b"}}})), only),
        ("a finalizer", merge(pod, json!({"metadata": {"finalizers": ["example.com/stay"]}})), only),
        ("no owner", merge(pod, json!({"metadata": {"ownerReferences": null}})), only),
        (
            "another image",
            merge(pod, json!({"spec": {"containers": [{"name": "agent", "image": "example.com/x:1"}]}})),
            "no spec of a pod",
        ),
        ("an end in time", merge(pod, json!({"spec": {"activeDeadlineSeconds": 1}})), "no spec of a pod"),
        ("a pod that is no agent's", merge("theirs", nudge), "is not one of an agent"),
        ("the end of a pod", Attempt::delete(POD, pod), "no business with this: DELETE pods"),
        (
            "an eviction",
            Attempt::Subresource(
                POD,
                pod.to_owned(),
                "eviction",
                json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}),
            ),
            "no business with this: CREATE pods/eviction",
        ),
    ]
}

/// On everything else.
pub(super) fn attempts_on_the_rest(namespace: &str) -> Vec<Row> {
    let rbac = "rbac.authorization.k8s.io";
    let admin = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"});
    let made = |version: &str, kind: &str, fields: Value| {
        let object = with(fields, "/metadata/name", json!("evil-agent"));
        Attempt::Create(with(with(object, "/apiVersion", json!(version)), "/kind", json!(kind)))
    };
    let token =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["astromesh"]}});
    vec![
        ("a Secret", made("v1", "Secret", json!({})), "CREATE secrets"),
        ("a pod", made("v1", "Pod", json!({"spec": restricted()})), "CREATE pods"),
        (
            "a RoleBinding",
            made("rbac.authorization.k8s.io/v1", "RoleBinding", json!({"roleRef": admin})),
            "CREATE rolebindings",
        ),
        ("a Role", made("rbac.authorization.k8s.io/v1", "Role", json!({"rules": []})), "CREATE roles"),
        ("a Job", made("batch/v1", "Job", json!({"spec": {"template": {"spec": restricted()}}})), "CREATE jobs"),
        (
            "a NetworkPolicy",
            made("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {"podSelector": {}}})),
            "CREATE networkpolicies",
        ),
        ("another Lease", Attempt::Apply(lease(NAMESPACE, "other")), "leases"),
        ("a Lease elsewhere", Attempt::Apply(lease("kube-system", "astromesh-operator")), "leases"),
        (
            "a token of an account",
            Attempt::Subresource(("v1", "ServiceAccount"), NAME.into(), "token", token),
            "CREATE serviceaccounts/token",
        ),
        (
            "an Agent",
            Attempt::merge(("astromesh.io/v1alpha1", "Agent"), "support", json!({"spec": {"suspend": true}})),
            "UPDATE agents",
        ),
        ("an Event about a pod", Attempt::Create(event(namespace, "v1", "Pod")), "CREATE events"),
        (
            "the operator's own Deployment",
            Attempt::Patch(
                ("apps/v1", "Deployment"),
                Some(NAMESPACE),
                "astromesh-operator".into(),
                kube::api::Patch::Merge(json!({"spec": {"replicas": 2}})),
            ),
            // Two policies deny it; which one answers is left to the API server.
            "denied request",
        ),
        ("the end of an Agent", Attempt::delete(("astromesh.io/v1alpha1", "Agent"), "support"), "DELETE agents"),
    ]
}
