//! Model servers by the protocol that they speak.

pub mod chat_completions;
