//! Servers that pods share.

use std::net::TcpListener;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use crate::harness::DEADLINE;

/// A Redis server of its own; killed when it is dropped.
pub(crate) struct Redis {
    pub(crate) url: String,
    child: Child,
    _folder: TempDir,
}

impl Redis {
    /// None, and the test is skipped, where there is no `redis-server`; but on CI it fails.
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment whether they may be skipped")]
    pub(crate) async fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let port_text = port.to_string();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "redis-server does not start: {error}");
                eprintln!("skipped: redis-server does not start: {error}; e2e/stores/start installs it");
                return None;
            }
        };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < end, "redis-server does not listen");
            sleep(Duration::from_millis(10)).await;
        }
        Some(Self { url: format!("redis://127.0.0.1:{port}"), child, _folder: folder })
    }

    /// Sends it a signal, by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    pub(crate) async fn stop(&mut self) {
        self.child.kill().await.unwrap();
    }
}
