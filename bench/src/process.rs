//! The subjects' processes: where they run, and what the kernel says they have used.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a process may take until it answers.
const START_WAIT: Duration = Duration::from_secs(20);

/// How often a starting process is asked; the start time is known to this.
const START_POLL: Duration = Duration::from_micros(500);

/// Where subject and generator run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// The subject on core 1, everything else on core 0.
    Apart,
    /// Wherever the kernel puts them: there is one core only, or no `taskset`.
    Anywhere,
}

impl Cores {
    /// Binds this process, and so the processes that it starts, to core 0. Call it before there are threads.
    pub(crate) fn claim() -> Self {
        let own = std::process::id().to_string();
        let succeeds = |arguments: [&str; 3]| {
            let mut command = Command::new("taskset");
            let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if succeeds(["-c", "1", "true"]) && succeeds(["-cp", "0", &own]) { Self::Apart } else { Self::Anywhere }
    }
}

/// A process that ends with this value.
pub(crate) struct Process {
    child: std::process::Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From its start to its first good answer.
    pub(crate) started_in: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    /// Starts a program, on the subject's core if `subject` says so, and waits until `probe` answers with success.
    pub(crate) async fn start(
        program: &Path,
        arguments: &[String],
        subject: Option<Cores>,
        (address, probe): (SocketAddr, (SocketAddr, &str)),
    ) -> anyhow::Result<Self> {
        let mut command = match subject {
            Some(Cores::Apart) => {
                let mut command = Command::new("taskset");
                command.args([OsStr::new("-c"), OsStr::new("1"), program.as_os_str()]);
                command
            }
            Some(Cores::Anywhere) | None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("failed to start `{}`", program.display()))?;
        let mut process = Self { child, address, started_in: Duration::ZERO };
        loop {
            if answers(probe).await {
                process.started_in = begun.elapsed();
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                anyhow::bail!("`{}` ended while it started: {status}", program.display());
            }
            anyhow::ensure!(begun.elapsed() < START_WAIT, "`{}` is not ready after {START_WAIT:?}", program.display());
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// CPU time of all its threads, user and system.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut total = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("failed to read `{tasks}`"))? {
            // A thread may end between the two reads; what it used is lost, which idle threads make little of.
            let Ok(statistics) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            total += nanoseconds(&statistics).context("the kernel gives no CPU time (CONFIG_SCHED_INFO)")?;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
        resident(&status).with_context(|| format!("`{path}` has no VmRSS"))
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?)
}

async fn answers((address, path): (SocketAddr, &str)) -> bool {
    let Ok(stream) = TcpStream::connect(address).await else { return false };
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
        return false;
    };
    let Ok(request) = http::Request::get(path).header("host", "bench").body(Empty::<Bytes>::new()) else {
        return false;
    };
    tokio::select! {
        answer = sender.send_request(request) => answer.is_ok_and(|answer| answer.status().is_success()),
        _ = connection => false,
    }
}

/// The first number of a `schedstat`: time on the CPU.
fn nanoseconds(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(nanoseconds("402110 4625939 4\n"), Some(402_110));
        assert_eq!(nanoseconds(""), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    5120 kB\nRssAnon:\t 1 kB\n"), Some(5_242_880));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
