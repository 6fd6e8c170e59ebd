//! Values that make no sense are refused before anything is installed.

use astromesh_e2e::{helm, settings};

use crate::releases::{CRDS, OPERATOR};

#[tokio::test]
async fn unknown_and_wrong_values_are_refused() -> anyhow::Result<()> {
    for (name, value) in [
        (OPERATOR, "replicaz=2"),
        (OPERATOR, "replicas=many"),
        (OPERATOR, "log.level=verbose"),
        (OPERATOR, "resources.limits.memory=5"),
        (CRDS, "kept=true"),
    ] {
        let chart = settings::chart(name)?.display().to_string();
        let refusal = helm(&["template", "any", &chart, "--set", value]).await?.refusal()?;
        let key = value.split('=').next().unwrap();
        assert!(refusal.contains(key), "{name} --set {value}: {refusal}");
        helm(&["template", "any", &chart]).await?.text()?;
    }
    Ok(())
}
