//! The operator is killed, or away.

use std::time::Duration;

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::manifests::agent;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Operator, with_temp_ns};
use tokio::time::Instant;

use crate::support::{echoing, scripted, support};

/// The bound of the issue.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);
/// How long a Lease holds without a renewal.
const LEASE_DURATION: Duration = Duration::from_secs(10);
const AGENTS: [&str; 3] = ["first", "second", "third"];

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_in_the_middle_of_its_work_ends_it_after_the_restart() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        let _llm = scripted(ns, Script::EchoSystem).await?;
        for name in AGENTS {
            ns.apply(agent(name, "scripted", "Edit 0.")).await?;
            ns.agent_ready(name).await?;
        }
        let leader = operator.leader(PATIENCE, |_holder| true).await?;
        for edit in 1..=10 {
            for name in AGENTS {
                ns.apply(agent(name, "scripted", &format!("Edit {edit}."))).await?;
            }
            if edit == 5 {
                ns.apply(agent("newcomer", "scripted", "Edit 10.")).await?;
                operator.kill(&leader).await?;
            }
        }
        for name in AGENTS.into_iter().chain(["newcomer"]) {
            ns.agent_ready(name).await?;
            assert_eq!(ns.caller(name).await?.ask("What is your prompt?").await?.text()?, "Edit 10.");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_within_fifteen_seconds() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        operator
            .restoring(async || {
                operator.scale(2).await?;
                let former = operator.leader(PATIENCE, |_holder| true).await?;
                operator.kill(&former).await?;
                let killed = Instant::now();
                operator.leader(TAKEN_OVER_WITHIN, |holder| holder != former).await?;
                println!("another replica leads after {:?}", killed.elapsed());
                ns.apply(support("After.")).await?;
                ns.agent_ready("support").await?;
                println!("and an edit is served after {:?}", killed.elapsed());
                assert_eq!(caller.ask("What is your prompt?").await?.text()?, "After.");
                Ok(())
            })
            .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_leader_that_died_silently_is_respected_and_then_taken_over() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        operator
            .restoring(async || {
                operator.scale(0).await?;
                operator.hand_lease_to("a-replica-that-is-dead").await?;
                let handed = Instant::now();
                ns.apply(support("After.")).await?;
                operator.scale(1).await?;
                operator.leader(TAKEN_OVER_WITHIN, |holder| holder != "a-replica-that-is-dead").await?;
                println!("taken over after {:?}", handed.elapsed());
                assert!(handed.elapsed() >= LEASE_DURATION, "until then the other one may have been alive");
                ns.agent_ready("support").await?;
                assert_eq!(caller.ask("What is your prompt?").await?.text()?, "After.");
                Ok(())
            })
            .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_answer_while_the_operator_is_away() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        let pods = ns.pod_uids("support").await?;
        operator
            .restoring(async || {
                operator.scale(0).await?;
                ns.apply(support("After.")).await?;
                for _call in 0..20 {
                    assert_eq!(caller.ask("Are you there?").await?.text()?, "Before.");
                }
                Ok(())
            })
            .await?;
        // What was asked for in the meantime is done on its return.
        ns.await_status::<Agent>("support", &["Ready=True"], PATIENCE).await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "After.");
        assert_eq!(ns.pod_uids("support").await?, pods);
        Ok(())
    })
    .await
}
