//! The adapters: what the ports of `agent-pod-core` mean outside of this process.
//!
//! ```text
//!  model::Model ◄─────────── ChatCompletions ─► HTTP, server-sent events ─► a model server
//!  peer::Peer ◄───────────── Remote ──────────► HTTP ─► an agent of another pod
//!  memory::ConversationStore ◄ InProcessStore, SqliteStore, RedisStore, PostgresStore ─► their servers
//!  budget::BudgetStore ◄──── RedisBudgets, PostgresBudgets ─► the same servers
//!  memory::episode, memory::semantic ◄ SQLite, PostgreSQL
//!  embedding::Embedder ◄──── Embeddings ──────► HTTP ─► a model server
//!  access::TokenVerifier ◄── JwksVerifier ◄──── the cluster's public keys
//!  ports::Environment ◄───── SystemEnvironment
//!  sandbox::Sandbox ◄─────── ChildSandbox ────► pipes ─► this program once more, confined
//!                            Teller ────────► HTTP ─► the operator's replicas
//!                            SecretStore ◄───── mounted files, or values set in memory
//! ```
//!
//! **Invariants**
//! - Settings are plain values; this crate does not know the document.
//! - Translations from and to a wire are pure functions with golden files; only the files that send open sockets.
//! - Every body, event and wait has a bound, named by a constant next to its use.
//! - No credential is in a `Debug` text, a log line or an error.
//! - Nothing is spawned but the keepers of leases, which end with their locks, and settlements and sweeps of budgets, whose tries
//!   are bounded. Nothing process-wide is installed: TLS needs the binary to have installed the rustls provider.

pub mod model;

pub mod http;
pub mod peer;
pub mod secret;
pub mod tool;

pub mod access;
pub mod attention;
pub mod memory;

pub mod child;
pub mod environment;
pub mod sandbox;
