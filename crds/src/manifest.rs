//! Manifests as text: generating the definitions, and checking objects without a cluster.

mod check;
mod generate;

pub use check::{Problem, check, without_nulls};
pub use generate::{FOLDERS, definitions};
