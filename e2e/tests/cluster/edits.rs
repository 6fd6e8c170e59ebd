//! Edits are served by the running pods.

use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::with;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Load, ScriptedLlm, eventually, with_temp_ns};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{echoing, summary, support};

const EDITS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn after_each_of_a_hundred_edits_the_next_call_sees_the_new_prompt() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let agent = |prompt: &str| with(support(prompt), "/spec/runtime/replicas", json!(2));
        let (_llm, caller) = echoing(ns, agent("Edit 0.")).await?;
        let pods = ns.pod_uids("support").await?;
        assert_eq!(pods.len(), 2);

        let load = Load::start(&caller, 10);
        let (mut until_ready, mut began) = (Vec::new(), Vec::new());
        for edit in 1..=EDITS {
            let prompt = format!("Edit {edit}.");
            ns.apply(agent(&prompt)).await?;
            let applied = Instant::now();
            ns.agent_ready("support").await?;
            until_ready.push(applied.elapsed());
            assert_eq!(caller.ask("What is your prompt?").await?.text()?, prompt);
            began.push((prompt, applied));
        }
        let report = load.stop().await?;
        report.expect_no_failure()?;
        assert_eq!(ns.pod_uids("support").await?, pods, "an edit of a prompt restarts nothing");

        let seen =
            |(prompt, applied): &(String, Instant)| Some(report.first_seen.get(prompt)?.duration_since(*applied));
        println!("calls under load: {}, none failed", report.calls);
        println!("from the edit to the end of `kubectl wait`: {}", summary(until_ready));
        println!("from the edit to the first answer under load: {}", summary(began.iter().filter_map(seen).collect()));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_provider_is_served_without_a_restart() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (first, caller) = echoing(ns, support("Be kind.")).await?;
        let pods = ns.pod_uids("support").await?;
        let second = ScriptedLlm::start(Script::EchoSystem).await?;
        let revision = |agent: &Agent| agent.status.as_ref().and_then(|status| status.revision.clone()?.loaded);
        let before = ns.api::<Agent>().get("support").await?;

        let load = Load::start(&caller, 10);
        ns.merge::<Provider>("scripted", json!({"spec": {"endpoint": second.endpoint()}})).await?;
        // The Agent has not changed, so its generation does not tell: its revision does.
        let loaded = |agent: &Agent| agent.says("Ready=True") && revision(agent) != revision(&before);
        eventually("the new provider is loaded", PATIENCE, async || {
            Ok(Some(ns.api::<Agent>().get("support").await?).filter(loaded))
        })
        .await?;
        let calls = first.calls().len();
        assert_eq!(caller.ask("Who answers?").await?.text()?, "Be kind.");
        assert_eq!(second.last_call().unwrap().content_of("user"), "Who answers?");
        load.stop().await?.expect_no_failure()?;
        assert!(first.calls().len() <= calls + 10, "runs under way end on the old server, new ones do not begin there");
        assert_eq!(ns.pod_uids("support").await?, pods);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_does_not_load_is_refused_with_its_line_while_the_last_good_one_serves() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Good.")).await?;
        let pods = ns.pod_uids("support").await?;
        let load = Load::start(&caller, 10);

        ns.apply(support("One.\nTwo.\n{% if customer %}Three.")).await?;
        let says = ["Loaded=False/LoadFailed", "Ready=False/LoadFailed", "Stalled=True/LoadFailed", "!Reconciling"];
        let agent: Agent = ns.await_status("support", &says, PATIENCE).await?;
        let message = &agent.condition("Loaded").unwrap().message;
        assert!(message.contains("agents.support.prompts.system") && message.contains("line 3"), "{message}");
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Good.");

        ns.apply(support("Better.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Better.");
        load.stop().await?.expect_no_failure()?;
        assert_eq!(ns.pod_uids("support").await?, pods);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_survives_an_edit() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let memory = json!({"conversational": {"backend": "in_memory"}});
        let agent = |prompt: &str| with(support(prompt), "/spec/memory", memory.clone());
        let (llm, caller) = echoing(ns, agent("Before.")).await?;
        caller.run(&json!({"query": "My name is Ada.", "sessionId": "s-1"})).await?.text()?;

        ns.apply(agent("After.")).await?;
        ns.agent_ready("support").await?;
        let answer = caller.run(&json!({"query": "Who am I?", "sessionId": "s-1"})).await?;
        assert_eq!(answer.text()?, "After.");
        let messages = llm.last_call().unwrap().messages;
        let told: Vec<_> =
            messages.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
        assert_eq!(told, ["After.", "My name is Ada.", "Before.", "Who am I?"]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_faster_than_they_load_end_with_the_last_one() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Edit 0.")).await?;
        let load = Load::start(&caller, 10);
        for edit in 1..=20 {
            ns.apply(support(&format!("Edit {edit}."))).await?;
        }
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Edit 20.");
        ns.await_status::<Agent>("support", &["!Reconciling", "!Stalled"], Duration::from_secs(10)).await?;
        load.stop().await?.expect_no_failure()
    })
    .await
}
