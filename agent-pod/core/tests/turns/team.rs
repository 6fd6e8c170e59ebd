//! Agents that call each other within one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use agent_pod_core::agent::Agent;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::TurnRequest;
use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{ModelError, ModelEvent};
use agent_pod_core::pattern::{Pattern, Swarm};
use agent_pod_core::peer::{Peer, Target};
use agent_pod_core::service::{Run, RunOptions};
use agent_pod_core::testing::Scripted;
use agent_pod_core::tool::{AgentTool, Arguments, Limits, Permissions, Registered, Tool as _, ToolKind, ToolSet};
use agent_pod_core::usage::Tokens;
use async_trait::async_trait;
use serde_json::json;

use crate::fixture::Fixture;

pub(crate) type Reply = Result<Vec<Scripted>, ModelError>;

/// A reply that asks for an agent, and has used 10 tokens in and 1 out.
pub(crate) fn calls(asked: &[(&str, &str)]) -> Reply {
    let call = |(index, (name, query)): (usize, &(&str, &str))| {
        let call =
            ToolCall { id: format!("call_{index}"), name: (*name).to_owned(), arguments: json!({"query": query}) };
        Scripted::Event(ModelEvent::ToolCall(call))
    };
    Ok(asked.iter().enumerate().map(call).chain([used()]).collect())
}

/// A reply of this text that has used 10 tokens in and 1 out.
pub(crate) fn says(text: &str) -> Reply {
    Ok(vec![Scripted::Event(ModelEvent::Content(text.to_owned())), used()])
}

fn used() -> Scripted {
    Scripted::Event(ModelEvent::Tokens(Tokens { input: 10, output: 1, cached: 0 }))
}

/// The agents of a test by name, and what they were asked.
#[derive(Default)]
pub(crate) struct Team {
    agents: Mutex<BTreeMap<String, Arc<Agent>>>,
    pub(crate) asked: Mutex<Vec<(String, TurnRequest, RunOptions)>>,
}

/// One of them: found when it is called, so that they can call each other.
struct Member {
    team: Weak<Team>,
    name: String,
}

#[async_trait]
impl Peer for Member {
    async fn start(&self, request: TurnRequest, options: RunOptions) -> Result<Run, RunError> {
        let team = self.team.upgrade().unwrap();
        team.asked.lock().unwrap().push((self.name.clone(), request.clone(), options.clone()));
        let found = team.agents.lock().unwrap().get(&self.name).cloned();
        let agent = found.ok_or_else(|| RunError::new(ErrorCode::AgentNotFound, "there is no such agent"))?;
        Ok(agent.start(request, options, ()))
    }
}

impl Team {
    pub(crate) fn target(self: &Arc<Self>, name: &str) -> Target {
        let port = Arc::new(Member { team: Arc::downgrade(self), name: name.to_owned() });
        Target { namespace: "shop".to_owned(), name: name.to_owned(), port }
    }

    /// Hands the conversation over at most so often, to these.
    pub(crate) fn swarm(self: &Arc<Self>, handoffs_max: u32, names: &[&str]) -> Pattern {
        let peer = |name: &&str| (format!("shop/{name}"), self.target(name));
        Pattern::Swarm(Arc::new(Swarm { iterations_max: 5, handoffs_max, peers: names.iter().map(peer).collect() }))
    }

    /// The tools that are these agents, each under its own name or as `tool=agent`.
    pub(crate) fn tools(self: &Arc<Self>, names: &[&str], hands_over: bool) -> ToolSet {
        let tool = |name: &&str| {
            let (name, agent) = name.split_once('=').unwrap_or((name, name));
            let tool = AgentTool::new(name, None, self.target(agent));
            let port = Arc::new(if hands_over { tool.hands_over() } else { tool });
            let spec = port.spec();
            Arc::new(Registered {
                arguments: Arguments::compile(&spec.parameters).unwrap(),
                spec,
                kind: ToolKind::Agent,
                rate: None,
                timeout: std::time::Duration::from_secs(30),
                approval: None,
                port: Some(port),
                state: Arc::default(),
            })
        };
        ToolSet::configured(names.iter().map(tool), Permissions::default(), Limits::default())
    }

    /// An agent of the team, with the tools that are these agents.
    pub(crate) fn join(self: &Arc<Self>, name: &str, fixture: Fixture, tools: &[&str]) -> Arc<Agent> {
        let hands_over = matches!(fixture.agent().pattern, Pattern::Swarm(_));
        let fixture = if tools.is_empty() { fixture } else { fixture.tool_set(self.tools(tools, hands_over)) };
        self.add(name, fixture.agent())
    }

    pub(crate) fn add(&self, name: &str, mut agent: Arc<Agent>) -> Arc<Agent> {
        let own = Arc::get_mut(&mut agent).unwrap();
        name.clone_into(&mut own.name);
        self.agents.lock().unwrap().insert(name.to_owned(), Arc::clone(&agent));
        agent
    }

    /// Which agents were called, in order.
    pub(crate) fn called(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(name, ..)| name.clone()).collect()
    }
}
