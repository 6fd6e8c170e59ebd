//! An agent goes, and so do its objects.

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::{await_object, eventually, with_temp_ns};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::children::{self, KINDS, NAME};
use crate::support::{echoing, support};

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_agent_removes_every_child() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        // The server lives on: a Provider whose server is down is not ready.
        let (_llm, _caller) = echoing(ns, support("Be kind.")).await?;
        ns.kubectl(&["delete", "agent", "support", "--timeout=30s"]).await?.text()?;
        for kind in KINDS {
            let what = format!("the {} is gone", kind.1);
            await_object(children::api(ns, kind)?, NAME, &what, PATIENCE, |child| child.is_none()).await?;
        }
        eventually("the pods are gone", PATIENCE, async || {
            let pods = ns.api::<Pod>().list(&ListParams::default()).await?.items;
            Ok(pods.is_empty().then_some(()))
        })
        .await?;
        ns.await_status::<Provider>("scripted", &["Ready=True"], PATIENCE).await?;
        let users =
            |provider: Option<&Provider>| provider.and_then(|p| p.status.as_ref()).is_some_and(|s| s.agents == 0);
        await_object(ns.api::<Provider>(), "scripted", "nobody uses the provider", PATIENCE, users).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_agent_leaves_its_children_if_it_is_told_to() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let before = children::all(ns).await?;
        ns.kubectl(&["delete", "agent", "support", "--cascade=orphan", "--timeout=30s"]).await?.text()?;
        await_object(ns.api::<Agent>(), "support", "the agent is gone", PATIENCE, |agent| agent.is_none()).await?;
        for (before, after) in before.iter().zip(children::all(ns).await?) {
            assert_eq!(before.uid(), after.uid());
            assert!(after.owner_references().is_empty(), "{:?} belongs to nobody", after.types);
        }
        assert_eq!(caller.ask("Are you there?").await?.text()?, "Be kind.");

        // A new agent of that name takes them on.
        let pods = ns.api::<Pod>().list(&ListParams::default()).await?.items;
        let adopter = ns.apply(support("Be kinder.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Be kinder.");
        for (before, after) in before.iter().zip(children::all(ns).await?) {
            assert_eq!(before.uid(), after.uid());
            assert_eq!(Some(after.owner_references()[0].uid.clone()), adopter.uid());
        }
        assert_eq!(ns.pod_uids("support").await?, pods.iter().filter_map(kube::ResourceExt::uid).collect::<Vec<_>>());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_deleted_and_applied_again_at_once_becomes_ready() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Again 0.")).await?;
        for time in 1..=3 {
            let prompt = format!("Again {time}.");
            ns.kubectl(&["delete", "agent", "support", "--wait=false"]).await?.text()?;
            let agent = ns.apply(support(&prompt)).await?;
            // Objects of the former agent are still going; none of them may be taken on, and all must be there again.
            ns.agent_ready("support").await?;
            eventually("every child belongs to the new agent and none is going", PATIENCE, async || {
                let mut new = 0;
                for kind in KINDS {
                    let child = children::api(ns, kind)?.get_opt(NAME).await?;
                    let is_new = child.is_some_and(|child| {
                        child.metadata.deletion_timestamp.is_none()
                            && child.owner_references().first().map(|owner| &owner.uid) == agent.uid().as_ref()
                    });
                    new += usize::from(is_new);
                }
                Ok((new == KINDS.len()).then_some(()))
            })
            .await?;
            ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
            assert_eq!(caller.ask("What is your prompt?").await?.text()?, prompt);
        }
        Ok(())
    })
    .await
}
