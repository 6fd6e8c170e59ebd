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
        echoing(ns, support("Be kind.")).await?;
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
        Ok(())
    })
    .await
}
