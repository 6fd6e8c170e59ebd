//! The pod's metrics, in the OpenMetrics text format.

use std::sync::atomic::AtomicU64;

use agent_pod_core::ports::{RunObserver, RunRecord};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a run. `outcome` is from a closed set: `ok`, `cancelled`, or an error code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    agent: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    agent: String,
}

/// Names are OpenTelemetry's for generative AI (semantic conventions 1.41.1), as Prometheus writes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    gen_ai_agent_name: String,
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

/// All metrics of a pod.
pub struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    duration: Family<AgentLabels, Histogram>,
    tokens: Family<TokenLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    in_flight: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("astromesh");
        let runs = Family::<RunLabels, Counter>::default();
        registry.register("agent_runs", "Runs that have ended, by outcome", runs.clone());
        let duration = Family::<AgentLabels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.01, 2.0, 15))
        });
        registry.register("agent_run_duration_seconds", "Length of runs", duration.clone());
        let tokens = Family::<TokenLabels, Counter>::default();
        registry.register("gen_ai_client_tokens", "Tokens that models were sent and made", tokens.clone());
        let reloads = Family::<ReloadLabels, Counter>::default();
        registry.register("config_reloads", "Documents that were loaded or refused", reloads.clone());
        let in_flight = Gauge::<u64, AtomicU64>::default();
        registry.register("agent_runs_in_flight", "Runs under way", in_flight.clone());
        Self { registry, runs, duration, tokens, reloads, in_flight }
    }
}

impl Metrics {
    /// Counts a document that was loaded, or refused.
    pub fn reloaded(&self, loaded: bool) {
        let result = if loaded { "loaded" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// The metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self, in_flight: u64) -> String {
        self.in_flight.set(in_flight);
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(cause = %error, "metrics could not be written");
        }
        text
    }
}

impl RunObserver for Metrics {
    fn finished(&self, record: &RunRecord<'_>) {
        tracing::info!(
            agent = record.agent,
            run_id = record.run_id,
            trace_id = record.trace_id,
            outcome = record.outcome,
            tokens_in = record.usage.tokens_in,
            tokens_out = record.usage.tokens_out,
            duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            "run ended"
        );
        let agent = record.agent.to_owned();
        self.runs.get_or_create(&RunLabels { agent: agent.clone(), outcome: record.outcome }).inc();
        self.duration.get_or_create(&AgentLabels { agent: agent.clone() }).observe(record.duration.as_secs_f64());
        for used in &record.usage.by_model {
            for (gen_ai_token_type, count) in [("input", used.tokens_in), ("output", used.tokens_out)] {
                let labels = TokenLabels {
                    gen_ai_agent_name: agent.clone(),
                    gen_ai_operation_name: "chat",
                    gen_ai_provider_name: used.provider.clone(),
                    gen_ai_request_model: used.model.clone(),
                    gen_ai_token_type,
                };
                self.tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }
}
