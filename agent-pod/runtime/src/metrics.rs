//! The pod's metrics, in the OpenMetrics text format.
//!
//! Names that begin with `gen_ai_` are OpenTelemetry's for generative AI (semantic conventions 1.41.1), as Prometheus
//! writes them; the others are ours.

mod budgets;
mod labels;
mod memory;
mod process;

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use agent_pod_core::byte_pool::BytePool;
use agent_pod_core::error::ErrorCode;
use agent_pod_core::event::Attempt;
use agent_pod_core::model::breaker::Circuit;
use agent_pod_core::ports::{RunObserver, RunRecord};
use agent_pod_core::usage::Usage;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::registry::Registry as Agents;
use budgets::Budgets;
use labels::{
    AgentLabels, AttemptLabels, CostLabels, GuardrailLabels, ModelLabels, OperationLabels, ReloadLabels, RunLabels,
    TokenLabels, TokenUsageLabels,
};
use memory::Memory;
pub use process::Process;

/// The buckets that the semantic conventions advise for durations of operations, in seconds.
const OPERATION_SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The time that a run spends in the pod itself: from 50 µs to a second.
const OVERHEAD_SECONDS: [f64; 12] = [5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0];

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of a pod.
pub struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    duration: Seconds<AgentLabels>,
    overhead: Seconds<AgentLabels>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<CostLabels, Counter<f64, AtomicU64>>,
    attempts: Family<AttemptLabels, Counter>,
    token_usage: Seconds<TokenUsageLabels>,
    operation: Seconds<OperationLabels>,
    first_chunk: Seconds<OperationLabels>,
    circuit: Family<ModelLabels, Gauge<i64, AtomicI64>>,
    reloads: Family<ReloadLabels, Counter>,
    guardrail_hits: Family<GuardrailLabels, Counter>,
    budgets: Budgets,
    process: Process,
    in_flight: Gauge<u64, AtomicU64>,
    queued: Gauge<u64, AtomicU64>,
    memory: Memory,
    left_undone: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            runs: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 15))),
            overhead: Family::new_with_constructor(|| Histogram::new(OVERHEAD_SECONDS)),
            tokens: Family::default(),
            cost: Family::default(),
            attempts: Family::default(),
            token_usage: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 4.0, 14))),
            operation: Family::new_with_constructor(|| Histogram::new(OPERATION_SECONDS)),
            first_chunk: Family::new_with_constructor(|| Histogram::new(OPERATION_SECONDS)),
            circuit: Family::default(),
            reloads: Family::default(),
            guardrail_hits: Family::default(),
            budgets: Budgets::default(),
            process: Process::default(),
            in_flight: Gauge::default(),
            queued: Gauge::default(),
            memory: Memory::default(),
            left_undone: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let gen_ai = self.registry.sub_registry_with_prefix("gen_ai_client");
        gen_ai.register("token_usage", "Tokens of a model call", self.token_usage.clone());
        let help = "Length of a model call";
        gen_ai.register_with_unit("operation_duration", help, Unit::Seconds, self.operation.clone());
        let help = "Time of a model call to its first content";
        gen_ai.register_with_unit("operation_time_to_first_chunk", help, Unit::Seconds, self.first_chunk.clone());
        let own = self.registry.sub_registry_with_prefix("astromesh");
        own.register("agent_runs", "Runs that have ended, by outcome", self.runs.clone());
        own.register_with_unit("agent_run_duration", "Length of runs", Unit::Seconds, self.duration.clone());
        let help = "Time of runs outside of model calls";
        own.register_with_unit("agent_run_overhead", help, Unit::Seconds, self.overhead.clone());
        own.register("agent_runs_in_flight", "Runs under way", self.in_flight.clone());
        own.register("agent_runs_queued", "Runs that wait for a place", self.queued.clone());
        let help = "Runs that left undone what they had left to remember, because too much was under way";
        own.register("memory_afterwork_dropped", help, self.left_undone.clone());
        own.register("gen_ai_client_tokens", "Tokens that models were sent and made", self.tokens.clone());
        own.register("gen_ai_client_cost_usd", "Cost of model calls by the prices of the Providers", self.cost.clone());
        own.register("provider_attempts", "Tries of models, by outcome", self.attempts.clone());
        let help = "State of a model's circuit: 0 closed, 1 half open, 2 open";
        own.register("provider_circuit_state", help, self.circuit.clone());
        own.register("guardrail_hits", "What guardrails found", self.guardrail_hits.clone());
        self.budgets.register(own);
        self.memory.register(own);
        self.process.register(own);
        own.register("config_reloads", "Documents that were loaded or refused", self.reloads.clone());
    }

    /// What the process itself is doing.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Counts a document that was loaded, or refused.
    pub fn reloaded(&self, loaded: bool) {
        let result = if loaded { "loaded" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// The metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self, agents: &Agents) -> String {
        self.measure(agents);
        self.text()
    }

    /// Looks at what is measured only when somebody asks.
    fn measure(&self, agents: &Agents) {
        self.in_flight.set(agents.in_flight());
        self.queued.set(agents.queued());
        self.memory.measure(BytePool::of_process().report());
        self.left_undone.inner().store(agents.left_undone(), std::sync::atomic::Ordering::Relaxed);
        self.budgets.measure(agents.snapshot().iter().flat_map(|snapshot| snapshot.entries.values()));
        // Models that nobody uses any more are forgotten.
        self.circuit.clear();
        for model in agents.snapshot().iter().flat_map(|snapshot| &snapshot.models) {
            let labels = ModelLabels {
                namespace: model.namespace.clone(),
                provider: model.provider.clone(),
                model: model.model.clone(),
            };
            self.circuit.get_or_create(&labels).set(match model.state.report().circuit {
                Circuit::Closed => 0,
                Circuit::HalfOpen => 1,
                Circuit::Open => 2,
            });
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(cause = %error, "metrics could not be written");
        }
        text
    }

    fn attempted(&self, attempt: &Attempt) {
        let Attempt { provider, model, outcome, measures, .. } = attempt;
        let outcome = *outcome;
        let labels = AttemptLabels { provider: provider.clone(), model: model.clone(), outcome };
        self.attempts.get_or_create(&labels).inc();
        let labels = OperationLabels {
            gen_ai_operation_name: labels::CHAT,
            gen_ai_provider_name: provider.clone(),
            gen_ai_request_model: model.clone(),
            error_type: (outcome != "ok").then_some(outcome),
        };
        self.operation.get_or_create(&labels).observe(measures.duration.as_secs_f64());
        if let Some(first) = measures.first {
            self.first_chunk.get_or_create(&labels).observe(first.as_secs_f64());
            for (gen_ai_token_type, count) in [("input", measures.tokens.input), ("output", measures.tokens.output)] {
                let labels = TokenUsageLabels {
                    gen_ai_operation_name: labels::CHAT,
                    gen_ai_provider_name: provider.clone(),
                    gen_ai_request_model: model.clone(),
                    gen_ai_token_type,
                };
                self.token_usage.get_or_create(&labels).observe(approximate(count));
            }
        }
    }
}

impl RunObserver for Metrics {
    fn finished(&self, record: &RunRecord<'_>) {
        let outcome = self.process.outcome(record.outcome);
        tracing::info!(
            agent = record.agent,
            run_id = record.run_id,
            trace_id = record.trace_id,
            outcome,
            tokens_in = record.usage.tokens_in,
            tokens_out = record.usage.tokens_out,
            cost = %record.usage.cost,
            duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            "run ended"
        );
        let agent = AgentLabels { agent: record.agent.to_owned() };
        self.runs.get_or_create(&RunLabels { agent: record.agent.to_owned(), outcome }).inc();
        self.duration.get_or_create(&agent).observe(record.duration.as_secs_f64());
        let in_models: Duration = record.attempts.iter().map(|attempt| attempt.measures.duration).sum();
        self.overhead.get_or_create(&agent).observe(record.duration.saturating_sub(in_models).as_secs_f64());
        if record.outcome == ErrorCode::BudgetExceeded.as_str() {
            self.budgets.refused(record.agent);
        }
        for hit in record.guardrail_hits {
            let labels = GuardrailLabels {
                agent: record.agent.to_owned(),
                direction: hit.direction.as_str(),
                r#type: hit.kind.as_str(),
                action: hit.action.as_str(),
            };
            self.guardrail_hits.get_or_create(&labels).inc();
        }
        self.used(record.agent, record.usage, record.attempts);
    }

    fn used(&self, agent: &str, usage: &Usage, attempts: &[Attempt]) {
        attempts.iter().for_each(|attempt| self.attempted(attempt));
        for used in &usage.by_model {
            let counts = [("input", used.tokens_in), ("output", used.tokens_out), ("cached_input", used.tokens_cached)];
            for (gen_ai_token_type, count) in counts {
                let labels = TokenLabels {
                    gen_ai_agent_name: agent.to_owned(),
                    gen_ai_operation_name: labels::CHAT,
                    gen_ai_provider_name: used.provider.clone(),
                    gen_ai_request_model: used.model.clone(),
                    gen_ai_token_type,
                };
                self.tokens.get_or_create(&labels).inc_by(count);
            }
            let labels = CostLabels {
                agent: agent.to_owned(),
                provider: used.provider.clone(),
                model: used.model.clone(),
                role: used.role.clone(),
            };
            self.cost.get_or_create(&labels).inc_by(used.cost.as_f64());
        }
    }
}

/// Token counts are far below the 2^53 up to which this is exact.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn approximate(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use agent_pod_core::guardrail::{Action, Direction, Hit, Kind};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use agent_pod_core::event::Measures;
    use agent_pod_core::model::breaker::BreakerSettings;
    use agent_pod_core::model::router::ModelState;
    use agent_pod_core::money::Money;
    use agent_pod_core::usage::{Call, Tokens, Usage};
    use agent_pod_infra::access::NoVerifier;

    use super::*;
    use crate::registry::{ModelEntry, Snapshot};

    /// A pod in which everything has happened once: metrics that nothing has been measured of are not written.
    fn seen() -> (Metrics, Agents) {
        let metrics = Metrics::default();
        metrics.reloaded(true);
        metrics.budgets.refused("support");
        metrics.process.opened("api");
        metrics.process.cut("api", "silent");
        let measures = Measures { first: Some(Duration::from_millis(5)), ..Measures::default() };
        let attempt = Attempt {
            provider: "openai".into(),
            model: "m".into(),
            outcome: "ok",
            message: None,
            duration_ms: 9,
            time_to_first_token_ms: Some(5),
            measures,
        };
        let mut usage = Usage::default();
        let (tokens, cost) = (Tokens::default(), Money::default());
        usage.add(Call { provider: "openai", model: "m", role: "default", tokens, cost, estimated: false });
        metrics.finished(&RunRecord {
            agent: "support",
            run_id: "r",
            trace_id: "t",
            outcome: "ok",
            usage: &usage,
            attempts: &[attempt],
            guardrail_hits: &[Hit {
                direction: Direction::Input,
                kind: Kind::TopicFilter,
                action: Action::Block,
                reason: "topic".to_owned(),
            }],
            duration: Duration::from_millis(10),
        });
        let agents = Agents::new(Box::new(NoVerifier));
        let breaker = BreakerSettings { failures_max: 3, cooldown: Duration::from_secs(60) };
        let model = ModelEntry {
            provider: "openai".into(),
            namespace: "shop".into(),
            model: "m".into(),
            state: Arc::new(ModelState::new(breaker)),
        };
        agents.swap(Snapshot {
            revision: String::new(),
            loaded_at: String::new(),
            entries: BTreeMap::new(),
            models: vec![model],
            endpoints: Vec::new(),
            drain_timeout: Duration::ZERO,
            endpoint_delay: Duration::ZERO,
        });
        (metrics, agents)
    }

    #[test]
    fn the_reference_lists_every_metric_as_it_is() {
        let (metrics, agents) = seen();
        metrics.measure(&agents);
        metrics.budgets.used("support", ("tokens", 1, 4));
        let text = metrics.text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let known: BTreeSet<String> = types
            .map(|(name, kind)| format!("{name}{} {kind}", if kind == "counter" { "_total" } else { "" }))
            .collect();
        let page = include_str!("../../../docs/reference/metrics.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let documented: BTreeSet<String> =
            rows.map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap_or_default())).collect();
        assert_eq!(documented, known);
    }
}
