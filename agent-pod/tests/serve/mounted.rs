//! As in a pod: a ConfigMap's and a Secret's files, swapped by one rename as the kubelet does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agent_pod_config::{ConfigMaps, Document, NamespaceLabels, Resources, Trust, compile, revision_of};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::Pod;
use crate::model_server::ModelServer;

/// A volume: files are links into `..data`, which is a link to the folder of the moment.
pub(crate) struct Volume {
    root: PathBuf,
    version: std::cell::Cell<u32>,
}

impl Volume {
    pub(crate) fn new(root: &Path, files: &[(&str, &[u8])]) -> Self {
        fs::create_dir(root).unwrap();
        let volume = Self { root: root.to_owned(), version: 0.into() };
        volume.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.root.join(name)).unwrap();
        }
        volume
    }

    pub(crate) fn swap(&self, files: &[(&str, &[u8])]) {
        self.version.set(self.version.get() + 1);
        let folder = format!("..v{}", self.version.get());
        fs::create_dir(self.root.join(&folder)).unwrap();
        for (name, bytes) in files {
            fs::write(self.root.join(&folder).join(name), bytes).unwrap();
        }
        let draft = self.root.join("..data_tmp");
        symlink(&folder, &draft).unwrap();
        fs::rename(draft, self.root.join("..data")).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_owned()
    }
}

fn document(url: &str, prompt: &str, access: &str) -> Vec<u8> {
    document_with_key(url, prompt, access, "keys")
}

fn document_with_key(url: &str, prompt: &str, access: &str, secret: &str) -> Vec<u8> {
    let agent = serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support", "namespace": "shop"},
        "spec": {"model": {"candidates": [{"providerRef": {"name": "echo"}}]}, "prompts": {"system": prompt}, "access": {"mode": access}},
    }))
    .unwrap();
    let provider = serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": "echo", "namespace": "shop"},
        "spec": {"type": "openai_compat", "endpoint": url, "models": [{"name": "m"}],
                 "auth": {"secretKeyRef": {"name": secret, "key": "api-key"}}},
    }))
    .unwrap();
    let namespaces = NamespaceLabels::new();
    compile(Resources {
        agents: &[&agent],
        providers: &[&provider],
        peers: &[],
        namespaces: &namespaces,
        config_maps: &ConfigMaps::new(),
    })
    .document
    .to_bytes()
}

fn trust() -> Vec<u8> {
    let trust = Trust {
        issuer: "https://kubernetes.default.svc".into(),
        audience: Trust::AUDIENCE.into(),
        jwks: json!({"keys": []}),
        operator: "system:serviceaccount:astromesh-system:astromesh".into(),
    };
    trust.to_bytes()
}

struct Setup {
    model: ModelServer,
    config: Volume,
    secret: Volume,
    pod: Pod,
    _mounts: TempDir,
}

async fn setup(access: &str) -> Setup {
    let model = ModelServer::start().await;
    let first = document(&model.url, "one", access);
    let mounts = tempfile::tempdir().unwrap();
    let secrets = mounts.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    let config = Volume::new(&mounts.path().join("config"), &[("document.json", &first), ("trust.json", &trust())]);
    let secret = Volume::new(&secrets.join("keys"), &[("api-key", b"first-key\n")]);
    let arguments = [
        "--document",
        &config.file("document.json"),
        "--trust",
        &config.file("trust.json"),
        "--secrets-dir",
        secrets.to_str().unwrap(),
    ];
    let pod = Pod::start(&arguments, &[]).await;
    pod.await_state("the first revision", |state| state["revision"] == revision_of(&first)).await;
    Setup { model, config, secret, pod, _mounts: mounts }
}

#[tokio::test]
async fn a_new_document_is_served_and_a_bad_one_refused_with_its_reason() {
    let Setup { model, config, pod, _mounts, .. } = setup("none").await;
    assert_eq!(pod.answer("support").await, "one");
    let second = document(&model.url, "two", "none");
    config.swap(&[("document.json", &second), ("trust.json", &trust())]);
    pod.await_state("the second revision", |state| state["revision"] == revision_of(&second)).await;
    assert_eq!(pod.answer("support").await, "two");

    for (bad, path) in
        [(document(&model.url, "{{ oops", "none"), "agents.support.prompts.system"), (b"{\"version\": 1".to_vec(), "")]
    {
        config.swap(&[("document.json", &bad), ("trust.json", &trust())]);
        let state = pod.await_state("the refusal", |state| state["rejected"]["revision"] == revision_of(&bad)).await;
        assert_eq!(state["rejected"]["problems"][0]["path"], path);
        assert_eq!(state["revision"], revision_of(&second), "the last good one goes on serving");
        assert_eq!(pod.answer("support").await, "two");
    }
    config.swap(&[("document.json", &second), ("trust.json", &trust())]);
    pod.await_state("no refusal", |state| state["rejected"].is_null()).await;
}

#[tokio::test]
async fn a_changed_secret_is_used_and_a_deleted_one_keeps_its_last_value() {
    let Setup { model, secret, pod, _mounts, .. } = setup("none").await;
    pod.answer("support").await;
    assert_eq!(model.asked().last().unwrap().authorization.as_deref(), Some("Bearer first-key"));
    secret.swap(&[("api-key", b"second-key")]);
    let used = async {
        while model.asked().last().unwrap().authorization.as_deref() != Some("Bearer second-key") {
            pod.answer("support").await;
        }
    };
    tokio::time::timeout(crate::harness::DEADLINE, used).await.expect("the new key is used");
    secret.swap(&[]);
    pod.await_state("the key to be missing", |state| state["secrets"][0]["state"] == "missing").await;
    pod.answer("support").await;
    assert_eq!(model.asked().last().unwrap().authorization.as_deref(), Some("Bearer second-key"));
}

#[tokio::test]
async fn a_document_with_a_secret_that_this_pod_has_not_mounted_is_left_to_pods_that_have() {
    let Setup { model, config, secret, pod, _mounts } = setup("none").await;
    let moved = document_with_key(&model.url, "two", "none", "elsewhere");
    config.swap(&[("document.json", &moved), ("trust.json", &trust())]);
    let state = pod.await_state("the refusal", |state| state["rejected"]["revision"] == revision_of(&moved)).await;
    assert_eq!(state["rejected"]["problems"][0]["path"], "providers.shop/echo.auth.secret");
    assert_eq!(pod.answer("support").await, "one");
    // A key that went missing holds up no edit.
    secret.swap(&[]);
    pod.await_state("the key to be missing", |state| state["secrets"][0]["state"] == "missing").await;
    let edited = document(&model.url, "three", "none");
    config.swap(&[("document.json", &edited), ("trust.json", &trust())]);
    pod.await_state("the edit", |state| state["revision"] == revision_of(&edited)).await;
    assert_eq!(pod.answer("support").await, "three");
}

#[tokio::test]
async fn in_a_cluster_the_loopback_interface_is_no_pass() {
    let Setup { pod, model, _mounts, .. } = setup("service_account").await;
    let response = pod.ask("support", &json!({"query": "hi"})).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(model.asked().is_empty());
}

#[tokio::test]
async fn without_a_document_the_pod_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("document.json");
    let pod = Pod::start(&["--document", file.to_str().unwrap()], &[]).await;
    assert!(!pod.ready().await);
    let live = pod.http.get(format!("{}/livez", pod.admin)).send().await.unwrap();
    assert!(live.status().is_success());
    fs::write(&file, Document::empty().to_bytes()).unwrap();
    pod.await_state("the empty document", |state| state["revision"].is_string()).await;
    assert!(pod.ready().await);
}

#[tokio::test]
async fn a_document_that_is_refused_has_set_no_circuit_breaker() {
    let Setup { config, pod, _mounts, .. } = setup("none").await;
    // Nobody listens there.
    let served = document("http://127.0.0.1:1/v1", "one", "none");
    config.swap(&[("document.json", &served), ("trust.json", &trust())]);
    pod.await_state("the document", |state| state["revision"] == revision_of(&served)).await;
    let mut refused: serde_json::Value =
        serde_json::from_slice(&document("http://127.0.0.1:1/v1", "{{ oops", "none")).unwrap();
    *refused.pointer_mut("/providers/shop~1echo/circuitBreaker/failureThreshold").unwrap() = json!(1);
    let refused = serde_json::to_vec(&refused).unwrap();
    config.swap(&[("document.json", &refused), ("trust.json", &trust())]);
    let state = pod.await_state("the refusal", |state| state["rejected"]["revision"] == revision_of(&refused)).await;
    assert_eq!(state["rejected"]["problems"][0]["path"], "agents.support.prompts.system");
    assert_eq!(pod.ask("support", &json!({"query": "hi"})).send().await.unwrap().status(), 502);
    assert_eq!(pod.state().await["providers"][0]["circuit"], "closed", "one failure is not enough for what serves");
}
