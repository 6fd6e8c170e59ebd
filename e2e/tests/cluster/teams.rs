//! Agents of different Deployments that call each other through their Services.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::{agent, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::with_temp_ns;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::scripted;

/// An agent that asks another one, and answers with what that one says.
fn asking(name: &str, pattern: &str, other: &str) -> Value {
    let tool = json!([{"name": other, "type": "agent", "agent": {"agentRef": {"name": other}}}]);
    let asking = with(agent(name, "scripted", "You lead."), "/spec/tools", tool);
    with(asking, "/spec/orchestration", json!({"pattern": pattern}))
}

fn worker() -> Value {
    agent("worker", "scripted", "I am the worker.")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_calls_a_worker_of_another_deployment() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let _llm = scripted(ns, Script::Delegating).await?;
        ns.apply(worker()).await?;
        ns.apply(asking("lead", "supervisor", "worker")).await?;
        ns.agent_ready("worker").await?;
        let lead = ns.agent_ready("lead").await?;
        let tools: Vec<_> = lead.status.unwrap_or_default().tools.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(tools, ["worker"]);

        let caller = ns.caller("lead").await?;
        let answer = caller.ask("Who are you?").await?;
        assert_eq!(answer.text()?, "I am the worker.", "{}", answer.body);
        let step = &answer.body["steps"][0];
        assert_eq!((&step["type"], &step["name"], &step["ok"]), (&json!("delegate"), &json!("worker"), &json!(true)));
        assert_eq!(answer.body["usage"]["tokensIn"], 9, "of three calls of the model: {}", answer.body);
        let events = caller.stream("Who are you?").await?.rest().await?;
        assert_eq!(events.last().map(|done| &done["answer"]), Some(&json!("I am the worker.")));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_the_one_it_names_says_so_and_heals_when_that_appears() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let _llm = scripted(ns, Script::Delegating).await?;
        ns.apply(asking("lead", "supervisor", "worker")).await?;
        let says = ["Accepted=True", "ResolvedRefs=False/AgentNotFound", "Ready=False/AgentNotFound"];
        let lead: Agent = ns.await_status("lead", &says, PATIENCE).await?;
        let message = &lead.condition("ResolvedRefs").unwrap().message;
        assert!(message.contains("there is no Agent `worker`"), "{message}");

        ns.apply(worker()).await?;
        ns.agent_ready("lead").await?;
        ns.apply(with(worker(), "/spec/access", json!({"allowed": [{"serviceAccount": "somebody"}]}))).await?;
        ns.await_status::<Agent>("lead", &["ResolvedRefs=False/RefNotPermitted"], PATIENCE).await?;
        ns.api::<Agent>().delete("worker", &DeleteParams::default()).await?;
        ns.await_status::<Agent>("lead", &["ResolvedRefs=False/AgentNotFound"], PATIENCE).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_is_refused_on_every_agent_of_it_and_heals_when_it_is_opened() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let _llm = scripted(ns, Script::Delegating).await?;
        for (name, other) in [("a", "b"), ("b", "c"), ("c", "a")] {
            ns.apply(asking(name, "react", other)).await?;
        }
        for name in ["a", "b", "c"] {
            ns.await_status::<Agent>(name, &["ResolvedRefs=False/ReferenceCycle"], PATIENCE).await?;
        }
        ns.apply(agent("c", "scripted", "I am the last.")).await?;
        for name in ["a", "b", "c"] {
            ns.agent_ready(name).await?;
        }
        assert_eq!(ns.caller("a").await?.ask("Who is last?").await?.text()?, "I am the last.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_hands_the_conversation_to_another_deployment() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let _llm = scripted(ns, Script::Delegating).await?;
        ns.apply(worker()).await?;
        ns.apply(asking("triage", "swarm", "worker")).await?;
        ns.agent_ready("worker").await?;
        ns.agent_ready("triage").await?;
        let answer = ns.caller("triage").await?.ask("Who are you?").await?;
        let text = answer.text()?;
        assert!(text.starts_with("I am the worker.") && text.contains("handed this conversation over"), "{text}");
        assert_eq!(answer.body["finish"], "handoff");
        Ok(())
    })
    .await
}
