//! The Lease after an uninstall, and who leads after the next install.

use std::time::Duration;

use anyhow::Context as _;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::operator::{LEASE, NAMESPACE};
use astromesh_e2e::{Operator, await_object, with_temp_ns};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, ResourceExt as _};

use crate::releases::{OPERATOR, operator, restoring, uninstall};

/// Well below the duration of a Lease that nobody gives back.
const FREE_WITHIN: Duration = Duration::from_secs(5);
const LEADS_WITHIN_SECONDS: i64 = 5;

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_uninstall_the_lease_is_free_and_the_next_install_leads_at_once() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let leases = || Api::<Lease>::namespaced(ns.cluster.client.clone(), NAMESPACE);
        let accounts: Api<ServiceAccount> = Api::namespaced(ns.cluster.client.clone(), NAMESPACE);
        let installed = Operator::find(&ns.cluster.client).await?;
        installed.leader(PATIENCE, |_holder| true).await?;
        let account = installed.user.rsplit(':').next().context("an account has a name")?;
        let uid = accounts.get(account).await?.metadata.uid;
        let lease = leases().get(LEASE).await?;
        let owner = lease.owner_references().first().context("the Lease goes with an account")?;
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), Some(&owner.uid)),
            ("ServiceAccount", account, uid.as_ref())
        );

        restoring(async || {
            uninstall(OPERATOR).await?;
            let free = |lease: Option<&Lease>| lease.and_then(holder).is_none();
            await_object(leases(), LEASE, "the Lease is gone or free", FREE_WITHIN, free).await?;
            operator(&["install"], &[]).await?;
            let installed = Operator::find(&ns.cluster.client).await?;
            let leader = installed.leader(PATIENCE, |_holder| true).await?;
            let lease = leases().get(LEASE).await?;
            let acquired =
                lease.spec.and_then(|spec| spec.acquire_time).context("a Lease that is held was acquired")?;
            let pod = Api::<Pod>::namespaced(ns.cluster.client.clone(), NAMESPACE).get(&leader).await?;
            let started = pod.status.and_then(|status| status.container_statuses);
            let started = started.into_iter().flatten().find_map(|container| container.state?.running?.started_at);
            let after = acquired.0.as_second() - started.context("the leader runs")?.0.as_second();
            println!("the new operator leads {after} s after its start");
            assert!(after <= LEADS_WITHIN_SECONDS, "it leads {after} s after its start");
            Ok(())
        })
        .await
    })
    .await
}
