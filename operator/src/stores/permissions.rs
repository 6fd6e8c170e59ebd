//! Which watches may not be made, and what that stops: what needs them, and nothing else.

use futures::future::{join_all, select_all};
use futures::{FutureExt as _, Stream, stream};

use crate::watching::Filling;

/// The watches of one scope.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    watches: Vec<Filling>,
}

/// Providers, which agents name.
pub const PROVIDERS: &str = "providers.astromesh.io";
/// ConfigMaps that agents name.
pub const TEXTS: &str = "configmaps of prompts";
/// Volumes, which few agents have.
pub const CLAIMS: &str = "persistentvolumeclaims";
/// Namespaces, whose labels decide who may use some providers.
pub const NAMESPACES: &str = "namespaces";
/// The agents themselves: without them there is nothing to say anything about.
pub const AGENTS: &str = "agents.astromesh.io";

impl Permissions {
    /// Those of these watches.
    #[must_use]
    pub fn new(watches: Vec<Filling>) -> Self {
        Self { watches }
    }

    /// Waits until every watch has listed everything once, or may not.
    pub async fn settled(&mut self) {
        join_all(self.watches.iter_mut().map(Filling::settled)).await;
    }

    /// Waits until the watches of what other scopes refer to have listed everything once, or may not.
    pub async fn settled_for_others(&mut self) {
        let shared = self.watches.iter_mut().filter(|watch| [AGENTS, PROVIDERS].contains(&watch.resource));
        join_all(shared.map(Filling::settled)).await;
    }

    /// Each change of any of them from now on, without an end.
    pub fn changes(mut self) -> impl Stream<Item = ()> + Send + 'static {
        self.watches.iter_mut().for_each(Filling::mark_unchanged);
        stream::unfold(self, |mut permissions| async move {
            select_all(permissions.watches.iter_mut().map(|watch| watch.changed().boxed())).await;
            Some(((), permissions))
        })
    }

    /// Why not all that an agent names can be seen, if so. `texts`: whether it names a ConfigMap. `labels`: whether a provider depends on
    /// the labels of its namespace, which are not known.
    #[must_use]
    pub fn to_read(&self, texts: bool, labels: bool) -> Option<String> {
        self.first(|resource| match resource {
            PROVIDERS => true,
            TEXTS => texts,
            NAMESPACES => labels,
            _ => false,
        })
    }

    /// Why not all that concerns an agent's children and pods can be seen, if so. `volume`: whether it asks for one.
    #[must_use]
    pub fn to_watch(&self, volume: bool) -> Option<String> {
        let others = [PROVIDERS, TEXTS, NAMESPACES, AGENTS];
        self.first(|resource| !others.contains(&resource) && (volume || resource != CLAIMS))
    }

    /// The resources that have not been listed, and may not be.
    #[must_use]
    pub fn denied(&self) -> Vec<&'static str> {
        self.watches.iter().filter(|watch| watch.denied().is_some()).map(|watch| watch.resource).collect()
    }

    fn first(&self, needed: impl Fn(&str) -> bool) -> Option<String> {
        self.watches.iter().filter(|watch| needed(watch.resource)).find_map(Filling::denied)
    }
}
