use astromesh_crds::v1alpha1::AllowedFrom;
use serde_json::{Value, json};

use super::*;
use crate::testing::fake_api::FakeApi;
use crate::testing::known::{Known, namespace};
use crate::testing::{agent, provider, trust_bundle};

const STATUS: &str = "/apis/astromesh.io/v1alpha1/namespaces/shop/agents/support/status";
const CONFIG_MAP: &str = "/api/v1/namespaces/shop/configmaps/support-agent";
const CHILDREN: [&str; 4] = [
    CONFIG_MAP,
    "/api/v1/namespaces/shop/serviceaccounts/support-agent",
    "/api/v1/namespaces/shop/services/support-agent",
    "/apis/apps/v1/namespaces/shop/deployments/support-agent",
];

/// An operator with an API server in memory. Nothing watches: what the stores show is what a test says.
struct Setup {
    api: FakeApi,
    known: Known,
    trust: watch::Sender<TrustState>,
    ctx: Arc<Context>,
}

impl Setup {
    async fn new() -> Self {
        let api = FakeApi::start().await;
        let known = Known::nothing();
        let (trust, _) = watch::channel(TrustState::Known(Arc::new(trust_bundle("a"))));
        let ctx = context(&api, &known, &trust, "image:1");
        Self { api, known, trust, ctx }
    }

    /// A new process, which remembers nothing.
    fn restart(&mut self, image: &str) {
        self.ctx = context(&self.api, &self.known, &self.trust, image);
    }

    async fn reconcile(&self, agent: &Agent) -> Action {
        let mut agent = agent.clone();
        let stored = {
            let mut cluster = self.api.cluster.lock().unwrap();
            let bare = || serde_json::to_value(&agent).unwrap();
            cluster.objects.entry(STATUS.to_owned()).or_insert_with(bare)["status"].clone()
        };
        agent.status = serde_json::from_value(stored).unwrap();
        reconcile(Arc::new(agent), Arc::clone(&self.ctx)).await.unwrap()
    }

    fn remove(&self, paths: &[&str]) {
        paths.iter().for_each(|path| drop(self.api.cluster.lock().unwrap().objects.remove(*path)));
    }

    fn object(&self, path: &str) -> Value {
        self.api.cluster.lock().unwrap().objects.get(path).cloned().unwrap_or_default()
    }

    fn document(&self) -> Value {
        serde_json::from_str(self.object(CONFIG_MAP)["data"]["document.json"].as_str().unwrap()).unwrap()
    }

    fn says(&self, type_: &str) -> String {
        let status = self.object(STATUS);
        let conditions = status["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        found.map_or_else(
            || "absent".to_owned(),
            |found| format!("{}/{}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap()),
        )
    }
}

fn context(api: &FakeApi, known: &Known, trust: &watch::Sender<TrustState>, image: &str) -> Arc<Context> {
    Arc::new(Context {
        default_image: image.into(),
        stores: known.stores.clone(),
        trust: trust.subscribe(),
        applier: Applier::new(api.client.clone()),
        statuses: Statuses::new(api.client.clone()),
        texts: Texts::new(api.client.clone()),
        last_goods: LastGoods::new(api.client.clone()),
        attention: None,
        pods: Arc::default(),
        looks: Trigger::default(),
        reports: Arc::default(),
        queues: Queues::default(),
        announcer: Arc::new(Announcer::new(api.client.clone(), "test")),
        backoffs: Backoffs::default(),
        metrics: Arc::default(),
    })
}

fn broken() -> Agent {
    let mut broken = agent(json!({"orchestration": {"timeout": "soon"}, "runtime": {"replicas": 9}}));
    broken.metadata.generation = Some(8);
    broken
}

fn shared(from: AllowedFrom) -> Provider {
    let mut shared = provider();
    (shared.metadata.name, shared.metadata.namespace) = (Some("shared".into()), Some("models".into()));
    shared.spec.auth = None;
    shared.spec.allowed_namespaces.from = from;
    shared
}

fn borrower() -> Agent {
    let shared = json!({"providerRef": {"name": "shared", "namespace": "models"}});
    agent(json!({"model": {"candidates": [{"providerRef": {"name": "openai"}}, shared]}}))
}

#[tokio::test]
async fn while_a_spec_is_refused_what_served_before_is_healed() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.reconcile(&agent(json!({}))).await;
    let before: Vec<_> = CHILDREN.iter().map(|path| setup.object(path)["spec"].clone()).collect();
    let document = setup.document();
    for restart in [false, true] {
        if restart {
            setup.restart("image:1");
        }
        setup.reconcile(&broken()).await;
        assert_eq!(setup.says("Accepted"), "False/Invalid");
        setup.remove(&CHILDREN);
        setup.reconcile(&broken()).await;
        let after: Vec<_> = CHILDREN.iter().map(|path| setup.object(path)["spec"].clone()).collect();
        assert_eq!(after, before, "and nothing of the refused spec is applied");
        assert_eq!(setup.document(), document);
    }
}

#[tokio::test]
async fn new_token_keys_and_a_new_image_reach_an_agent_whose_spec_is_refused() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.reconcile(&agent(json!({}))).await;
    setup.trust.send(TrustState::Known(Arc::new(trust_bundle("b")))).unwrap();
    setup.restart("image:2");
    setup.reconcile(&broken()).await;
    let trust = setup.object(CONFIG_MAP)["data"]["trust.json"].clone();
    assert_eq!(trust.as_str().unwrap(), trust_bundle("b").text);
    let container = &setup.object(CHILDREN[3])["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "image:2");
}

#[tokio::test]
async fn when_consent_ends_access_ends() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.known.provider(shared(AllowedFrom::All));
    setup.reconcile(&borrower()).await;
    assert_eq!(setup.says("ResolvedRefs"), "True/Succeeded");
    let providers =
        |setup: &Setup| setup.document()["providers"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(providers(&setup), ["models/shared", "shop/openai"]);
    setup.known.provider(shared(AllowedFrom::Same));
    setup.reconcile(&borrower()).await;
    assert_eq!(setup.says("ResolvedRefs"), "False/RefNotPermitted");
    assert_eq!(providers(&setup), ["shop/openai"]);
    // A provider that is not found is no word of its owner: what served goes on.
    setup.known.no_provider(provider());
    setup.reconcile(&borrower()).await;
    assert_eq!(setup.says("ResolvedRefs"), "False/ProviderNotFound");
    assert_eq!(providers(&setup), ["shop/openai"]);
    setup.known.provider(provider());
    setup.known.provider(shared(AllowedFrom::All));
    setup.reconcile(&borrower()).await;
    assert_eq!(providers(&setup), ["models/shared", "shop/openai"], "and it comes back with the consent");
}

#[tokio::test]
async fn a_refused_agent_is_stopped_when_it_is_suspended() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.reconcile(&agent(json!({}))).await;
    let mut stopped = broken();
    stopped.spec.suspend = true;
    setup.reconcile(&stopped).await;
    assert_eq!(setup.object(CHILDREN[3])["spec"]["replicas"], 0);
}

#[tokio::test]
async fn an_agent_that_was_never_applied_has_no_children_while_it_is_refused() {
    let setup = Setup::new().await;
    setup.reconcile(&broken()).await;
    assert_eq!(setup.object(CONFIG_MAP), Value::Null);
    assert_eq!(setup.says("Programmed"), "Unknown/Invalid");
}

#[tokio::test]
async fn keys_that_may_not_be_read_are_told_and_hold_the_generation_back() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.trust.send(TrustState::Denied("the operator may not read the keys".into())).unwrap();
    setup.reconcile(&agent(json!({}))).await;
    assert_eq!(setup.says("Programmed"), "False/Denied");
    assert_eq!(setup.object(STATUS)["status"].get("observedGeneration"), None);
    setup.trust.send(TrustState::Known(Arc::new(trust_bundle("a")))).unwrap();
    setup.reconcile(&agent(json!({}))).await;
    assert_eq!(setup.says("Programmed"), "True/Succeeded");
    assert_eq!(setup.object(STATUS)["status"]["observedGeneration"], 7);
}

#[tokio::test]
async fn a_child_that_is_refused_stalls_the_agent() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.api.cluster.lock().unwrap().refused.insert("services", (422, "spec.x: Invalid value"));
    setup.reconcile(&agent(json!({}))).await;
    assert_eq!(setup.says("Programmed"), "False/ApplyFailed");
    assert_eq!(setup.says("Stalled"), "True/ApplyFailed");
    assert_eq!(setup.says("Reconciling"), "absent");
    assert_eq!(setup.object(STATUS)["status"]["observedGeneration"], 7);
    assert_ne!(setup.document(), Value::Null, "one that fails does not stop the others");
}

#[tokio::test]
async fn nothing_is_written_into_a_namespace_that_is_being_deleted() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    let mut ending = namespace("shop", "team", "a");
    ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    setup.known.put_namespace(ending);
    setup.reconcile(&agent(json!({}))).await;
    assert_eq!(setup.api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn a_text_that_may_not_be_read_is_told_and_what_served_goes_on() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.reconcile(&agent(json!({}))).await;
    let document = setup.document();
    setup.known.config_map("prompts", 1);
    setup.api.cluster.lock().unwrap().unreadable.insert("/api/v1/namespaces/shop/configmaps/prompts");
    let mut named = agent(json!({"prompts": {"systemFrom": {"configMapKeyRef": {"name": "prompts", "key": "a"}}}}));
    named.metadata.generation = Some(8);
    let action = setup.reconcile(&named).await;
    assert_eq!(action, Action::requeue(DENIED_AGAIN));
    assert_eq!(setup.says("Ready"), "False/Denied");
    assert_eq!(setup.says("Programmed"), "False/Denied");
    assert_eq!(setup.object(STATUS)["status"]["observedGeneration"], 7, "nothing has been done for the new one");
    setup.remove(&CHILDREN);
    setup.reconcile(&named).await;
    assert_eq!(setup.document(), document);
}

#[tokio::test]
async fn what_was_applied_last_and_may_not_be_read_is_told() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    setup.reconcile(&agent(json!({}))).await;
    setup.restart("image:1");
    setup.api.cluster.lock().unwrap().unreadable.insert(CONFIG_MAP);
    let action = setup.reconcile(&broken()).await;
    assert_eq!(action, Action::requeue(DENIED_AGAIN));
    assert_eq!((setup.says("Accepted"), setup.says("Programmed")), ("False/Invalid".into(), "False/Denied".into()));
}

#[tokio::test]
async fn consent_that_cannot_be_seen_is_not_taken_for_a_no() {
    let mut setup = Setup::new().await;
    setup.known.provider(provider());
    let mut by_label = shared(AllowedFrom::Selector);
    by_label.spec.allowed_namespaces.selector = serde_json::from_value(json!({"matchLabels": {"team": "a"}})).unwrap();
    setup.known.provider(by_label);
    setup.known.put_namespace(namespace("shop", "team", "a"));
    setup.reconcile(&borrower()).await;
    assert_eq!(setup.says("ResolvedRefs"), "True/Succeeded");
    let document = setup.document();
    setup.known.no_namespaces("not allowed to");
    setup.restart("image:1");
    setup.reconcile(&borrower()).await;
    assert_eq!(setup.says("ResolvedRefs"), "Unknown/Denied");
    assert_eq!(setup.document(), document, "the provider goes on being used");
    setup.known.put_namespace(namespace("shop", "team", "b"));
    setup.reconcile(&borrower()).await;
    assert_eq!(setup.says("ResolvedRefs"), "False/RefNotPermitted");
    assert_ne!(setup.document(), document, "a clear no is one");
}
