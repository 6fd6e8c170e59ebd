//! Bad manifests of every kind: refused with words that say what would be right, or told by a condition; and the mended one
//! serves at once.

mod refused;
mod told;

use std::time::{Duration, Instant};

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::command::kubectl_with;
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::{provider, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{TempNs, objects, with_temp_ns};
use serde_json::{Value, json};

use crate::support::{echoing, scripted, summary, support};

/// How soon a mended manifest is ready, most times, and at the latest on a busy machine.
const MENDED_WITHIN: Duration = Duration::from_secs(3);
const MENDED_AT_LATEST: Duration = Duration::from_secs(10);

/// Words that are no regular expression, and no text of CEL or Go about types of theirs.
fn is_for_people(refusal: &str) -> bool {
    let ours = !refusal.contains("metadata.name: Invalid value");
    !ours
        || !["should match", "failed rule", "google.protobuf", "no such overload", "^[", "[a-z"]
            .iter()
            .any(|sign| refusal.contains(sign))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_seen_at_once_is_refused_with_the_field_and_what_would_be_right() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let mut wrong = Vec::new();
        let of_agents = refused::agents().into_iter().map(|case| (support("Be kind."), case));
        let of_providers = refused::providers().into_iter().map(|case| (provider("scripted", "http://a.b"), case));
        let mut count = 0;
        for (base, (pointer, value, words)) in of_agents.chain(of_providers) {
            count += 1;
            match objects::refusal(&ns.cluster.client, &ns.name, &with(base, pointer, value)).await {
                Ok(refusal) if refusal.contains(words) && is_for_people(&refusal) => {}
                Ok(refusal) => wrong.push(format!("{pointer}: expected `{words}` in `{refusal}`")),
                Err(error) => wrong.push(format!("{pointer} `{words}`: {error:#}")),
            }
        }
        for (text, words) in refused::texts() {
            count += 1;
            let refusal = kubectl_with(&["--namespace", &ns.name, "apply", "-f", "-"], text).await?.refusal()?;
            if !refusal.contains(words) {
                wrong.push(format!("`{text}`: expected `{words}` in `{refusal}`"));
            }
        }
        println!("{count} manifests refused");
        assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    })
    .await
}

/// What the references of the table lead to.
async fn neighbours(ns: &TempNs) -> anyhow::Result<()> {
    let closed = with(support("x"), "/metadata/name", json!("closed"));
    let closed = with(closed, "/spec/access", json!({"allowed": [{"serviceAccount": "somebody-else"}]}));
    let asks_back = with(support("x"), "/metadata/name", json!("asks-back"));
    let tool = json!([{"name": "ask", "type": "agent", "agent": {"agentRef": {"name": "support"}}}]);
    let asks_back = with(asks_back, "/spec/tools", tool);
    for agent in [closed, asks_back] {
        ns.apply(with(agent, "/spec/suspend", json!(true))).await?;
    }
    let prompts =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": {"system.md": "x"}});
    ns.apply(prompts).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_later_is_told_by_a_condition_and_the_mended_one_is_ready_at_once() -> anyhow::Result<()> {
    with_temp_ns(async |elsewhere| {
        let _llm = scripted(elsewhere, Script::EchoSystem).await?;
        with_temp_ns(async |ns| {
            let (_llm, caller) = echoing(ns, support("Good 0.")).await?;
            neighbours(ns).await?;
            let (mut wrong, mut times) = (Vec::new(), Vec::new());
            for (round, (pointer, value, says, words)) in told::agents(&elsewhere.name).into_iter().enumerate() {
                if let Err(error) = tells(ns, with(support("Bad."), pointer, value), says, words).await {
                    wrong.push(format!("{pointer} {says}: {error:#}"));
                }
                let good = format!("Good {}.", round + 1);
                times.push(mended(ns, support(&good)).await?);
                assert_eq!(caller.ask("What is your prompt?").await?.text()?, good);
            }
            for (pointer, value) in told::odd() {
                times.push(mended(ns, with(support("Odd."), pointer, value)).await?);
            }
            println!("mended: ready after {}", summary(times.clone()));
            assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), times.len(), wrong.join("\n"));
            times.sort();
            assert!(times[times.len() / 2] <= MENDED_WITHIN, "{}", summary(times));
            Ok(())
        })
        .await
    })
    .await
}

/// The bad one is taken, and its status says why.
async fn tells(ns: &TempNs, agent: Value, says: &str, words: &str) -> anyhow::Result<()> {
    ns.apply(agent).await?;
    let agent: Agent = ns.await_status("support", &[says, "Ready=False"], PATIENCE / 3).await?;
    let type_ = says.split('=').next().unwrap_or_default();
    let message = agent.condition(type_).map(|condition| condition.message.clone()).unwrap_or_default();
    anyhow::ensure!(message.contains(words), "expected `{words}` in `{message}`");
    Ok(())
}

/// How long it takes from the apply until the agent is ready.
async fn mended(ns: &TempNs, agent: Value) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    ns.apply(agent).await?;
    ns.await_status::<Agent>("support", &["Ready=True"], MENDED_AT_LATEST).await?;
    Ok(begin.elapsed())
}
