//! The command line, and the only place that reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent_pod_runtime::source::manifests::Folder;
use agent_pod_runtime::source::mounted::Mounted;
use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::serve::{Server, Source};
use crate::{allocator, import, render, serve, telemetry, validate};

/// Runs AI agents: on Kubernetes behind the Astromesh operator, or from a folder of manifests.
#[derive(Debug, Parser)]
#[command(name = "agent-pod", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve agents.
    Serve(Box<ServeArgs>),
    /// Check manifests without a cluster; exit code 1 if anything is wrong.
    Validate(ValidateArgs),
    /// Convert a folder of the original Astromesh into manifests; the report of what is not carried over goes to
    /// standard error. Exit code 1 if a file could not be read; the others are converted.
    Import(ImportArgs),
    /// Render one template, from standard input to standard output, with little memory and time. For `serve`, which
    /// starts it for templates that are not its own.
    #[command(hide = true)]
    Render,
}

#[derive(Debug, ClapArgs)]
struct ServeArgs {
    /// Folder of manifests to run without a cluster; followed for changes.
    #[arg(
        long,
        value_name = "DIR",
        env = "ASTROMESH_MANIFESTS",
        conflicts_with = "document",
        required_unless_present = "document"
    )]
    manifests: Option<PathBuf>,
    /// The operator's document; followed for changes.
    #[arg(long, value_name = "FILE", env = "ASTROMESH_DOCUMENT")]
    document: Option<PathBuf>,
    /// Keys that callers' tokens are verified with.
    #[arg(long, value_name = "FILE", env = "ASTROMESH_TRUST", requires = "document")]
    trust: Option<PathBuf>,
    /// Folder of mounted Secrets, `<name>/<key>`.
    #[arg(long, value_name = "DIR", env = "ASTROMESH_SECRETS_DIR", default_value = "/var/run/astromesh/secrets")]
    secrets_dir: PathBuf,
    /// The token that proves to other agents who this one is; read with each call.
    #[arg(long, value_name = "FILE", env = "ASTROMESH_TOKEN_FILE", default_value = "/var/run/secrets/astromesh/token")]
    token_file: PathBuf,
    /// Address of the agents' API.
    #[arg(long, value_name = "ADDR", env = "ASTROMESH_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of probes, metrics and state.
    #[arg(long, value_name = "ADDR", env = "ASTROMESH_ADMIN_LISTEN", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
    /// Seconds after which a client that takes nothing of what it is sent is cut off, and its run with it.
    #[arg(long, value_name = "SECONDS", env = "ASTROMESH_WRITE_TIMEOUT", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    write_timeout: u64,
    /// Connections of callers at a time; one more takes the place of one that waits for nothing. Without it half of the
    /// open files that the process may have, and at most 2048.
    #[arg(long, value_name = "NUMBER", env = "ASTROMESH_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: Option<u32>,
    /// Folder for what agents keep on disk; made if it does not exist.
    #[arg(long, value_name = "DIR", env = "ASTROMESH_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// MiB that calls, conversations and replies may hold together; a quarter of the container's memory limit if absent.
    #[arg(long, value_name = "MIB", env = "ASTROMESH_MEMORY_POOL", value_parser = clap::value_parser!(u64).range(4..=1_048_576))]
    memory_pool: Option<u64>,
    /// What is logged, for example `info` or `agent_pod_core=debug`.
    #[arg(long, value_name = "FILTER", env = "ASTROMESH_LOG", default_value = "info")]
    log: String,
    /// How it is logged.
    #[arg(long, value_enum, env = "ASTROMESH_LOG_FORMAT", default_value = "json")]
    log_format: telemetry::LogFormat,
}

#[derive(Debug, ClapArgs)]
struct ValidateArgs {
    /// Files or folders, checked together.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct ImportArgs {
    /// Folder that holds `agents/`, `providers.yaml` and the rest.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder for the manifests, one file each; without it they go to standard output. No file is overwritten.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(args) => {
                allocator::give_back();
                args.run()
            }
            Command::Validate(ValidateArgs { files }) => validate::run(&files),
            Command::Import(ImportArgs { dir, out }) => import::run(&dir, out.as_deref()),
            Command::Render => render::run(),
        }
    }
}

impl ServeArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            manifests,
            document,
            trust,
            secrets_dir,
            token_file,
            listen,
            admin_listen,
            write_timeout,
            max_connections,
            data_dir,
            memory_pool,
            log,
            log_format,
        } = self;
        let logs = telemetry::init(&log, log_format)?;
        let source = match (manifests, document) {
            (Some(path), _) => Source::Folder(Folder { path, variable }),
            (None, Some(document)) => Source::Mounted(Mounted { document, trust, secrets: secrets_dir }),
            (None, None) => anyhow::bail!("either --manifests or --document is needed"),
        };
        serve::set_memory_pool(memory_pool);
        let server = Server {
            source,
            data: data_dir,
            token_file,
            pod: host_name(),
            listen,
            admin_listen,
            write_timeout: Duration::from_secs(write_timeout),
            connections_max: max_connections.map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
            logs: logs.clone(),
        };
        let code = prepare(&server).and_then(|()| serve::run(server)).unwrap_or_else(|error| {
            // The last line of the log, behind all that explains it.
            logs.line(&format!("agent-pod: {error:#}"));
            ExitCode::FAILURE
        });
        logs.finish();
        Ok(code)
    }
}

fn prepare(server: &Server) -> anyhow::Result<()> {
    if let Some(dir) = &server.data {
        std::fs::create_dir_all(dir).with_context(|| format!("failed to make the data folder `{}`", dir.display()))?;
    }
    if let Source::Folder(Folder { path, .. }) = &server.source
        && !path.is_dir()
    {
        anyhow::bail!("`{}` is not a folder; give --manifests a folder that holds your manifests", path.display());
    }
    Ok(())
}

/// The name of the machine, which is the pod's in a cluster.
fn host_name() -> String {
    let said = variable("HOSTNAME").filter(|name| !name.is_empty());
    said.unwrap_or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned())
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
