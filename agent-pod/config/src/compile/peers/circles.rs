//! Which agents call each other in circles: the strongly connected parts of their calls, found in one pass.

use std::collections::BTreeMap;

/// Which circle each agent is in. One that is in none is one by itself.
pub(super) struct Circles {
    /// By key.
    circles: BTreeMap<String, usize>,
    /// Whether all agents of a circle are a swarm.
    swarms: Vec<bool>,
}

/// The pass (Tarjan's), without recursion: a chain of calls may be as long as there are agents.
struct Pass<'a> {
    calls: &'a [Vec<usize>],
    /// When each was met first.
    met: Vec<Option<usize>>,
    /// The earliest that each leads back to.
    low: Vec<usize>,
    /// Those that are met and in no circle yet.
    open: Vec<usize>,
    circle: Vec<Option<usize>>,
    count: usize,
    time: usize,
}

impl Circles {
    /// From the agents, each with whether it is a swarm, and from whom each calls, by place.
    pub(super) fn of<'a>(agents: impl Iterator<Item = (&'a str, bool)>, calls: &[Vec<usize>]) -> Self {
        let count = calls.len();
        let (met, low, circle) = (vec![None; count], vec![0; count], vec![None; count]);
        let mut pass = Pass { calls, met, low, open: Vec::new(), circle, count: 0, time: 0 };
        (0..count).for_each(|agent| pass.follow(agent));
        let mut found = Self { circles: BTreeMap::new(), swarms: vec![true; pass.count] };
        for ((key, swarm), circle) in agents.zip(pass.circle) {
            let Some(circle) = circle else { continue };
            found.circles.insert(key.to_owned(), circle);
            if let Some(all) = found.swarms.get_mut(circle) {
                *all &= swarm;
            }
        }
        found
    }

    /// Whether a call closes a circle of agents that are not all a swarm.
    pub(super) fn refused(&self, caller: &str, target: &str) -> bool {
        let swarm = self.circles.get(caller).and_then(|circle| self.swarms.get(*circle));
        self.together(caller, target) && swarm != Some(&true)
    }

    /// Whether two agents are in one circle.
    pub(super) fn together(&self, one: &str, other: &str) -> bool {
        self.circles.get(one).is_some_and(|circle| self.circles.get(other) == Some(circle))
    }
}

impl Pass<'_> {
    /// Follows all calls of an agent, unless it has been met.
    fn follow(&mut self, agent: usize) {
        if self.met[agent].is_some() {
            return;
        }
        self.meet(agent);
        let mut way = vec![(agent, 0)];
        while let Some((agent, call)) = way.pop() {
            if let Some(&target) = self.calls[agent].get(call) {
                way.push((agent, call + 1));
                match self.met[target] {
                    None => {
                        self.meet(target);
                        way.push((target, 0));
                    }
                    Some(time) if self.circle[target].is_none() => self.low[agent] = self.low[agent].min(time),
                    Some(_) => {}
                }
                continue;
            }
            if self.met[agent] == Some(self.low[agent]) {
                self.close(agent);
            }
            if let Some((before, _)) = way.last() {
                self.low[*before] = self.low[*before].min(self.low[agent]);
            }
        }
    }

    fn meet(&mut self, agent: usize) {
        self.met[agent] = Some(self.time);
        self.low[agent] = self.time;
        self.time += 1;
        self.open.push(agent);
    }

    /// All that were met since are one circle.
    fn close(&mut self, agent: usize) {
        while let Some(member) = self.open.pop() {
            self.circle[member] = Some(self.count);
            if member == agent {
                break;
            }
        }
        self.count += 1;
    }
}
