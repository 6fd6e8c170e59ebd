# `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := bash

CACHE := $(or $(ASTROMESH_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/astromesh)
# CI checks out afresh each time: its build lies in the cache, so that dependencies are compiled once.
export CARGO_TARGET_DIR ?= $(if $(CI),$(CACHE)/target,$(CURDIR)/target)

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.PHONY: demo
demo: ## From nothing to an answer, on a cluster (root; Rust and Go). CLUSTER=current|kind|local chooses it.
	@e2e/demo

.PHONY: run
run: ## The same quick start without a cluster and without root.
	@e2e/run

.PHONY: down
down: ## Remove the demo's cluster and model server.
	@e2e/down

.PHONY: test
test: check unit contract hostile e2e ## Everything that CI checks: format, lints, unit, integration, contract and end-to-end tests.

.PHONY: check
check: ## Format, clippy, licences and bans.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	@PATH="$$(e2e/tools/ensure cargo-deny):$$PATH" && cargo fetch --locked --quiet && cargo deny --offline --log-level error check licenses bans sources

.PHONY: unit
unit: ## Unit, property and integration tests; no cluster is needed.
	@if [[ -n $${CI:-} ]]; then trap 'e2e/llm/stop; e2e/stores/stop' EXIT; fi && \
	stores="$$(e2e/stores/start)" && export $$stores && \
	ASTROMESH_TEST_MOCK_LLM="$$(e2e/llm/mock)" && ASTROMESH_TEST_LLAMA="$$(e2e/llm/start)" && \
	export ASTROMESH_TEST_MOCK_LLM ASTROMESH_TEST_LLAMA && \
	PATH="$$(e2e/tools/ensure cargo-nextest helm):$$PATH" && cargo nextest run --locked --workspace --no-fail-fast

.PHONY: contract
contract: ## The API against its OpenAPI document and the official OpenAI client; no cluster is needed.
	cargo build --locked -p agent-pod
	@e2e/contract/run

.PHONY: hostile
hostile: ## What attackers and bad luck send, against a pod with 256 MiB and one CPU, and fuzzing. FILTER=name chooses tests.
	cargo build --locked --profile image -p agent-pod
	@PATH="$$(e2e/tools/ensure cargo-nextest):$$PATH" && AGENT_POD="$$CARGO_TARGET_DIR/image/agent-pod" \
	cargo nextest run --locked --workspace --profile hostile $(FILTER)

.PHONY: e2e
e2e: ## End-to-end tests on a cluster, with a real language model.
	@e2e/test

.PHONY: generate
generate: ## Write the custom resource definitions from their types.
	cargo run --locked -p astromesh-crds --bin crdgen

.PHONY: bench
bench: ## What calls cost in agent-pod, beside a bare proxy (some minutes). BENCH="--long --json --gate" adds options.
	cargo build --locked --release -p agent-pod -p astromesh-bench
	@"$$CARGO_TARGET_DIR/release/astromesh-bench" run --agent-pod "$$CARGO_TARGET_DIR/release/agent-pod" $(BENCH)

.PHONY: scale
scale: ## The operator with 500, 2,000 and 5,000 agents on the local cluster (root; an hour). SCALE="--agents 500" adds options.
	@e2e/scale $(SCALE)

.PHONY: cluster-up cluster-down
cluster-up: ## Bring up the local cluster alone.
	@e2e/cluster/up
cluster-down: ## Remove the local cluster alone.
	@e2e/cluster/down
