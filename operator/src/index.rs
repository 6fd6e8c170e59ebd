//! Who refers to what: from an object to those that name it, without looking at all agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use astromesh_crds::v1alpha1::Agent;

use crate::names::{ObjectKey, agents_named_by, config_map_of, providers_of};

/// What an agent names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Providers, in every role, in order.
    pub providers: Box<[ObjectKey]>,
    /// Agents, as tools, in order.
    pub agents: Box<[ObjectKey]>,
    /// The ConfigMap of its prompt.
    pub config_map: Option<ObjectKey>,
}

impl References {
    /// What an agent names.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        Self {
            providers: providers_of(agent).into_iter().collect(),
            agents: agents_named_by(agent).into_iter().collect(),
            config_map: config_map_of(agent).map(|(config_map, _)| config_map),
        }
    }
}

/// The references of all agents, of every scope.
#[derive(Debug, Default)]
pub struct Index {
    all: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    named: BTreeMap<ObjectKey, References>,
    by_provider: Reverse,
    by_agent: Reverse,
    by_config_map: Reverse,
}

/// From what is named to those that name it.
#[derive(Debug, Default)]
struct Reverse(BTreeMap<ObjectKey, BTreeSet<ObjectKey>>);

impl Reverse {
    fn change<'a>(
        &mut self,
        agent: &ObjectKey,
        before: impl IntoIterator<Item = &'a ObjectKey>,
        after: impl IntoIterator<Item = &'a ObjectKey>,
    ) {
        for named in before {
            if let Some(naming) = self.0.get_mut(named) {
                naming.remove(agent);
                if naming.is_empty() {
                    self.0.remove(named);
                }
            }
        }
        for named in after {
            self.0.entry(named.clone()).or_default().insert(agent.clone());
        }
    }

    fn of(&self, named: &ObjectKey) -> Vec<ObjectKey> {
        self.0.get(named).into_iter().flatten().cloned().collect()
    }
}

impl Index {
    /// Notes what an agent names now, or that it is gone. Returns what it named before.
    pub fn put(&self, agent: &ObjectKey, after: Option<References>) -> References {
        let mut maps = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let before = match &after {
            Some(after) => maps.named.insert(agent.clone(), after.clone()),
            None => maps.named.remove(agent),
        }
        .unwrap_or_default();
        let after = after.unwrap_or_default();
        if before != after {
            maps.by_provider.change(agent, &before.providers, &after.providers);
            maps.by_agent.change(agent, &before.agents, &after.agents);
            maps.by_config_map.change(agent, &before.config_map, &after.config_map);
        }
        before
    }

    /// The agents that name a provider, in order, whether or not they may.
    #[must_use]
    pub fn naming(&self, provider: &ObjectKey) -> Vec<ObjectKey> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).by_provider.of(provider)
    }

    /// The agents that read a ConfigMap, in order.
    #[must_use]
    pub fn reading(&self, config_map: &ObjectKey) -> Vec<ObjectKey> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).by_config_map.of(config_map)
    }

    /// The agents that may call an agent, directly or through others, in order; itself is not among them.
    #[must_use]
    pub fn callers(&self, agent: &ObjectKey) -> Vec<ObjectKey> {
        let maps = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeSet::new();
        let mut open = vec![agent.clone()];
        while let Some(called) = open.pop() {
            open.extend(maps.by_agent.of(&called).into_iter().filter(|caller| found.insert(caller.clone())));
        }
        found.remove(agent);
        found.into_iter().collect()
    }
}
