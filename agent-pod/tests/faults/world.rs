//! A pod with its manifests, and what tests ask of it.

use std::fmt::Debug;
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(crate) use crate::pod::{DEADLINE, Folder, Pod};

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "waited for {what} in vain");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A Provider at this URL; `spec` goes over what is usual here.
pub(crate) fn provider(name: &str, url: &str, spec: Value) -> Value {
    let usual = json!({"type": "openai_compat", "endpoint": url, "models": [{"name": "m"}]});
    manifest("Provider", name, merged(usual, spec))
}

/// An Agent with these candidates in order, each `provider` or `provider/model`; `spec` goes over what is usual here.
pub(crate) fn agent(name: &str, candidates: &[&str], spec: Value) -> Value {
    let candidate = |text: &&str| match text.split_once('/') {
        Some((name, model)) => json!({"providerRef": {"name": name}, "model": model}),
        None => json!({"providerRef": {"name": text}}),
    };
    let candidates: Vec<_> = candidates.iter().map(candidate).collect();
    let usual = json!({"model": {"candidates": candidates}, "prompts": {"system": "Be brief."}});
    manifest("Agent", name, merged(usual, spec))
}

fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// `over` goes over `base`, field by field.
fn merged(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                let below = base.remove(&key).unwrap_or_default();
                base.insert(key, merged(below, value));
            }
            Value::Object(base)
        }
        (_, over) => over,
    }
}

impl Folder {
    /// Writes a manifest into a file of its own.
    pub(crate) fn put(&self, manifest: &Value) {
        let (kind, name) = (manifest["kind"].as_str().unwrap(), manifest["metadata"]["name"].as_str().unwrap());
        self.write(&format!("{kind}-{name}.yaml"), &manifest.to_string());
    }
}

/// A pod and the folder that it follows.
pub(crate) struct World {
    pub(crate) pod: Pod,
    pub(crate) folder: Folder,
}

impl World {
    /// A pod that serves these manifests.
    pub(crate) async fn of(manifests: impl IntoIterator<Item = Value>) -> Self {
        Self::with(&[], manifests).await
    }

    /// The same with variables of its environment.
    pub(crate) async fn with(variables: &[(&str, &str)], manifests: impl IntoIterator<Item = Value>) -> Self {
        let folder = Folder::new();
        manifests.into_iter().for_each(|manifest| folder.put(&manifest));
        let pod = Pod::on_folder(&folder, variables).await;
        let state = pod.await_state("a revision", |state| state["revision"].is_string()).await;
        assert_eq!(state["rejected"], Value::Null, "{state:#}");
        Self { pod, folder }
    }

    /// A run whose caller reads its answer as one document.
    pub(crate) async fn run(&self, agent: &str) -> Answer {
        Answer::read(self.pod.ask(agent, &json!({"query": "hi"})).send().await.unwrap()).await
    }

    /// A run whose caller reads its events to the end.
    pub(crate) async fn events(&self, agent: &str) -> Vec<Value> {
        let response = self.pod.ask(agent, &json!({"query": "hi", "stream": true})).send().await.unwrap();
        assert_eq!(response.status(), 200);
        events_of(&response.text().await.unwrap())
    }

    /// What the pod says of a provider with one model.
    pub(crate) async fn provider(&self, name: &str) -> Value {
        self.model(name, "m").await
    }

    /// What the pod says of a model of a provider.
    pub(crate) async fn model(&self, name: &str, model: &str) -> Value {
        let state = self.pod.state().await;
        let mut providers = state["providers"].as_array().unwrap().iter();
        let found = providers.find(|provider| provider["name"] == name && provider["model"] == model);
        found.unwrap_or_else(|| panic!("no {name}/{model}: {state:#}")).clone()
    }

    /// Waits until the provider's circuit is in this state.
    pub(crate) async fn await_circuit(&self, name: &str, circuit: &str) {
        until(circuit, async || self.provider(name).await["circuit"] == circuit).await;
    }

    /// The sum of the samples of this name with all of these labels, each written as `name="value"`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let url = format!("{}/metrics", self.pod.admin);
        let text = self.pod.http.get(url).send().await.unwrap().text().await.unwrap();
        let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let matching = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
        matching.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// How many tries of this provider ended in this way.
    pub(crate) async fn tries(&self, provider: &str, outcome: &str) -> f64 {
        let labels = [format!("provider=\"{provider}\""), format!("outcome=\"{outcome}\"")];
        self.metric("astromesh_provider_attempts_total", &[&labels[0], &labels[1]]).await
    }

    /// The tokens of this kind that calls of this provider were booked with.
    pub(crate) async fn tokens(&self, provider: &str, kind: &str) -> f64 {
        let labels = [format!("gen_ai_provider_name=\"{provider}\""), format!("gen_ai_token_type=\"{kind}\"")];
        self.metric("astromesh_gen_ai_client_tokens_total", &[&labels[0], &labels[1]]).await
    }

    /// Waits until nothing is under way.
    pub(crate) async fn idle(&self) {
        self.pod.await_state("rest", |state| state["inFlight"] == 0 && state["queued"] == 0).await;
    }
}

/// The events of a stream, in order.
pub(crate) fn events_of(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// How often an event of this type came.
pub(crate) fn count_of(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

/// An answer as one document.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        Self { status: response.status().as_u16(), retry_after, body: response.json().await.unwrap() }
    }

    /// The text of an answer that went well.
    pub(crate) fn text(&self) -> &str {
        self.body["answer"].as_str().unwrap_or_else(|| panic!("no answer: {:#}", self.body))
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {:#}", self.body))
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap()
    }

    /// Every try as `provider outcome`, of an answer or of an error.
    pub(crate) fn attempts(&self) -> Vec<String> {
        let told = [&self.body["attempts"], &self.body["error"]["details"]["attempts"]];
        let attempts = told.into_iter().filter_map(Value::as_array).flatten();
        attempts.map(|try_of| format!("{} {}", plain(&try_of["provider"]), plain(&try_of["outcome"]))).collect()
    }

    /// Fails unless it is this error.
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{:#}", self.body);
    }
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap()
}
