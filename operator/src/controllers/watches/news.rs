//! What is news of an object, and what only a write of its status has changed.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use astromesh_crds::v1alpha1::Agent;
use kube::runtime::reflector::ObjectRef;

use super::reference;
use crate::index::{Index, References};
use crate::names::ObjectKey;
use crate::watching::{Touched, Wakes};

/// What is known of agents from what was told of them before.
#[derive(Default)]
pub(super) struct AgentNews {
    seen: Seen,
}

impl AgentNews {
    /// An agent wakes itself and all that may call it when more than its status has changed, and the providers that it names
    /// always.
    pub(super) fn wakes(&mut self, touched: &Touched<Agent>, index: &Index) -> Wakes {
        let agent = touched.object();
        let key = ObjectKey::of(agent);
        let now = References::of(agent);
        let mut wakes = Wakes::default();
        let before = match touched {
            Touched::Present(agent) => {
                let before = index.put(&key, Some(now.clone()));
                if self.seen.has_changed(agent) {
                    wakes.agents.push(ObjectRef::from_obj(agent));
                    wakes.agents.extend(callers(index, &key));
                } else if before == now {
                    return wakes;
                }
                before
            }
            Touched::Gone(agent) => {
                self.seen.forget(agent);
                wakes.agents.extend(callers(index, &key));
                index.put(&key, None)
            }
        };
        // Those that it named before have lost a user.
        let concerned: BTreeSet<_> = now.providers.iter().chain(&before.providers).collect();
        wakes.providers.extend(concerned.into_iter().map(|provider| reference(&provider.name, &provider.namespace)));
        wakes
    }
}

/// Those whose documents may say something else now that an agent has changed.
fn callers(index: &Index, key: &ObjectKey) -> impl Iterator<Item = ObjectRef<Agent>> {
    index.callers(key).into_iter().map(|caller| reference(&caller.name, &caller.namespace))
}

/// Tells changes that matter from writes of a status.
#[derive(Default)]
pub(super) struct Seen {
    hashes: HashMap<String, u64>,
}

impl Seen {
    pub(super) fn has_changed(&mut self, object: &impl kube::ResourceExt) -> bool {
        let meta = object.meta();
        let mut hasher = DefaultHasher::new();
        meta.generation.hash(&mut hasher);
        object.labels().hash(&mut hasher);
        object.annotations().hash(&mut hasher);
        meta.deletion_timestamp.is_some().hash(&mut hasher);
        let hash = hasher.finish();
        self.hashes.insert(object.uid().unwrap_or_default(), hash) != Some(hash)
    }

    pub(super) fn forget(&mut self, object: &impl kube::ResourceExt) {
        self.hashes.remove(&object.uid().unwrap_or_default());
    }
}
