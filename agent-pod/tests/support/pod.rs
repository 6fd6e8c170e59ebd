//! Starting the binary, and talking to it: for every target that runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running `agent-pod`; killed when it is dropped.
pub(crate) struct Pod {
    pub(crate) api: String,
    pub(crate) admin: String,
    pub(crate) child: Child,
    pub(crate) http: reqwest::Client,
    /// Everything that it has logged, collected when it has ended.
    log: tokio::task::JoinHandle<String>,
}

impl Pod {
    pub(crate) async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_agent-pod")), arguments, variables, true).await
    }

    /// The pod of a program that ends in `agent-pod`; with `read`, somebody reads its log.
    pub(crate) async fn run(mut program: Command, arguments: &[&str], variables: &[(&str, &str)], read: bool) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut child = program
            .arg("serve")
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let (api, admin) = loop {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("ended before it listened: {seen}"));
            seen.push_str(&line);
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["message"] == "listening" {
                break (value["address"].as_str().unwrap().to_owned(), value["admin"].as_str().unwrap().to_owned());
            }
        };
        let log = tokio::runtime::Handle::current().spawn(async move {
            if !read {
                // The pipe stays open, and fills.
                std::future::pending::<()>().await;
            }
            while let Ok(Some(line)) = lines.next_line().await {
                seen.push_str(&line);
                seen.push('\n');
            }
            seen
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { api: format!("http://{api}"), admin: format!("http://{admin}"), child, http, log }
    }

    /// On a folder, which has been read.
    pub(crate) async fn on_folder(folder: &Folder, variables: &[(&str, &str)]) -> Self {
        let pod = Self::start(&["--manifests", folder.path().to_str().unwrap()], variables).await;
        let end = Instant::now() + DEADLINE;
        while !pod.ready().await {
            assert!(Instant::now() < end, "the folder was never read");
            sleep(Duration::from_millis(5)).await;
        }
        pod
    }

    pub(crate) async fn state(&self) -> Value {
        self.http.get(format!("{}/internal/state", self.admin)).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn ready(&self) -> bool {
        self.http.get(format!("{}/readyz", self.admin)).send().await.unwrap().status().is_success()
    }

    pub(crate) fn ask(&self, agent: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}/v1/agents/{agent}/run", self.api)).json(body)
    }

    /// Waits until the state fulfils the predicate, and gives it.
    pub(crate) async fn await_state(&self, what: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let state = self.state().await;
            if predicate(&state) {
                return state;
            }
            assert!(Instant::now() < end, "waited for {what} in vain: {state:#}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends this signal.
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
    }

    /// Waits for its end and gives its exit code and log.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap();
        (status.code(), self.log.await.unwrap())
    }
}

/// A folder of manifests.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file as an editor does: beside it, then over it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (file, draft) = (self.path().join(name), self.path().join(format!(".{name}.draft")));
        fs::write(&draft, text).unwrap();
        fs::rename(draft, &file).unwrap();
        file
    }
}
