//! What the tests of serving say to a pod, and about it.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

pub(crate) use crate::pod::{DEADLINE, Folder, Pod};

impl Pod {
    /// The value of a metric, named with its labels; 0 if nothing has been measured.
    pub(crate) async fn metric_value(&self, name: &str) -> f64 {
        let text = self.http.get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or_default()
    }

    /// The answer of a run that succeeds.
    pub(crate) async fn answer(&self, agent: &str) -> String {
        let answer: Value = self.ask(agent, &json!({"query": "hi"})).send().await.unwrap().json().await.unwrap();
        answer["answer"].as_str().unwrap_or_else(|| panic!("no answer: {answer}")).to_owned()
    }

    /// Waits until the agent answers as expected.
    pub(crate) async fn await_answer(&self, agent: &str, expected: &str) {
        let end = Instant::now() + DEADLINE;
        while self.answer(agent).await != expected {
            assert!(Instant::now() < end, "`{expected}` was never answered");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Folder {
    /// A provider at this URL, in `provider.yaml`.
    pub(crate) fn provider(&self, url: &str, auth: &str) {
        self.write(
            "provider.yaml",
            &format!(
                "apiVersion: astromesh.io/v1alpha1\nkind: Provider\nmetadata: {{name: echo}}\nspec:\n  type: openai_compat\n  endpoint: {url}\n  models: [{{name: m}}]\n{auth}"
            ),
        );
    }

    /// An agent with this prompt, in `<name>.yaml`.
    pub(crate) fn agent(&self, name: &str, prompt: &str, more: &str) {
        let prompt = serde_json::to_string(prompt).unwrap();
        self.write(
            &format!("{name}.yaml"),
            &format!(
                "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  model: {{candidates: [{{providerRef: {{name: echo}}}}]}}\n  prompts: {{system: {prompt}}}\n{more}"
            ),
        );
    }
}
