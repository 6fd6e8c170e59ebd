//! Agents that agents call: whether they are there, let their callers in, and call each other in no circle.

mod circles;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use astromesh_crds::v1alpha1::{AccessMode, Agent, AgentRef, AgentTool, Pattern};
use kube::ResourceExt as _;

use self::circles::Circles;
use super::agent::Compiler;
use super::{AGENT_SUFFIX, ObjectId, ProblemKind, Resources, namespace};
use crate::document::{HandoffsDocument, PeerDocument, ToolByDocument};

/// How often a swarm hands the conversation over in one turn, where nothing else is said.
const HANDOFFS_MAX: u32 = 3;

/// The most agents that a swarm's agent gets to: each of a swarm holds all of them.
const PEERS_MAX: usize = 100;

/// The most agents that are looked at for a way to show.
const WAY_AGENTS_MAX: usize = 100;

/// Every agent that is known, by `namespace/name`.
pub(super) struct Peers<'a> {
    known: BTreeMap<String, &'a Agent>,
    /// Those that the document serves itself.
    hosted: BTreeSet<String>,
    circles: OnceCell<Circles>,
}

impl<'a> Peers<'a> {
    pub(super) fn of(resources: Resources<'a>) -> Self {
        let hosted = resources.agents.iter().map(|agent| key_of(agent)).collect();
        let all = resources.peers.iter().chain(resources.agents);
        Self { known: all.map(|agent| (key_of(agent), *agent)).collect(), hosted, circles: OnceCell::new() }
    }

    /// Who carries out a tool that is an agent, and what that agent says of itself.
    pub(super) fn tool(
        &self,
        compiler: &mut Compiler,
        path: &str,
        tool: Option<&AgentTool>,
    ) -> Option<(ToolByDocument, Option<String>)> {
        let Some(tool) = tool else {
            compiler.invalid(&format!("{path}.agent"), "is required with type agent".to_owned());
            return None;
        };
        let reference = &tool.agent_ref;
        match self.target(&compiler.id, reference) {
            Ok(target) => {
                let (namespace, name) = (namespace(target), target.name_any());
                let url = self.url(target);
                let description = target.spec.identity.as_ref().and_then(|identity| identity.description.clone());
                let caller = self.known.get(&key(&compiler.id.namespace, &compiler.id.name));
                let handoff = caller.is_some_and(|caller| is_swarm(caller));
                Some((ToolByDocument::Agent { namespace, name, url, handoff }, description))
            }
            Err((field, message, kind)) => {
                compiler.problem(&format!("{path}.agent.agentRef.{field}"), message, kind);
                None
            }
        }
    }

    /// How a swarm's agent hands the conversation over: to those that it names, and over those of them that are a swarm to
    /// those that they name. Whoever does not let it in cannot be got to, because it takes the conversation to each.
    pub(super) fn handoffs(&self, compiler: &mut Compiler, agent: &Agent) -> Option<HandoffsDocument> {
        if !is_swarm(agent) {
            return None;
        }
        let (own, caller) = (key_of(agent), super::agent_id(agent));
        let mut peers = BTreeMap::new();
        let mut open: Vec<String> = self.named_by(&own).collect();
        while let Some(next) = open.pop() {
            let Some(target) = self.known.get(&next).filter(|target| lets_in(target, &caller)) else { continue };
            if next == own || peers.contains_key(&next) {
                continue;
            }
            if peers.len() == PEERS_MAX {
                let message = format!(
                    "a swarm gets to at most {PEERS_MAX} agents, over others of a swarm too; let them name fewer"
                );
                compiler.invalid("spec.orchestration.pattern", message);
                break;
            }
            if is_swarm(target) {
                open.extend(self.named_by(&next));
            }
            let peer = PeerDocument { namespace: namespace(*target), name: target.name_any(), url: self.url(target) };
            peers.insert(next, peer);
        }
        Some(HandoffsDocument { max: agent.spec.orchestration.max_handoffs.unwrap_or(HANDOFFS_MAX), peers })
    }

    /// The base URL of an agent's API; none for one that the document holds too.
    fn url(&self, target: &Agent) -> Option<String> {
        let remote = !self.hosted.contains(&key_of(target));
        remote.then(|| format!("http://{}{AGENT_SUFFIX}.{}.svc", target.name_any(), namespace(target)))
    }

    /// The agent that a reference of `caller` names, if it may be called.
    fn target(
        &self,
        caller: &ObjectId,
        reference: &AgentRef,
    ) -> Result<&'a Agent, (&'static str, String, ProblemKind)> {
        let name = &reference.name;
        let within = reference.namespace.as_ref().unwrap_or(&caller.namespace);
        let Some(target) = self.known.get(&key(within, name)) else {
            let mut message = format!("there is no Agent `{name}` in namespace `{within}`");
            if *within != caller.namespace {
                message.push_str(", or that namespace is not watched from here");
            }
            return Err(("name", message, ProblemKind::AgentNotFound));
        };
        if !lets_in(target, caller) {
            let message = format!(
                "Agent `{name}` of namespace `{within}` does not let the service account `{}{AGENT_SUFFIX}` of \
                 namespace `{}` in; its spec.access.allowed would",
                caller.name, caller.namespace
            );
            return Err(("name", message, ProblemKind::RefNotPermitted));
        }
        if let Some(circle) = self.circle(caller, target) {
            let message = format!(
                "agents call each other in a circle ({circle}); remove one of the calls, or make each of them a swarm"
            );
            return Err(("name", message, ProblemKind::ReferenceCycle));
        }
        Ok(target)
    }

    /// The way from `caller` through `target` back to it, if there is one and not all agents on such ways are a swarm.
    fn circle(&self, caller: &ObjectId, target: &Agent) -> Option<String> {
        let (start, next) = (key(&caller.namespace, &caller.name), key_of(target));
        if !self.circles().refused(&start, &next) {
            return None;
        }
        let way = self.way(&next, &start).unwrap_or_else(|| vec![next, "…".to_owned(), start.clone()]);
        let names = std::iter::once(&start).chain(&way).map(|key| key.rsplit('/').next().unwrap_or(key));
        Some(names.collect::<Vec<_>>().join(" → "))
    }

    /// Found once for all agents.
    fn circles(&self) -> &Circles {
        self.circles.get_or_init(|| {
            let agents: Vec<&String> = self.known.keys().collect();
            let places: BTreeMap<&String, usize> =
                agents.iter().enumerate().map(|(place, key)| (*key, place)).collect();
            let calls =
                agents.iter().map(|key| self.named_by(key).filter_map(|key| places.get(&key).copied()).collect());
            let calls: Vec<Vec<usize>> = calls.collect();
            Circles::of(self.known.iter().map(|(key, agent)| (key.as_str(), is_swarm(agent))), &calls)
        })
    }

    /// The agents that one names, by key; those that do not exist are left out.
    fn named_by<'b>(&'b self, key: &str) -> impl Iterator<Item = String> + 'b {
        self.known.get(key).into_iter().flat_map(|agent| agents_of(agent)).filter(|key| self.known.contains_key(key))
    }

    /// A shortest way between two agents, both included. None where it is not among the first places to look.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut open = VecDeque::from([vec![from.to_owned()]]);
        while let Some(way) = open.pop_front() {
            let last = way.last()?;
            if last == to {
                return Some(way);
            }
            for next in self.named_by(last).filter(|next| self.circles().together(next, to)) {
                if seen.len() < WAY_AGENTS_MAX && seen.insert(next.clone()) {
                    open.push_back(way.iter().cloned().chain([next]).collect());
                }
            }
        }
        None
    }
}

/// The agents that an agent names as tools, each as `namespace/name`.
pub fn agents_of(agent: &Agent) -> impl Iterator<Item = String> {
    let own = namespace(agent);
    let references = agent.spec.tools.iter().filter_map(|tool| tool.agent.as_ref()).map(|tool| &tool.agent_ref);
    references.map(move |reference| key(reference.namespace.as_ref().unwrap_or(&own), &reference.name))
}

fn is_swarm(agent: &Agent) -> bool {
    agent.spec.orchestration.pattern == Pattern::Swarm
}

/// Whether an agent's access lets the service account of another agent in.
pub(super) fn lets_in(target: &Agent, caller: &ObjectId) -> bool {
    let own = namespace(target);
    let Some(access) = &target.spec.access else { return own == caller.namespace };
    let account = format!("{}{AGENT_SUFFIX}", caller.name);
    match access.mode {
        AccessMode::None => true,
        AccessMode::ServiceAccount if access.allowed.is_empty() => own == caller.namespace,
        AccessMode::ServiceAccount => access.allowed.iter().any(|allowed| {
            allowed.namespace.as_ref().unwrap_or(&own) == &caller.namespace
                && allowed.service_account.as_ref().is_none_or(|name| *name == account)
        }),
    }
}

fn key_of(agent: &Agent) -> String {
    key(&namespace(agent), &agent.name_any())
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}
