//! The story of one size.

use std::time::Duration;

use anyhow::Context as _;
use astromesh_e2e::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::operator::Subject;
use crate::report::Size;
use crate::statistics::percentile;
use crate::view::{Key, Known, View};
use crate::{requests, say};

/// For thousands of pods on a machine of two cores.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// A single edit that takes longer is a fault, not a figure.
const EDIT_PATIENCE: Duration = Duration::from_secs(60);
/// Of the operator, after a restart: nothing is reconciled any more.
const SETTLED: Duration = Duration::from_secs(10);

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Single edits.
    pub(crate) edits: u32,
    /// So long nothing has changed before anything at rest is measured.
    pub(crate) quiet: Duration,
    /// So long requests and CPU at rest are counted.
    pub(crate) window: Duration,
    /// Whether the operator may be restarted.
    pub(crate) restart: bool,
}

/// Measures one size. What it makes is deleted by the next one, and by `e2e/scale` at the end.
pub(crate) async fn size(fleet: &Fleet, agents: u32, settings: &Settings) -> anyhow::Result<Size> {
    say(&format!("==> {agents} agents"));
    fleet.clean().await?;
    let mut tasks = JoinSet::new();
    let view = View::start(&fleet.client, &mut tasks);
    let run = Run { fleet, view, agents, settings: *settings };
    tokio::select! {
        measured = Box::pin(run.steps()) => measured,
        Some(ended) = tasks.join_next() => { ended.context("a watch failed")??; anyhow::bail!("a watch has ended") }
    }
}

struct Run<'a> {
    fleet: &'a Fleet,
    view: View,
    agents: u32,
    settings: Settings,
}

impl Run<'_> {
    async fn steps(&self) -> anyhow::Result<Size> {
        let Self { fleet, view, agents, settings } = self;
        let mut size = Size::new(*agents, fleet.others().await?);
        let mut subject = Subject::find(&fleet.client).await?;
        if settings.restart {
            say("    a fresh process of the operator");
            subject = subject.restart().await?;
        }
        fleet.prepare(*agents).await?;
        requests::start(&fleet.client).await?;
        size.figure("memory before, resident", "MiB", subject.memory()?.resident);

        self.creation(&mut size).await?;
        self.rest(&subject, &mut size, "").await?;
        self.edits(&mut size).await?;
        self.provider_edits(&mut size).await?;

        say("    deleting all, and making them again");
        let started = Instant::now();
        fleet.delete_agents().await?;
        view.until("all documents are gone", PATIENCE, |known| known.agents() + known.documents() == 0).await?;
        size.figure("all deleted, children and pods", "s", started.elapsed().as_secs_f64());
        fleet.create_agents(*agents).await?;
        self.all_ready().await?;
        self.rest(&subject, &mut size, ", made again").await?;
        size.figure("memory at its highest", "MiB", subject.memory()?.peak);

        if settings.restart {
            self.restart(&subject, &mut size).await?;
        }
        Ok(size)
    }

    async fn creation(&self, size: &mut Size) -> anyhow::Result<()> {
        say("    creating");
        let started = Instant::now();
        let all = usize::try_from(self.agents)?;
        let created = async {
            self.fleet.create_agents(self.agents).await?;
            anyhow::Ok(started.elapsed())
        };
        let programmed = self.view.until("all agents are Programmed", PATIENCE, |known| known.programmed() == all);
        let (created, programmed, ready) = tokio::try_join!(created, programmed, self.all_ready())?;
        size.figure("all created", "s", created.as_secs_f64());
        size.figure("all Programmed", "s", (programmed - started).as_secs_f64());
        size.figure("all Ready", "s", (ready - started).as_secs_f64());
        Ok(())
    }

    async fn all_ready(&self) -> anyhow::Result<Instant> {
        let all = usize::try_from(self.agents)?;
        self.view.until("all agents are Ready", PATIENCE, |known| known.ready() == all).await
    }

    /// What the operator takes while nothing changes.
    async fn rest(&self, subject: &Subject, size: &mut Size, when: &str) -> anyhow::Result<()> {
        self.view.quiet(self.settings.quiet, PATIENCE).await?;
        say(&format!("    at rest for {} s", self.settings.window.as_secs()));
        let count = async || {
            let asked = subject.metric("astromesh_operator_state_polls_total", "").await?;
            let reconciled = subject.metric("astromesh_operator_reconcile_total", "").await?;
            anyhow::Ok([requests::count(&self.fleet.client).await?, reconciled, asked])
        };
        let changes = self.view.with(Known::changes);
        let before = count().await?;
        // To write its metrics costs the operator something: CPU is read between the two.
        let (cpu, begun) = (subject.cpu()?, Instant::now());
        tokio::time::sleep(self.settings.window).await;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = (subject.cpu()? - cpu).as_secs_f64() / seconds;
        let memory = subject.memory()?;
        let after = count().await?;
        let [requests, reconciled, asked] = [0, 1, 2].map(|index| (after[index] - before[index]) / seconds);
        size.goal(format!("API requests at rest{when}"), "/s", requests, 1.0);
        size.goal(format!("CPU at rest{when}"), "m", cpu * 1_000.0, 50.0);
        size.figure(format!("reconciliations at rest{when}"), "/s", reconciled);
        size.figure(format!("pods asked at rest{when}"), "/s", asked);
        size.goal(format!("memory at rest{when}, resident"), "MiB", memory.resident, 128.0);
        size.figure(format!("memory at rest{when}, anonymous"), "MiB", memory.anonymous);
        let changed = self.view.with(Known::changes) - changes;
        if changed > 0 {
            say(&format!("    not quite: {changed} changes of agents or documents meanwhile"));
        }
        Ok(())
    }

    /// One edit after the other, each with all the others around.
    async fn edits(&self, size: &mut Size) -> anyhow::Result<()> {
        say(&format!("    {} edits", self.settings.edits));
        let users = Fleet::users(self.agents);
        let mut seconds = Vec::new();
        // The step goes round the namespaces.
        for (edit, key) in (0..self.settings.edits).zip(users.iter().step_by(7).cycle()) {
            let started = Instant::now();
            let generation = self.fleet.edit_agent(key, &format!("edit {edit}")).await?;
            let at = |known: &Known| known.is_ready_at(key, generation);
            let ready = self.view.until("an edit is Ready", EDIT_PATIENCE, at).await?;
            seconds.push((ready - started).as_secs_f64());
        }
        size.figure("edit of an agent → Ready, p50", "s", percentile(&seconds, 50));
        size.figure("edit of an agent → Ready, p99", "s", percentile(&seconds, 99));
        Ok(())
    }

    /// One edit after the other: what plays the nodes takes much of the machine now and then.
    async fn provider_edits(&self, size: &mut Size) -> anyhow::Result<()> {
        let (mut documents, mut ready) = (Vec::new(), Vec::new());
        for seconds in [121, 122, 123] {
            let (written, served) = self.provider_edit(seconds).await?;
            documents.push(written);
            ready.push(served);
        }
        size.goal("edit of a Provider → documents, p50", "s", percentile(&documents, 50), 15.0);
        size.figure("edit of a Provider → documents, slowest", "s", percentile(&documents, 100));
        size.figure("edit of a Provider → Ready, p50", "s", percentile(&ready, 50));
        Ok(())
    }

    /// The seconds until all documents are new, and until all agents serve them.
    async fn provider_edit(&self, total_seconds: u32) -> anyhow::Result<(f64, f64)> {
        let users = Fleet::users(self.agents);
        say(&format!("    an edit of a Provider with {} agents", users.len()));
        let document = |known: &Known, key: &Key| Some((key.clone(), known.document(key)?.clone()));
        let former: Vec<_> =
            self.view.with(|known| users.iter().filter_map(|key| document(known, key)).collect::<Vec<_>>());
        anyhow::ensure!(former.len() == users.len(), "every agent has a document");
        let started = Instant::now();
        self.fleet.edit_provider(total_seconds).await?;
        let is_new =
            |known: &Known, (key, former): &(Key, String)| known.document(key).is_some_and(|now| now != former);
        let serves = |known: &Known, one: &(Key, String)| is_new(known, one) && known.serves_newest(&one.0);
        let documents =
            self.view.until("all documents are new", PATIENCE, |known| former.iter().all(|one| is_new(known, one)));
        let ready = self
            .view
            .until("all serve the new document", PATIENCE, |known| former.iter().all(|one| serves(known, one)));
        let (documents, ready) = tokio::try_join!(documents, ready)?;
        let (documents, ready) = ((documents - started).as_secs_f64(), (ready - started).as_secs_f64());
        say(&format!("    all documents after {documents:.1} s, all Ready after {ready:.1} s"));
        Ok((documents, ready))
    }

    /// A pod of the operator goes, and the next one finds everything as it was left.
    async fn restart(&self, subject: &Subject, size: &mut Size) -> anyhow::Result<()> {
        say("    a restart of the operator");
        self.view.quiet(self.settings.quiet, PATIENCE).await?;
        let all = u32::try_from(self.view.with(Known::agents) + self.fleet.others().await?)?;
        let requests = requests::count(&self.fleet.client).await?;
        let started = Instant::now();
        let next = subject.restart().await?;
        size.figure("restart → leads", "s", started.elapsed().as_secs_f64());
        let agents = "kind=\"Agent\"";
        let reconciled = async || next.metric("astromesh_operator_reconcile_total", agents).await;
        eventually("all agents are reconciled after a restart", PATIENCE, async || {
            Ok((reconciled().await? >= f64::from(all)).then_some(()))
        })
        .await?;
        size.figure("restart → all reconciled", "s", started.elapsed().as_secs_f64());
        // What is written late counts, too. By the clock a few may be looked at again.
        let few = f64::from(all) / 100.0 + 2.0;
        let mut last = f64::NEG_INFINITY;
        while reconciled().await? - last > few && started.elapsed() < PATIENCE {
            last = reconciled().await?;
            tokio::time::sleep(SETTLED).await;
        }
        let written = next.metric("astromesh_operator_status_writes_total", agents).await?;
        size.goal("status writes after a restart", "", written, 0.0);
        size.figure("API requests of a restart", "", requests::count(&self.fleet.client).await? - requests);
        size.figure("memory after a restart, highest", "MiB", next.memory()?.peak);
        Ok(())
    }
}
