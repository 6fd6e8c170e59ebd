//! The command line and the environment; nothing else reads either.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgAction, Parser};

use crate::operator::{self, Settings};
use crate::telemetry::{self, LogFormat};

/// Turns Astromesh resources into running agents.
#[derive(Clone, Debug, Parser)]
#[command(name = "astromesh-operator", version)]
pub struct Args {
    /// Image of agents that name none.
    #[arg(long, env = "ASTROMESH_AGENT_IMAGE")]
    agent_image: String,
    /// Namespace of the operator: here lives its lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "astromesh-system")]
    namespace: String,
    /// Service account of the operator: agents let it read their state.
    #[arg(long, env = "POD_SERVICE_ACCOUNT", default_value = "astromesh-operator")]
    service_account: String,
    /// Name of this replica, unique among them.
    #[arg(long, env = "POD_NAME", default_value = "astromesh-operator")]
    pod_name: String,
    /// Namespaces to serve, separated by commas; empty: all of them.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// File with the operator's own token of audience `astromesh`; read at each use, may be absent.
    #[arg(long, env = "ASTROMESH_TOKEN_FILE", default_value = "/var/run/secrets/astromesh/token")]
    token_file: PathBuf,
    /// File with the operator's own token for the API server: the lease goes with the account that it names.
    #[arg(
        long,
        env = "ASTROMESH_API_TOKEN_FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )]
    api_token_file: PathBuf,
    /// Where pods ask for attention: `http://<host>:<port>/internal/attention`. Without it they do not ask.
    #[arg(long, env = "ASTROMESH_ATTENTION_URL", value_parser = attention_url)]
    attention_url: Option<String>,
    /// Whether replicas elect a leader; without it there must be one replica only.
    #[arg(long, env = "ASTROMESH_LEADER_ELECT", default_value_t = true, action = ArgAction::Set)]
    leader_elect: bool,
    /// Reconciliations at the same time, per kind (and per namespace, with --watch-namespaces).
    #[arg(long, env = "ASTROMESH_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Address of probes and metrics.
    #[arg(long, env = "ASTROMESH_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What is logged: a level, or `target=level` separated by commas.
    #[arg(long, env = "ASTROMESH_LOG", default_value = "info")]
    log: String,
    /// How a line of the log looks.
    #[arg(long, env = "ASTROMESH_LOG_FORMAT", default_value = "json")]
    log_format: LogFormat,
}

impl Args {
    /// Runs the operator until it is told to stop. Whatever makes it end otherwise is the last line of its log.
    ///
    /// # Errors
    /// When logging cannot be started.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            agent_image,
            namespace,
            service_account,
            pod_name,
            watch_namespaces,
            token_file,
            api_token_file,
            attention_url,
            leader_elect,
            concurrency,
            listen,
            log,
            log_format,
        } = self;
        let logs = telemetry::init(&log, log_format).context("failed to start logging")?;
        let ended = operator::run(Settings {
            agent_image,
            namespace,
            service_account,
            identity: pod_name,
            watch_namespaces,
            token_file,
            api_token_file,
            attention_url,
            leader_elect,
            concurrency,
            listen,
            logs: logs.clone(),
        })
        .await;
        let code = match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the operator failed");
                ExitCode::FAILURE
            }
        };
        // Where nobody reads the log, nobody can be told.
        logs.finish();
        Ok(code)
    }
}

/// An address that pods can post to.
fn attention_url(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("http"), Some(host)) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("it has to be `http://<host>:<port>/internal/attention`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn namespaces_are_separated_by_commas() {
        let args =
            Args::parse_from(["x", "--agent-image", "i", "--watch-namespaces", "a,b", "--leader-elect", "false"]);
        assert_eq!((args.watch_namespaces, args.leader_elect), (vec!["a".to_owned(), "b".to_owned()], false));
    }
    #[test]
    fn pods_are_told_a_whole_url_or_none() {
        let parsed = |url: &str| Args::try_parse_from(["x", "--agent-image", "i", "--attention-url", url]);
        let url = "http://astromesh-operator.astromesh-system.svc:8080/internal/attention";
        assert_eq!(parsed(url).unwrap().attention_url.as_deref(), Some(url));
        for wrong in ["", "astromesh-operator:8080", "/internal/attention", "https://x/internal/attention", "http://"] {
            let refusal = parsed(wrong).unwrap_err().to_string();
            assert!(refusal.contains("--attention-url"), "{wrong}: {refusal}");
        }
    }
}
