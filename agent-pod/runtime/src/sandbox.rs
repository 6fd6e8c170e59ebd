//! Where templates are rendered that are not small work.

use std::path::Path;
use std::sync::Arc;

use agent_pod_core::sandbox::Sandbox;
use agent_pod_infra::sandbox::ChildSandbox;

pub use agent_pod_infra::sandbox::render_one;

/// One for each kind of writer, so that callers do not take the places of the agents' own prompts.
#[derive(Clone)]
pub struct Sandboxes {
    pub(crate) prompts: Arc<dyn Sandbox>,
    pub(crate) tools: Arc<dyn Sandbox>,
}

impl Sandboxes {
    /// Processes of this program, which calls [`render_one`] when it is given these arguments.
    #[must_use]
    pub fn processes(program: &Path, arguments: &[&str]) -> Self {
        let sandbox = || Arc::new(ChildSandbox::new(program, arguments)) as Arc<dyn Sandbox>;
        Self { prompts: sandbox(), tools: sandbox() }
    }
}
