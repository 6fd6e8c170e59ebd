//! Tools that the runtime carries out itself, without any I/O of its own.

mod cache;
mod calculator;
mod datetime;
mod summarize;
mod transform;

pub use cache::Cache;
pub use calculator::Calculator;
pub use datetime::DatetimeNow;
pub use summarize::TextSummarize;
pub use transform::JsonTransform;
