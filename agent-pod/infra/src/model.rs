//! Model servers by the protocol that they speak.
//!
//! ```text
//!  ChatCompletions (OpenAI, vLLM, llama.cpp, TGI) ─┐
//!  Embeddings ────────────────────────────────────┤
//!  Ollama ────────────────────────────────────────┴► Server: headers, credential, client ─► HTTP
//! ```

pub mod chat_completions;
pub mod embeddings;
pub mod endpoint;
pub mod error;
pub mod ollama;
pub mod retry_after;
pub mod server;

mod call_ids;
mod json;
mod listing;

pub use call_ids::first_free_call;
