//! Manifests as text: generating the definitions, and checking objects without a cluster.

mod check;
mod excerpt;
mod generate;

pub use check::{Problem, check, without_nulls};
pub use excerpt::{excerpt, excerpt_of_lines};
pub use generate::{FOLDERS, definitions};
