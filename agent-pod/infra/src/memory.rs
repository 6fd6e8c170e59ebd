//! Stores of conversations by where they keep them.

pub mod in_process;

pub use in_process::InProcessStore;
