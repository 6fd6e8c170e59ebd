//! A folder of manifests, for development and tests: the same YAML that `kubectl apply` takes.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_pod_config::{
    Compilation, Document, NAMESPACE_NAME_LABEL, NamespaceLabels, Problem, Resources, SecretKey, compile,
};
use agent_pod_infra::secret::SecretId;
use notify::RecursiveMode;
use secrecy::SecretString;

use self::files::{Files, Look};
use super::watch::{Watch, WatchError};
use crate::Runtime;
use crate::manifests::{self, ManifestProblem, Manifests, Problems};
use crate::runtime::Declared;

/// How long a burst of notifications is left to go on before the files are looked at.
const SETTLE: Duration = Duration::from_millis(25);

/// The most problems that the pod's log and state show.
const SHOWN_MAX: usize = 200;

/// The most files that one problem names.
const FILES_NAMED_MAX: usize = 5;

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
        let problems = problems.first(SHOWN_MAX, &self.path.display().to_string());
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
pub fn compile_manifests(manifests: &Manifests) -> (Document, Problems) {
    let agents: Vec<_> = manifests.agents.iter().map(|(_, agent)| agent).collect();
    let providers: Vec<_> = manifests.providers.iter().map(|(_, provider)| provider).collect();
    let namespaces = namespaces(manifests);
    let config_maps = &manifests.config_maps.maps;
    let resources =
        Resources { agents: &agents, providers: &providers, peers: &[], namespaces: &namespaces, config_maps };
    let Compilation { document, problems, more } = compile(resources);
    let mut all = manifests.problems.clone();
    all.count(more);
    let places = Places::of(manifests);
    all.extend(problems.into_iter().map(|problem| ManifestProblem {
        file: places.files(&problem),
        kind: problem.object.kind.to_owned(),
        name: problem.object.name,
        path: problem.path,
        message: problem.message,
    }));
    (document, all)
}

/// Where objects stand, by kind and name: each with its namespace and its file.
struct Places<'a>(BTreeMap<(&'static str, &'a str), Vec<(&'a str, &'a str)>>);

impl<'a> Places<'a> {
    fn of(manifests: &'a Manifests) -> Self {
        let agents = manifests.agents.iter().map(|(file, agent)| ("Agent", file, &agent.metadata));
        let providers = manifests.providers.iter().map(|(file, provider)| ("Provider", file, &provider.metadata));
        let mut places = Self(BTreeMap::new());
        for (kind, file, meta) in agents.chain(providers) {
            let place = (meta.namespace.as_deref().unwrap_or("default"), file.as_str());
            places.0.entry((kind, meta.name.as_deref().unwrap_or_default())).or_default().push(place);
        }
        places
    }

    /// The file of the object with this problem. Two of one name are at odds with each other: both files are named.
    fn files(&self, problem: &Problem) -> String {
        let either = problem.path == "metadata.name";
        let object = &problem.object;
        let places = self.0.get(&(object.kind, object.name.as_str())).into_iter().flatten();
        let mut files = places.filter(|(namespace, _)| either || *namespace == object.namespace).map(|(_, file)| *file);
        let named: Vec<&str> = files.by_ref().take(FILES_NAMED_MAX).collect();
        let others = files.next().map_or("", |_| ", …");
        format!("{}{others}", named.join(", "))
    }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    fn agent(name: usize, namespace: &str) -> String {
        format!(
            "---\napiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: a{name}, namespace: {namespace}}}\n\
             spec: {{model: {{candidates: [{{providerRef: {{name: none}}}}]}}, prompts: {{system: x}}}}\n"
        )
    }

    /// What is shown of these files, which are read and compiled in little time.
    fn shown(texts: &[String]) -> Vec<ManifestProblem> {
        let folder: TempDir = tempfile::tempdir().unwrap();
        for (index, text) in texts.iter().enumerate() {
            fs::write(folder.path().join(format!("{index:03}.yaml")), text).unwrap();
        }
        let start = Instant::now();
        let files = manifests::list(folder.path(), |_| false).unwrap().files;
        let (_, problems) = compile_manifests(&manifests::read(&files));
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        let shown = problems.first(SHOWN_MAX, "folder");
        let length: usize = shown.iter().map(|problem| problem.to_string().len()).sum();
        assert!(length < 100_000, "{length} bytes");
        shown
    }

    fn last(problems: &[ManifestProblem]) -> String {
        assert_eq!(problems.len(), 201);
        problems[200].to_string()
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let fields: String = (0..1_000).map(|index| format!("  x{index}: 1\n")).collect();
        let odd: Vec<String> = (0..20)
            .map(|index| format!("{}spec:\n{fields}", agent(index, "a").split("spec").next().unwrap()))
            .collect();
        assert_eq!(last(&shown(&odd)), "folder: 220 more problems are left out of this list");
        let one_file = [(0..20).map(|index| odd[index].clone()).collect::<String>()];
        assert_eq!(shown(&one_file).len(), 101);
    }

    #[test]
    fn many_agents_without_a_provider() {
        let text = |file: usize| (0..500).map(|index| agent(500 * file + index, "a")).collect();
        let texts: Vec<String> = (0..4).map(text).collect();
        assert_eq!(last(&shown(&texts)), "folder: 1800 more problems are left out of this list");
    }

    #[test]
    fn many_agents_of_one_name() {
        let provider = "apiVersion: astromesh.io/v1alpha1\nkind: Provider\nmetadata: {name: none, namespace: n0}\nspec: {type: ollama, models: [{name: m}]}\n";
        let texts = (0..300).map(|index| format!("{provider}{}", agent(0, &format!("n{index}"))));
        let problems = shown(&texts.collect::<Vec<_>>());
        assert_eq!(problems.len(), 201);
        assert!(problems.iter().all(|problem| problem.file.matches(".yaml").count() <= FILES_NAMED_MAX));
    }

    #[test]
    fn a_long_value_is_quoted_in_part() {
        let number = format!("a: {}\n", "9".repeat(4_000_000));
        let name = "n".repeat(1_000_000);
        let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ndata: {{? {name} : 1}}\n");
        let problems = shown(&[number, secret]);
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("is not valid YAML: error: line 1 column 4: non-finite float"), "{}", said[0]);
        assert!(said[1].ends_with("…: is not base64; use stringData for plain text"), "{}", said[1]);
        assert!(said.iter().all(|said| said.chars().count() < 600), "{said:?}");
    }
}
