//! The pod: the real binary with 256 MiB and one CPU.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::client::{Answer, PATIENCE, exchange, get, post};
use crate::prober::Prober;

/// What a container has by default.
pub(crate) const MEMORY: u64 = 256 << 20;
/// What remains answered within this time is alive; a debug build is held to [`slow`] times that.
const LIVEZ_WITHIN: Duration = Duration::from_millis(100);

/// The program under test.
pub(crate) fn program() -> PathBuf {
    option(&["AGENT_POD"]).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_agent-pod")), PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "tests are set up by the environment")]
fn option(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok())
}

/// A bound of time, for the build that is tested.
pub(crate) fn slow(bound: Duration) -> Duration {
    if program().components().any(|part| part.as_os_str() == "debug") { bound * 10 } else { bound }
}

/// What more a pod is bound by.
struct Bounds {
    descriptors: u32,
    unread: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { descriptors: 4096, unread: false }
    }
}

/// A running pod; killed when it is dropped.
pub(crate) struct Pod {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: TempDir,
    child: Child,
    cgroup: Option<Cgroup>,
    prober: Option<Prober>,
    log: Arc<Mutex<String>>,
    /// Whether the end has come, after which even an unread log is read.
    over: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl Pod {
    /// Serves these manifests, and is ready.
    pub(crate) fn serve(manifests: &str) -> Self {
        Self::serve_with(manifests, &[])
    }

    /// The same with more arguments.
    pub(crate) fn serve_with(manifests: &str, arguments: &[&str]) -> Self {
        Self::start(manifests, arguments, Bounds::default())
    }

    /// The same with so many file descriptors.
    pub(crate) fn serve_limited(manifests: &str, descriptors: u32) -> Self {
        Self::start(manifests, &[], Bounds { descriptors, ..Bounds::default() })
    }

    /// The same, but from when it listens nobody reads its log any more.
    pub(crate) fn serve_unread(manifests: &str) -> Self {
        Self::start(manifests, &[], Bounds { unread: true, ..Bounds::default() })
    }

    fn start(manifests: &str, arguments: &[&str], bounds: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("all.yaml"), manifests).unwrap();
        let cgroup = Cgroup::with_limit(MEMORY).map_err(unlimited).ok();
        let mut child = command(folder.path(), arguments, cgroup.as_ref(), bounds.descriptors).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (api, admin) = loop {
            let line = lines.next().unwrap_or_else(|| panic!("ended before it listened: {}", log.lock().unwrap()));
            let line = line.unwrap();
            log.lock().unwrap().push_str(&line);
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            if value["message"] == "listening" {
                let address = |field: &str| value[field].as_str().unwrap().parse().unwrap();
                break (address("address"), address("admin"));
            }
        };
        let written = Arc::clone(&log);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let reading = spawn(move || {
            while bounds.unread && !ended.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(10));
            }
            for line in lines.map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let pod = Self {
            api,
            admin,
            folder,
            child,
            cgroup,
            prober: Some(Prober::start(admin)),
            log,
            over,
            reading: Some(reading),
        };
        until("ready", || exchange(admin, &get("/readyz", "")).status == 200);
        pod
    }

    /// Asks an agent.
    pub(crate) fn run(&self, agent: &str, body: &Value) -> Answer {
        self.send(&format!("/v1/agents/{agent}/run"), body.to_string())
    }

    /// Sends a body to a door.
    pub(crate) fn send(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        exchange(self.api, &post(path, "", body.as_ref()))
    }

    /// Carries out a tool of agent `a` by the tool door.
    pub(crate) fn tool(&self, tool: &str, arguments: &Value) -> Answer {
        self.send("/v1/tools/execute", json!({"agent": "a", "tool": tool, "arguments": arguments}).to_string())
    }

    pub(crate) fn state(&self) -> Value {
        exchange(self.admin, &get("/internal/state", "")).json()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for its end, and gives its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        until("the end of the process", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Ends the test: the pod lives, was alive all the time, took no more than it may, panicked nowhere, and agent `a` answers
    /// a plain question.
    pub(crate) fn survives(mut self) {
        let answers = || self.run("a", &json!({"query": "Are you well?"}));
        let begun = Instant::now();
        let mut last = answers();
        while last.status != 200 && begun.elapsed() < PATIENCE && self.child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(50));
            last = self.run("a", &json!({"query": "Are you well?"}));
        }
        let ended = self.child.try_wait().unwrap();
        let peak = self.peak();
        let probes = self.prober.take().unwrap().stop();
        let log = self.log();
        let tail: String = log.chars().skip(log.chars().count().saturating_sub(2_000)).collect();
        assert!(ended.is_none(), "the pod has ended: {}, at {} MiB; {tail}", ended.unwrap(), peak >> 20);
        assert!(peak <= MEMORY, "{} MiB were taken", peak >> 20);
        assert!(!log.contains("panicked"), "{tail}");
        assert_eq!(last.status, 200, "it answers no plain question any more: {last:?}");
        alive_throughout(&probes);
        println!("peak {} MiB, {} probes, the slowest {:?}", peak >> 20, probes.len(), probes.iter().max());
    }

    /// The most memory that it has had, in bytes.
    fn peak(&self) -> u64 {
        if let Some(peak) = self.cgroup.as_ref().and_then(Cgroup::peak) {
            return peak;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.over.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            drop(reading.join());
        }
    }
}

/// Two in a hundred may be late, because a machine with neighbours has hiccups; none takes a second.
fn alive_throughout(probes: &[Duration]) {
    let bound = slow(LIVEZ_WITHIN);
    let late = probes.iter().filter(|took| **took > bound).count();
    let worst = probes.iter().max().copied().unwrap_or_default();
    let allowed = 1 + probes.len() / 50;
    assert!(late <= allowed, "{late} of {} probes took over {bound:?}, the slowest {worst:?}", probes.len());
    assert!(worst < bound * 10, "a probe took {worst:?}");
}

/// Without a cgroup the peak is still held against the limit; with `CI=true` that is not enough.
fn unlimited(reason: String) -> String {
    assert!(
        option(&["CI"]).as_deref() != Some("true"),
        "the limit of memory cannot be set, and CI must set it: {reason}"
    );
    println!("SKIPPED: the kernel's limit of memory ({reason}); the peak is measured instead");
    reason
}

/// The program in its cgroup, on the last CPU; tests and load have the others.
fn command(folder: &Path, arguments: &[&str], cgroup: Option<&Cgroup>, descriptors: u32) -> Command {
    let cpu = std::thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1);
    let enter = "ulimit -n $0; [ -z \"$1\" ] || echo $$ >\"$1\"; shift; exec \"$@\"";
    let processes = cgroup.map(Cgroup::processes).unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-c", enter, &descriptors.to_string()])
        .arg(processes)
        .args(["taskset", "-c", &cpu.to_string()])
        .arg(program());
    command.arg("serve").arg("--manifests").arg(folder).args(arguments);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + slow(PATIENCE).min(Duration::from_secs(90));
    while !condition() {
        assert!(Instant::now() < end, "waited for {what} in vain");
        sleep(Duration::from_millis(10));
    }
}
