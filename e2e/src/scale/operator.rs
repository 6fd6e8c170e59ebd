//! The operator: what its process takes, and what it counts.

use std::time::Duration;

use anyhow::Context as _;
use astromesh_e2e::{Operator, eventually, operator::NAMESPACE};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt as _};

const PATIENCE: Duration = Duration::from_secs(300);
/// The kernel's clock tick, in which it tells CPU time: the same on every platform (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// The operator's one pod, and its process on this machine.
#[derive(Clone)]
pub(crate) struct Subject {
    client: Client,
    pod: String,
    uid: String,
    pid: String,
}

/// What the process holds, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Everything resident.
    pub(crate) resident: f64,
    /// Of that, what is no file.
    pub(crate) anonymous: f64,
    /// The most that was resident at a time.
    pub(crate) peak: f64,
}

impl Subject {
    pub(crate) async fn find(client: &Client) -> anyhow::Result<Self> {
        let mut pods = Operator::find(client).await?.pods().await?;
        anyhow::ensure!(pods.len() == 1, "one pod of the operator is measured, and there are {}", pods.len());
        let pod = pods.pop().context("there is one")?;
        let uid = pod.uid().context("a pod has a uid")?;
        let pid = process_of(&uid)?;
        Ok(Self { client: client.clone(), pod: pod.name_any(), uid, pid })
    }

    /// Deletes the pod, and gives the one that follows as soon as it leads.
    pub(crate) async fn restart(&self) -> anyhow::Result<Self> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        drop(pods.delete(&self.pod, &DeleteParams::default()).await.context("the operator's pod was not deleted")?);
        eventually("another pod of the operator leads", PATIENCE, async || {
            let Ok(next) = Self::find(&self.client).await else { return Ok(None) };
            let leads =
                next.uid != self.uid && next.metric("astromesh_operator_leader", "").await.is_ok_and(|led| led > 0.0);
            Ok(leads.then_some(next))
        })
        .await
    }

    /// The sum of a metric's series that hold a label.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:8080/proxy/metrics", self.pod);
        let request = http::Request::get(path).body(Vec::new())?;
        let text = self.client.request_text(request).await.context("the operator's metrics are not readable")?;
        Ok(sum(&text, name, label))
    }

    /// CPU time so far, of all threads, those that have ended included.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).context("the operator has ended")?;
        let ticks = cpu_ticks(&text).context("no CPU times in /proc/<pid>/stat")?;
        Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the operator has ended")?;
        let mebibytes = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            let kibibytes: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
            Ok(kibibytes / 1024.0)
        };
        Ok(Memory { resident: mebibytes("VmRSS")?, anonymous: mebibytes("RssAnon")?, peak: mebibytes("VmHWM")? })
    }
}

/// The process `astromesh-operator` in the cgroup of a pod.
fn process_of(uid: &str) -> anyhow::Result<String> {
    // Where systemd names cgroups, it writes dashes as underscores.
    let names = [uid.to_owned(), uid.replace('-', "_")];
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        // The kernel keeps 15 letters of a name.
        if read("comm").trim() == "astromesh-opera" && names.iter().any(|name| read("cgroup").contains(name)) {
            let pid = path.file_name().and_then(|name| name.to_str()).context("a process has a number")?;
            return Ok(pid.to_owned());
        }
    }
    anyhow::bail!("no process of the operator's pod on this machine; run as root, on the machine of the cluster's node")
}

/// User and system time of `/proc/<pid>/stat`. The name in front may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// The sum of the series of a metric that hold a label.
pub(crate) fn sum(text: &str, name: &str, label: &str) -> f64 {
    let series = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
    });
    // Not `sum()`, which makes -0 of none.
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_by_name_and_label() {
        let text = "# HELP a_total x\na_total{kind=\"Agent\",result=\"x\"} 2\na_total{kind=\"Agent\"} 3\n\
                    a_total{kind=\"Provider\"} 5\na_total_seconds 7\nb 11\n";
        for (name, label, expected) in [("a_total", "kind=\"Agent\"", 5.0), ("a_total", "", 10.0), ("b", "", 11.0)] {
            assert!((sum(text, name, label) - expected).abs() < f64::EPSILON, "{name} {label}");
        }
        assert!(sum(text, "absent", "").is_sign_positive(), "none is 0, which a table does not show as -0");
    }

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 12 34 0 0 20 0 8 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(46.0));
    }
}
