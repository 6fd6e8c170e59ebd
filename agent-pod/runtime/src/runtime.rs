//! One pod's runtime: what serves, what was refused, and how a new document takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_config::{Document, Rejected, RejectedProblem, SecretKey, Trust, revision_of};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::ports::RunObserver;
use agent_pod_core::service::{AdminService, AgentService, TaggedState};
use agent_pod_infra::access::{JwksVerifier, NoVerifier};
use agent_pod_infra::environment::SystemEnvironment;
use agent_pod_infra::memory::in_process::InProcessStore;
use agent_pod_infra::secret::{SecretId, SecretStore};
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::build::{Builder, Ports};
use crate::metrics::{Metrics, Process};
use crate::registry::Registry;
use crate::state;

/// Where the runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In a pod, on the document of the operator.
    Cluster,
    /// On a machine, on a folder of manifests.
    Standalone,
}

/// The runtime of a pod.
pub struct Runtime {
    /// The agents that serve.
    pub registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    pub(crate) secrets: SecretStore,
    loader: Mutex<Loader>,
    /// Beside the loader, so that whoever asks for the state waits for no load.
    pub(crate) shown: ArcSwap<Shown>,
    /// Told of each change of what is shown.
    pub(crate) stirred: watch::Sender<()>,
    /// The tag of the state, as it was last looked at.
    pub(crate) tag: watch::Sender<String>,
}

/// What only a reload touches.
struct Loader {
    builder: Builder,
    /// The document that serves.
    served: Document,
}

/// What the last loads have come to.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    /// The Secret keys of the document that serves.
    pub(crate) secrets: Arc<BTreeSet<SecretKey>>,
    pub(crate) rejected: Option<Rejected>,
    /// Hash and operator of the trust in use.
    pub(crate) trust: Option<(String, String)>,
}

impl Runtime {
    /// A runtime outside a cluster that serves nothing yet; its secrets come from manifests and the environment.
    #[must_use]
    pub fn standalone() -> Self {
        Self::new(Mode::Standalone, SecretStore::in_memory())
    }

    /// A pod's runtime that serves nothing yet; its secrets are files, `<secrets>/<name>/<key>`.
    #[must_use]
    pub fn in_cluster(secrets: impl Into<std::path::PathBuf>) -> Self {
        Self::new(Mode::Cluster, SecretStore::directory(secrets))
    }

    /// The same, which keeps on disk in this folder what agents keep there.
    #[must_use]
    pub fn keeping_files_in(self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.loader().builder.keep_files_in(folder.into());
        self
    }

    /// The same, which renders there what is not small work. Without it, such templates fail when they are rendered.
    #[must_use]
    pub fn rendering_in(self, sandboxes: crate::sandbox::Sandboxes) -> Self {
        self.loader().builder.render_in(sandboxes);
        self
    }

    /// The same, whose agents prove to those of other pods who they are with the token in this file.
    #[must_use]
    pub fn identified_by(self, token: impl Into<std::path::PathBuf>) -> Self {
        self.loader().builder.identify_by(token.into());
        self
    }

    fn new(mode: Mode, secrets: SecretStore) -> Self {
        let metrics = Arc::new(Metrics::default());
        let registry = Arc::new(Registry::new(Box::new(NoVerifier)));
        let ports = Ports {
            secrets: secrets.clone(),
            conversations: Arc::new(InProcessStore::new()),
            environment: Arc::new(SystemEnvironment),
            observer: Arc::clone(&metrics) as Arc<dyn RunObserver>,
            agents: Arc::downgrade(&(Arc::clone(&registry) as Arc<dyn AgentService>)),
        };
        let loader = Loader { builder: Builder::new(mode, ports), served: Document::empty() };
        let (stirred, tag) = (watch::Sender::new(()), watch::Sender::new(String::new()));
        Self { registry, metrics, secrets, loader: Mutex::new(loader), shown: ArcSwap::default(), stirred, tag }
    }

    fn loader(&self) -> MutexGuard<'_, Loader> {
        self.loader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is shown. Whoever does holds the loader, so that no change is lost.
    fn show(&self, _loader: &Loader, change: impl FnOnce(&mut Shown)) {
        let mut shown = Shown::clone(&self.shown.load());
        change(&mut shown);
        self.shown.store(Arc::new(shown));
        self.stirred.send_replace(());
    }

    /// No longer ready; see [`Registry::drain`].
    pub fn drain(&self) {
        self.registry.drain();
        self.stirred.send_replace(());
    }

    /// What the process itself is doing, for its metrics.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.metrics.process()
    }

    /// The store that secrets come from.
    #[must_use]
    pub fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// Loads the operator's document: as a whole, or not at all. Returns whether it serves now.
    pub fn load(&self, bytes: &[u8]) -> bool {
        let revision = revision_of(bytes);
        let mut loader = self.loader();
        let problems = match Document::from_bytes(bytes) {
            Ok(document) => {
                let mut built = loader.builder.build(&document);
                built.problems.extend(self.not_mounted(&document, &loader.served));
                if built.problems.is_empty() {
                    let mut snapshot = loader.builder.take_over(built);
                    // The operator's bytes are the revision, whatever this build would write.
                    snapshot.revision.clone_from(&revision);
                    self.registry.swap(snapshot);
                    loader.served = document;
                    self.serves(&loader);
                    self.show(&loader, |shown| shown.rejected = None);
                    tracing::info!(%revision, "document loaded");
                    self.metrics.reloaded(true);
                    return true;
                }
                built.problems
            }
            Err(message) => vec![RejectedProblem { file: None, path: String::new(), message }],
        };
        self.refuse(&loader, revision, problems);
        false
    }

    /// Shows what the document that serves now needs.
    fn serves(&self, loader: &Loader) {
        let secrets = Arc::new(loader.served.secrets().into_iter().collect());
        self.show(loader, |shown| shown.secrets = secrets);
    }

    /// The Secret keys that `document` names for the first time and that this pod does not have.
    ///
    /// Naming one more Secret changes the pod template, so that pods with the mount are on their way. Until they have
    /// taken over, this one is of more use with the document that it can serve. A first document is taken as it is,
    /// and a key that was missing before holds up nothing.
    fn not_mounted(&self, document: &Document, served: &Document) -> Vec<RejectedProblem> {
        if self.registry.snapshot().is_none() {
            return Vec::new();
        }
        let known = served.secrets();
        let missing = |key: &SecretKey| {
            let id = SecretId { name: key.name.clone(), key: key.key.clone() };
            !known.contains(key) && self.secrets.get(&id).is_none()
        };
        let unmounted = |path: String, key: &SecretKey| RejectedProblem {
            file: None,
            path,
            message: format!(
                "key `{}` of Secret `{}` is not mounted in this pod; one that has it takes over",
                key.key, key.name
            ),
        };
        let of_providers = document.providers.iter().flat_map(|(name, provider)| {
            provider.secrets().map(move |(field, key)| (format!("providers.{name}.{field}"), key))
        });
        let of_agents = document
            .agents
            .iter()
            .flat_map(|(name, agent)| agent.secrets().map(move |(field, key)| (format!("agents.{name}.{field}"), key)));
        let named =
            of_providers.chain(of_agents).filter(|(_, key)| missing(key)).map(|(path, key)| unmounted(path, key));
        named.collect()
    }

    /// Loads a folder's document: an agent that cannot be served as it stands there goes on as it was.
    ///
    /// `declared` names the agents that the folder still holds, valid or not; the others end.
    pub fn load_lenient(&self, mut document: Document, declared: &Declared, mut problems: Vec<RejectedProblem>) {
        let mut loader = self.loader();
        let wanted = document.revision();
        carry_over(&mut document, &loader.served, declared);
        let mut built = loader.builder.build(&document);
        if !built.problems.is_empty() {
            let found = std::mem::take(&mut built.problems);
            let broken: BTreeSet<String> =
                found.iter().filter_map(|problem| agent_of(&problem.path)).map(ToOwned::to_owned).collect();
            document.agents.retain(|name, _| !broken.contains(name));
            carry_over(&mut document, &loader.served, declared);
            problems.extend(found.into_iter().map(|problem| {
                let file = agent_of(&problem.path).and_then(|name| declared.agents.get(name)).cloned();
                RejectedProblem { file, ..problem }
            }));
            // What served before builds again: its templates and endpoints were good once.
            built = loader.builder.build(&document);
        }
        let snapshot = loader.builder.take_over(built);
        loader.served = document;
        self.serves(&loader);
        // Whoever sees the new revision sees what was left out of it: refusals show before it, and end after it.
        let refused = !problems.is_empty();
        if refused {
            problems.sort();
            self.refuse(&loader, wanted, problems);
        }
        let unchanged = self.registry.snapshot().is_some_and(|serving| serving.revision == snapshot.revision);
        if !unchanged {
            tracing::info!(revision = %snapshot.revision, agents = snapshot.entries.len(), "manifests loaded");
            self.registry.swap(snapshot);
            self.metrics.reloaded(true);
        }
        if !refused {
            self.show(&loader, |shown| shown.rejected = None);
        }
    }

    fn refuse(&self, loader: &Loader, revision: String, problems: Vec<RejectedProblem>) {
        let rejected = Rejected::new(revision, problems);
        if self.shown.load().rejected.as_ref() == Some(&rejected) {
            return;
        }
        for problem in &rejected.problems {
            let (file, path) = (problem.file.as_deref().unwrap_or_default(), &problem.path);
            tracing::warn!(revision = %rejected.revision, file, path, cause = %problem.message, "refused; the last good one goes on serving");
        }
        self.metrics.reloaded(false);
        self.show(loader, |shown| shown.rejected = Some(rejected));
    }

    /// Trusts these keys from now on.
    ///
    /// # Errors
    /// When the text is not a trust or its keys cannot be used; the keys in use stay.
    pub fn trust(&self, bytes: &[u8]) -> Result<(), String> {
        let hash = revision_of(bytes);
        let loader = self.loader();
        if self.shown.load().trust.as_ref().is_some_and(|(known, _)| *known == hash) {
            return Ok(());
        }
        let trust = Trust::from_bytes(bytes)?;
        let jwks = trust.jwks.to_string();
        let verifier = JwksVerifier::new(&trust.issuer, &trust.audience, &jwks).map_err(|error| error.to_string())?;
        self.registry.trust(Box::new(verifier));
        self.show(&loader, |shown| shown.trust = Some((hash, trust.operator)));
        tracing::info!("keys for callers' tokens loaded");
        Ok(())
    }

    /// The longest drain and delay of the agents that serve.
    #[must_use]
    pub fn stop_times(&self) -> (Duration, Duration) {
        self.registry
            .snapshot()
            .map_or((Duration::ZERO, Duration::ZERO), |snapshot| (snapshot.endpoint_delay, snapshot.drain_timeout))
    }

    /// The revision that serves, and the one that was refused.
    #[must_use]
    pub fn revisions(&self) -> (Option<String>, Option<String>) {
        let serving = self.registry.snapshot().map(|snapshot| snapshot.revision.clone());
        (serving, self.shown.load().rejected.as_ref().map(|rejected| rejected.revision.clone()))
    }
}

/// What a folder still declares.
#[derive(Debug, Default)]
pub struct Declared {
    /// Its agents, valid or not, with their files.
    pub agents: BTreeMap<String, String>,
    /// Whether a file could not be read, so that it may declare any agent.
    pub unknown: bool,
}

/// Takes what served before into `document`, for declared agents that are not in it.
fn carry_over(document: &mut Document, served: &Document, declared: &Declared) {
    for (name, agent) in &served.agents {
        let still_there = declared.unknown || declared.agents.contains_key(name);
        if !still_there || document.agents.contains_key(name) {
            continue;
        }
        document.agents.insert(name.clone(), agent.clone());
        let candidates = agent.roles.values().chain([&agent.model]).flat_map(|model| &model.candidates);
        for candidate in candidates {
            if let Some(provider) = served.providers.get(&candidate.provider) {
                document.providers.entry(candidate.provider.clone()).or_insert_with(|| provider.clone());
            }
        }
    }
}

/// The agent that a problem's path names: `agents.<name>.…`, where names hold no dots.
fn agent_of(path: &str) -> Option<&str> {
    path.strip_prefix("agents.")?.split('.').next()
}

impl AdminService for Runtime {
    fn ready(&self) -> bool {
        !self.registry.draining() && self.registry.snapshot().is_some()
    }

    fn state(&self) -> TaggedState {
        let state = self.pod_state();
        TaggedState { tag: state::tag(&state), body: serde_json::to_value(state).unwrap_or_default() }
    }

    fn state_changes(&self) -> watch::Receiver<String> {
        self.tag.subscribe()
    }

    fn metrics(&self) -> String {
        self.metrics.encode(&self.registry)
    }

    fn may_read_state(&self, token: Option<&str>) -> Result<(), RunError> {
        let token = token.ok_or_else(|| RunError::new(ErrorCode::Unauthenticated, "the operator's token is needed"))?;
        let caller = self.registry.verifier().verify(token)?;
        let subject = format!("system:serviceaccount:{}:{}", caller.namespace, caller.service_account);
        let operator = self.shown.load().trust.as_ref().map(|(_, operator)| operator.clone());
        if operator.as_deref() == Some(subject.as_str()) {
            return Ok(());
        }
        Err(RunError::new(ErrorCode::Forbidden, "only the operator may read the state"))
    }
}
