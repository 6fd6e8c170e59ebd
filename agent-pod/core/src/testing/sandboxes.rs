//! A sandbox in this process.

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;

use crate::prompt::PromptError;
use crate::sandbox::{Received, Rendering, Sandbox};

/// Renders on a thread of its own with a large stack. It bounds nothing else, so it is for templates of tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadSandbox;

#[async_trait]
impl Sandbox for ThreadSandbox {
    async fn render(&self, rendering: &Rendering<'_>, _deadline: Instant) -> Result<String, PromptError> {
        let received: Received = serde_json::from_value(json!(rendering)).expect("a rendering is read back");
        let thread = std::thread::Builder::new().stack_size(256 * 1024 * 1024);
        let thread = thread.spawn(|| received.render()).expect("there are threads");
        thread.join().expect("a rendering does not panic")
    }
}
