//! How far a watch has come. One that may not be made stops what needs it, and nothing else.

use tokio::sync::watch;

/// How far a watch has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// It has not listed anything yet.
    #[default]
    Empty,
    /// It has, and goes on.
    Filled,
    /// The operator may not list or watch the kind, in the API server's words. What was seen before is still known.
    Denied(String),
}

/// Who wants to know how far a watch has come.
#[derive(Clone, Debug)]
pub struct Filling {
    /// What is watched: the plural, as a role names it.
    pub resource: &'static str,
    state: watch::Receiver<Fill>,
}

impl Filling {
    /// How far a watch has come, and where it says so.
    #[must_use]
    pub fn new(resource: &'static str) -> (watch::Sender<Fill>, Self) {
        let (sender, state) = watch::channel(Fill::Empty);
        (sender, Self { resource, state })
    }

    /// Waits until the watch has listed everything once, or may not.
    pub async fn settled(&mut self) {
        // A watch that has ended ends the operator.
        drop(self.state.wait_for(|fill| *fill != Fill::Empty).await);
    }

    /// Why the watch may not be made, if so.
    #[must_use]
    pub fn denied(&self) -> Option<String> {
        match &*self.state.borrow() {
            Fill::Denied(message) => Some(format!("the operator may not list and watch {}: {message}", self.resource)),
            Fill::Empty | Fill::Filled => None,
        }
    }

    /// What there is now is no change.
    pub fn mark_unchanged(&mut self) {
        self.state.mark_unchanged();
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
