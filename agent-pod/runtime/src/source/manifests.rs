//! A folder of manifests, for development and tests: the same YAML that `kubectl apply` takes.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_pod_config::{Compilation, Document, NAMESPACE_NAME_LABEL, NamespaceLabels, Resources, SecretKey, compile};
use agent_pod_infra::secret::SecretId;
use kube::core::ObjectMeta;
use notify::RecursiveMode;
use secrecy::SecretString;

use self::files::{Files, Look};
use super::watch::{Watch, WatchError};
use crate::Runtime;
use crate::manifests::{self, ManifestProblem, Manifests};
use crate::runtime::Declared;

/// How long a burst of notifications is left to go on before the files are looked at.
const SETTLE: Duration = Duration::from_millis(25);

/// Reads a variable of the environment. A function, so that only the binary touches the environment.
pub type ReadVariable = fn(&str) -> Option<String>;

/// A folder of manifests.
#[derive(Clone)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// For secrets that no `Secret` manifest holds.
    pub variable: ReadVariable,
}

impl Folder {
    /// Follows every change of the folder, for ever. Looking, compiling and building happen on a thread of their own: the
    /// doors go on while a thousand manifests load.
    ///
    /// # Errors
    /// When the folder cannot be watched.
    pub async fn follow(self, runtime: Arc<Runtime>) -> Result<(), WatchError> {
        let mut watch = Watch::new(&self.path, RecursiveMode::NonRecursive, SETTLE)?;
        let mut files = Files::new(&self.path);
        let folder = self.clone();
        runtime.secrets().looked_up_by(Arc::new(move |id: &SecretId| folder.secret(id)));
        loop {
            let (folder, runtime) = (self.clone(), Arc::clone(&runtime));
            let looking = tokio::task::spawn_blocking(move || {
                let look = files.look(Instant::now());
                if look.changed {
                    folder.load(&files, &runtime);
                }
                (files, look)
            });
            let look = match looking.await {
                Ok((looked, look)) => {
                    files = looked;
                    look
                }
                Err(error) => {
                    tracing::error!(cause = %error, "the folder could not be loaded; what serves goes on");
                    files = Files::new(&self.path);
                    Look::default()
                }
            };
            if look.moved {
                // The kernel tells of the folder that was, not of its name.
                match Watch::new(&self.path, RecursiveMode::NonRecursive, SETTLE) {
                    Ok(fresh) => watch = fresh,
                    Err(error) => tracing::debug!(%error, "the folder is looked at without notifications"),
                }
            }
            watch.changed_within(look.again).await;
        }
    }

    /// The value of one secret as the folder has it now, before anything else of the folder is looked at.
    fn secret(&self, id: &SecretId) -> Option<SecretString> {
        let secrets = manifests::read(&manifests::list(&self.path, |_file| false).ok()?.files).secrets;
        secrets
            .get(&(id.name.clone(), id.key.clone()))
            .filter(|value| !value.is_empty())
            .cloned()
            .map(SecretString::from)
    }

    /// Loads whatever of the files is valid.
    fn load(&self, files: &Files, runtime: &Runtime) {
        let manifests = files.manifests();
        let (document, problems) = compile_manifests(&manifests);
        self.provide_secrets(&document, &manifests.secrets, runtime);
        let declared = Declared { agents: manifests.declared, unknown: files.anything_unknown() };
        let problems = problems.iter().map(ManifestProblem::rejected).collect();
        runtime.load_lenient(document, &declared, problems);
        runtime.secrets().refresh();
    }

    fn provide_secrets(&self, document: &Document, secrets: &BTreeMap<(String, String), String>, runtime: &Runtime) {
        for SecretKey { name, key } in document.secrets() {
            // An empty value stands for one that is still to come: the importer writes such Secrets.
            let written = secrets.get(&(name.clone(), key.clone())).filter(|value| !value.is_empty()).cloned();
            let value = written.or_else(|| (self.variable)(&variable_name(&name, &key)));
            let id = SecretId { name, key };
            runtime.secrets().set(&id, value.map(SecretString::from));
        }
    }
}

/// Compiles what the files hold; every problem names its file.
#[must_use]
pub fn compile_manifests(manifests: &Manifests) -> (Document, Vec<ManifestProblem>) {
    let agents: Vec<_> = manifests.agents.iter().map(|(_, agent)| agent).collect();
    let providers: Vec<_> = manifests.providers.iter().map(|(_, provider)| provider).collect();
    let namespaces = namespaces(manifests);
    let config_maps = &manifests.config_maps.maps;
    let resources =
        Resources { agents: &agents, providers: &providers, peers: &[], namespaces: &namespaces, config_maps };
    let Compilation { document, problems } = compile(resources);
    let mut all = manifests.problems.clone();
    for problem in problems {
        // Two agents of one name are at odds with each other: both files are named.
        let either = problem.path == "metadata.name";
        let in_question = |meta: &ObjectMeta| {
            meta.name.as_deref() == Some(&problem.object.name)
                && (either || meta.namespace.as_deref().unwrap_or("default") == problem.object.namespace)
        };
        let agents = manifests.agents.iter().map(|(file, agent)| ("Agent", file, &agent.metadata));
        let providers = manifests.providers.iter().map(|(file, provider)| ("Provider", file, &provider.metadata));
        let files = agents.chain(providers).filter(|(kind, _, meta)| *kind == problem.object.kind && in_question(meta));
        all.push(ManifestProblem {
            file: files.map(|(_, file, _)| file.as_str()).collect::<Vec<_>>().join(", "),
            kind: problem.object.kind.to_owned(),
            name: problem.object.name,
            path: problem.path,
            message: problem.message,
        });
    }
    all.sort();
    (document, all)
}

/// All that is known of namespaces without a cluster: their names.
fn namespaces(manifests: &Manifests) -> NamespaceLabels {
    let names = manifests.agents.iter().map(|(_, agent)| agent.metadata.namespace.as_deref().unwrap_or("default"));
    names.map(|name| (name.to_owned(), BTreeMap::from([(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())]))).collect()
}

/// `ASTROMESH_SECRET_<NAME>_<KEY>`: upper case, every other character as `_`.
#[must_use]
pub fn variable_name(secret: &str, key: &str) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    };
    format!("ASTROMESH_SECRET_{}_{}", plain(secret), plain(key))
}
