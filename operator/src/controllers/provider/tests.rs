use agent_pod_config::{EndpointState, PodState, ProviderState};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::probing::Look;
use crate::reports::Report;
use crate::testing::fake_api::FakeApi;
use crate::testing::known::Known;
use crate::testing::{agent, provider};

const PATH: &str = "/apis/astromesh.io/v1alpha1/namespaces/shop/providers/openai/status";

struct Setup {
    api: FakeApi,
    known: Known,
    ctx: Arc<Context>,
    looks: mpsc::Receiver<Look>,
    provider: Provider,
}

impl Setup {
    async fn new() -> Self {
        let api = FakeApi::start().await;
        let mut known = Known::nothing();
        let (probes, looks) = Probes::new();
        let ctx = Context {
            stores: known.stores.clone(),
            statuses: Statuses::new(api.client.clone()),
            reports: Arc::default(),
            probes: Arc::new(probes),
            announcer: Arc::new(Announcer::new(api.client.clone(), "test")),
            backoffs: Backoffs::default(),
            metrics: Arc::default(),
        };
        known.provider(provider());
        let stored = serde_json::to_value(provider()).unwrap();
        api.cluster.lock().unwrap().objects.insert(PATH.to_owned(), stored);
        Self { api, known, ctx: Arc::new(ctx), looks, provider: provider() }
    }

    /// What the pods of `support` say of the server.
    fn reports(&self, endpoint: EndpointState, model: ProviderState) {
        let named = |name: &mut String, namespace: &mut String| {
            *name = "openai".into();
            *namespace = "shop".into();
        };
        let (mut endpoint, mut model) = (endpoint, model);
        named(&mut endpoint.name, &mut endpoint.namespace);
        named(&mut model.name, &mut model.namespace);
        let mut report =
            Report::of(&[PodState { endpoints: vec![endpoint], providers: vec![model], ..PodState::default() }]);
        for said in report.providers.values_mut() {
            said.generation = self.provider.metadata.generation;
        }
        let _news = self.ctx.reports.keep(&ObjectKey { namespace: "shop".into(), name: "support".into() }, report);
    }

    async fn reconcile(&self) -> Action {
        reconcile(Arc::new(self.provider.clone()), Arc::clone(&self.ctx)).await.unwrap()
    }

    /// The status as the API server has it.
    fn status(&self) -> Value {
        self.api.cluster.lock().unwrap().objects[PATH]["status"].clone()
    }

    fn says(&self, type_: &str) -> String {
        let status = self.status();
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == type_).unwrap();
        format!("{}/{}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
    }

    fn status_writes(&self) -> usize {
        self.api.take_writes().iter().filter(|part| *part == "openai").count()
    }
}

fn answers(models: &[&str]) -> EndpointState {
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    EndpointState { reachable: Some(true), models: Some(models), ..EndpointState::default() }
}

fn down() -> EndpointState {
    EndpointState {
        reachable: Some(false),
        error: Some("unavailable".into()),
        message: Some("connection refused".into()),
        ..EndpointState::default()
    }
}

fn model(circuit: &str, latency: u64) -> ProviderState {
    ProviderState {
        model: "gpt-4o-mini".into(),
        circuit: circuit.into(),
        latency_ms: Some(latency),
        ..ProviderState::default()
    }
}

#[tokio::test]
async fn a_provider_follows_what_pods_report_and_is_written_on_changes_only() {
    let mut setup = Setup::new().await;
    setup.known.agent(agent(json!({})));
    setup.reports(answers(&["gpt-4o-mini", "gpt-4o"]), model("closed", 210));
    setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "True/Succeeded");
    assert_eq!(setup.says("ModelsAvailable"), "True/Succeeded");
    let status = setup.status();
    assert_eq!(status["models"], json!(["gpt-4o", "gpt-4o-mini"]));
    assert_eq!((&status["latencyMilliseconds"], &status["agents"]), (&json!(200), &json!(1)));
    assert_eq!(setup.status_writes(), 1);
    for latency in [190, 230, 280] {
        setup.reports(answers(&["gpt-4o-mini", "gpt-4o"]), model("closed", latency));
        setup.reconcile().await;
    }
    assert_eq!(setup.status_writes(), 0, "a little latency is not worth a write");

    setup.reports(down(), model("open", 210));
    setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "False/EndpointUnreachable");
    assert_eq!(setup.says("CircuitClosed"), "False/CircuitOpen");
    assert_eq!(setup.says("Ready"), "False/EndpointUnreachable");
    for _pass in 0..10 {
        setup.reconcile().await;
    }
    assert_eq!(setup.status_writes(), 1);

    setup.reports(answers(&["gpt-4o-mini"]), model("closed", 210));
    setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "True/Succeeded");
    assert_eq!(setup.says("CircuitClosed"), "True/Succeeded");
    assert!(setup.looks.try_recv().is_err(), "with users, the operator does not look itself");
}

#[tokio::test]
async fn models_that_agents_name_are_wanted_too() {
    let mut setup = Setup::new().await;
    let roles = json!({"planner": {"candidates": [{"providerRef": {"name": "openai"}, "model": "o"}]}});
    setup.known.agent(agent(json!({"roles": roles})));
    setup.reports(answers(&["gpt-4o-mini"]), model("closed", 210));
    setup.reconcile().await;
    assert_eq!(setup.says("ModelsAvailable"), "False/ModelNotFound");
    assert_eq!(setup.says("Ready"), "True/Succeeded");
}

#[tokio::test]
async fn an_edit_makes_older_reports_say_nothing() {
    let mut setup = Setup::new().await;
    setup.known.agent(agent(json!({})));
    setup.reports(answers(&["gpt-4o-mini"]), model("closed", 210));
    setup.provider.metadata.generation = Some(2);
    setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "Unknown/PodsUnavailable");
    setup.reports(down(), model("closed", 210));
    setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "False/EndpointUnreachable");
}

#[tokio::test]
async fn without_users_the_operator_looks_every_minute() {
    let mut setup = Setup::new().await;
    let action = setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "Unknown/Unused");
    assert_eq!(action, Action::requeue(LOOK_EVERY));
    assert!(setup.looks.try_recv().is_ok());
    setup.reconcile().await;
    assert!(setup.looks.try_recv().is_err(), "not yet again");

    setup.known.agent(agent(json!({})));
    setup.reports(answers(&["gpt-4o-mini"]), model("closed", 210));
    setup.reconcile().await;
    assert_eq!(setup.says("EndpointReachable"), "True/Succeeded");
    setup.known.no_agent(agent(json!({})));
    setup.reconcile().await;
    assert!(setup.looks.try_recv().is_ok(), "without users once more, it looks at once");
    assert_eq!(setup.says("CircuitClosed"), "Unknown/Unused");
    assert_eq!(setup.status()["agents"], 0);
}

#[tokio::test]
async fn agents_that_may_not_use_it_are_no_users() {
    let mut setup = Setup::new().await;
    setup.provider.spec.auth = None;
    setup.provider.spec.allowed_namespaces =
        serde_json::from_value(json!({"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}})).unwrap();
    let reference = json!({"name": "openai", "namespace": "shop"});
    let mut borrower = agent(json!({"model": {"candidates": [{"providerRef": reference}]}}));
    borrower.metadata.namespace = Some("front".into());
    setup.known.agent(borrower);
    setup.known.namespace("front", ("team", "other"));
    setup.reconcile().await;
    assert_eq!(setup.status()["agents"], 0);
    setup.known.namespace("front", ("team", "shop"));
    setup.reconcile().await;
    assert_eq!(setup.status()["agents"], 1);
}
