//! Statuses as users and tools read them.

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::{Kstatus, Reported as _};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::{await_object, with_temp_ns};

use crate::support::{echoing, support};

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_read_kstatus_see_the_truth() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let reads = async |expected: Kstatus| {
            let what = format!("kstatus is {expected:?}");
            let is = |agent: Option<&Agent>| agent.is_some_and(|agent| agent.kstatus() == expected);
            await_object(ns.api::<Agent>(), "support", &what, PATIENCE, is).await
        };
        let agent = reads(Kstatus::Current).await?.unwrap();
        assert!(agent.says("!Reconciling") && agent.says("!Stalled") && agent.says("!Degraded"));
        for type_ in ["Accepted", "ResolvedRefs", "Programmed", "Loaded", "Ready"] {
            let condition = agent.condition(type_).unwrap();
            assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", agent.metadata.generation));
        }
        ns.apply(support("{{ broken")).await?;
        reads(Kstatus::Failed).await?;
        ns.apply(support("Mended.")).await?;
        reads(Kstatus::Current).await?;

        let provider: Provider = ns.await_status("scripted", &["Ready=True", "Accepted=True"], PATIENCE).await?;
        assert_eq!((provider.kstatus(), provider.status.unwrap().agents), (Kstatus::Current, 1));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_shows_what_matters() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let table = async |args: &[&str]| {
            let text = ns.kubectl(args).await?.text()?;
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            anyhow::Ok(text.lines().map(words).collect::<Vec<_>>())
        };
        for name in ["agents", "agent", "ag"] {
            let rows = table(&["get", name]).await?;
            assert_eq!(rows[0], ["NAME", "READY", "STATUS", "MODEL", "PATTERN", "REPLICAS", "AGE"]);
            assert_eq!(rows[1][..6], ["support", "True", "Ready", "scripted/scripted", "react", "1/1"]);
        }
        let wide = table(&["get", "agents", "-o", "wide"]).await?;
        assert_eq!(wide[0], ["NAME", "READY", "STATUS", "REASON", "MODEL", "PATTERN", "REPLICAS", "REVISION", "AGE"]);
        assert_eq!(wide[1][3], "Succeeded");
        let agent = ns.api::<Agent>().get("support").await?;
        let revision = agent.status.unwrap().revision.unwrap().loaded.unwrap();
        assert!(wide[1][7].len() == 12 && revision.starts_with(&wide[1][7]), "{wide:?}");

        let rows = table(&["get", "providers"]).await?;
        assert_eq!(rows[0], ["NAME", "TYPE", "ENDPOINT", "READY", "REASON", "AGENTS", "AGE"]);
        assert_eq!(
            (rows[1][0].as_str(), &rows[1][3..6]),
            ("scripted", &["True", "Succeeded", "1"].map(str::to_owned)[..])
        );
        let both = ns.kubectl(&["get", "astromesh", "-o", "name"]).await?.text()?;
        assert_eq!(both.lines().collect::<Vec<_>>(), ["agent.astromesh.io/support", "provider.astromesh.io/scripted"]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_tells_of_a_flip() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        ns.apply(support("{{ broken")).await?;
        ns.await_status::<Agent>("support", &["Loaded=False/LoadFailed"], PATIENCE).await?;
        let of_the_agent = "--field-selector=involvedObject.kind=Agent,involvedObject.name=support";
        astromesh_e2e::eventually("an event tells that the load failed", PATIENCE, async || {
            let events =
                ns.kubectl(&["get", "events", of_the_agent, "-o", "jsonpath={.items[*].reason}"]).await?.text()?;
            Ok(events.contains("LoadFailed").then_some(()))
        })
        .await
    })
    .await
}
