//! How much work a check can be, from the schema and the size of the value alone.

use serde_json::Value;

use crate::fault::{SchemaError, at};
use crate::graph::{Graph, Node};
use crate::looks::{BYTES_OF_LOOK, Looks, VALUE_HASHED};

/// The most looks at one place of a value. Twenty alternatives of which each has some more come to some hundred.
pub const VISITS_MAX: u64 = 20_000;

/// The most subschemas that lead to each other in a row: compiling and checking call themselves that often.
pub const CHAIN_MAX: usize = 512;

/// The most work of one check, in looks of some twenty to fifty nanoseconds each.
pub const CHECK_WORK_MAX: u64 = 5_000_000;

/// So many subschemas in a row are in what people write.
const CHAIN_SHORT: usize = 16;

/// The levels of a value that are told apart; no parser of ours reads more.
const LEVELS_MAX: usize = 128;

/// The levels of a value that a schema which refers to itself must be able to take in.
const LEVELS_LOADED: usize = 4;

/// What the checks of a schema cost, at each level of a value.
#[derive(Clone, Debug, Default)]
pub struct Work {
    levels: Vec<Level>,
    values: usize,
}

/// What one place of a value costs, so and so deep in it.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    looks: Looks,
    /// Subschemas in a row from the root of the value to here.
    chain: usize,
}

impl Work {
    /// Values in the schema.
    #[must_use]
    pub fn values(&self) -> usize {
        self.values
    }

    /// At most so much work is the check of this value.
    #[must_use]
    pub fn of(&self, value: &Value) -> u64 {
        self.counted(value).0
    }

    /// The work of telling what is wrong: each of the subschemas in a row first finds out whether there is anything.
    pub(crate) fn of_details(&self, value: &Value) -> u64 {
        let (work, chain) = self.counted(value);
        work.saturating_mul(u64::try_from(chain / CHAIN_SHORT).unwrap_or(u64::MAX).max(1))
    }

    /// The work, and the most subschemas in a row.
    fn counted(&self, value: &Value) -> (u64, usize) {
        // What is at each level: looking through a list with all that is in it takes the same for each of its values.
        let (mut sizes, mut work) = (Vec::new(), 0_u64);
        let mut level = vec![value];
        while !level.is_empty() {
            let depth = sizes.len();
            let here = self.levels.get(depth).copied().unwrap_or_default();
            let beneath = self.levels.get(depth + 1).copied().unwrap_or_default();
            if here.chain > CHAIN_MAX || depth >= LEVELS_MAX {
                return (u64::MAX, here.chain);
            }
            let (mut below, mut names, mut texts) = (Vec::new(), 0_u64, 0_u64);
            for value in &level {
                match value {
                    Value::Object(object) => {
                        names = object.keys().map(|name| counted(name.len())).fold(names, u64::saturating_add);
                        below.extend(object.values());
                    }
                    Value::Array(items) => below.extend(items),
                    Value::String(text) => texts = texts.saturating_add(counted(text.len())),
                    Value::Null | Value::Bool(_) | Value::Number(_) => {}
                }
            }
            // A name is looked at from its object, and as a value of its own.
            let bytes = names.saturating_add(texts).saturating_mul(here.looks.of_byte);
            let bytes = bytes.saturating_add(names.saturating_mul(beneath.looks.of_byte)) / BYTES_OF_LOOK;
            let looks = counted(level.len()).saturating_mul(here.looks.whole);
            work = work.saturating_add(looks).saturating_add(bytes);
            let size = counted(level.len()).saturating_mul(VALUE_HASHED);
            sizes.push(size.saturating_add(names.saturating_add(texts) / BYTES_OF_LOOK));
            level = below;
        }
        let chain = self.levels.iter().take(sizes.len()).map(|level| level.chain).max();
        (work.saturating_add(self.comparing(&sizes)), chain.unwrap_or_default())
    }

    /// Each list whose items must differ is read with all that is in it.
    fn comparing(&self, sizes: &[u64]) -> u64 {
        let mut within = 0_u64;
        sizes.iter().enumerate().rev().fold(0, |sum, (depth, size)| {
            within = within.saturating_add(*size);
            let times = self.levels.get(depth).map_or(0, |level| level.looks.unique);
            sum.saturating_add(within.saturating_mul(times))
        })
    }
}

/// Counts a schema.
///
/// # Errors
/// When no value, or hardly any, could be checked within bounds.
pub(crate) fn count(graph: &Graph<'_>) -> Result<Work, SchemaError> {
    let mut order = order(graph)?;
    if longest(graph) > CHAIN_MAX {
        let said = format!("more than {CHAIN_MAX} subschemas lead to each other in a row; make it flatter");
        return Err(SchemaError::TooCostly(said));
    }
    let heights = heights(graph, &order);
    let mut levels: Vec<Level> = Vec::new();
    let mut costs = vec![Cost::default(); graph.nodes.len()];
    let mut next = costs.clone();
    while levels.len() <= LEVELS_MAX {
        let first = levels.is_empty();
        for index in &order {
            next[*index] = cost(&graph.nodes[*index], &next, &costs, heights[*index], first);
        }
        // What does not lead so deep does not lead any deeper.
        order.retain(|index| {
            let goes_on = !next[*index].is_none();
            if !goes_on {
                (costs[*index], next[*index]) = (Cost::default(), Cost::default());
            }
            goes_on
        });
        if order.is_empty() {
            break;
        }
        let root = next.first().copied().unwrap_or_default();
        levels.push(Level { looks: root.looks(), chain: root.chain });
        std::mem::swap(&mut costs, &mut next);
    }
    let loaded = if order.is_empty() { levels.len() } else { LEVELS_LOADED };
    if levels.iter().take(loaded).any(|level| level.looks.whole > VISITS_MAX) {
        let worst = (0..graph.nodes.len()).max_by_key(|index| graph.nodes[*index].same.len());
        let said = format!(
            "its `allOf`, `anyOf`, `oneOf` and `$ref` multiply to more than {VISITS_MAX} looks at one place of a value; refer to a part once, and not from each part to the next twice"
        );
        return Err(SchemaError::TooCostly(at(&worst.map_or_else(String::new, |index| graph.place(index)), &said)));
    }
    Ok(Work { levels, values: graph.values })
}

/// What a look at a place costs at a number of levels below it, told apart by what the place is: it is an object or a
/// list, never both.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    in_objects: Looks,
    in_lists: Looks,
    chain: usize,
}

impl Cost {
    fn looks(&self) -> Looks {
        self.in_objects.most(self.in_lists)
    }

    fn is_none(&self) -> bool {
        self.looks().whole == 0
    }

    fn add(&mut self, other: &Self) {
        self.in_objects = self.in_objects.and(other.in_objects);
        self.in_lists = self.in_lists.and(other.in_lists);
        self.chain = self.chain.max(other.chain + 1);
    }
}

/// One level further down than `above` is for the subschemas below.
fn cost(node: &Node, same: &[Cost], above: &[Cost], height: u64, first: bool) -> Cost {
    let mut cost = Cost { chain: 1, ..Cost::default() };
    if first {
        cost = Cost { in_objects: node.looks, in_lists: node.looks, chain: 1 };
    } else {
        let looks = |index: &usize| above.get(*index).map_or_else(Looks::default, Cost::looks);
        let both = |one_of: &[usize], all_of: &[usize]| {
            let one = one_of.iter().map(looks).fold(Looks::default(), Looks::most);
            all_of.iter().map(looks).fold(one, Looks::and)
        };
        cost.in_objects = both(&node.named, &node.members);
        cost.in_lists = both(&node.placed, &node.items);
        let below = [&node.named, &node.members, &node.placed, &node.items].into_iter().flatten();
        let chain = below.filter_map(|index| above.get(*index)).map(|cost| cost.chain).max();
        cost.chain = cost.chain.max(chain.unwrap_or_default() + 1);
    }
    for index in &node.same {
        if let Some(other) = same.get(*index) {
            cost.add(other);
        }
    }
    if node.unevaluated {
        // What the others have looked at is found out by asking each of them once more, and those in them.
        let times = height.saturating_add(2);
        cost.in_objects = cost.in_objects.times(times);
        cost.in_lists = cost.in_lists.times(times);
    }
    cost
}

/// The subschemas in such an order that those which look at the same place come before those that lead to them.
fn order(graph: &Graph<'_>) -> Result<Vec<usize>, SchemaError> {
    let mut leading: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    let mut open: Vec<usize> = graph.nodes.iter().map(|node| node.same.len()).collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        node.same.iter().for_each(|to| leading[*to].push(index));
    }
    let mut order: Vec<usize> = (0..open.len()).filter(|index| open[*index] == 0).collect();
    let mut done = 0;
    while let Some(index) = order.get(done).copied() {
        done += 1;
        for from in &leading[index] {
            open[*from] -= 1;
            if open[*from] == 0 {
                order.push(*from);
            }
        }
    }
    let Some(circle) = open.iter().position(|left| *left > 0) else { return Ok(order) };
    let said = "it leads back to itself without going into the value, and would never end; put the reference below `properties` or `items`";
    Err(SchemaError::TooCostly(at(&graph.place(circle), said)))
}

/// How many subschemas are in each other at the same place.
fn heights(graph: &Graph<'_>, order: &[usize]) -> Vec<u64> {
    let mut heights = vec![1_u64; graph.nodes.len()];
    for index in order {
        let below = graph.nodes[*index].same.iter().map(|to| heights[*to]).max();
        heights[*index] = below.map_or(1, |height| height.saturating_add(1));
    }
    heights
}

/// At most so many subschemas lead to each other without one of them coming twice: those that lead to each other in a
/// circle all count.
fn longest(graph: &Graph<'_>) -> usize {
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        node.next().for_each(|to| back[to].push(index));
    }
    // Kosaraju: circles are found in the order in which nothing comes before what leads to it.
    let forth: Vec<Vec<usize>> = graph.nodes.iter().map(|node| node.next().collect()).collect();
    let mut left = vec![false; graph.nodes.len()];
    let finished: Vec<usize> = (0..forth.len()).flat_map(|start| walk(start, &forth, &mut left)).collect();
    let (mut circles, mut met) = (Vec::new(), vec![false; forth.len()]);
    for start in finished.into_iter().rev() {
        let circle = walk(start, &back, &mut met);
        if !circle.is_empty() {
            circles.push(circle);
        }
    }
    // Circles come before those that they lead to; so lengths are known from the last one on.
    let mut lengths = vec![0; forth.len()];
    for circle in circles.iter().rev() {
        let below = circle.iter().flat_map(|index| &forth[*index]).map(|to| lengths[*to]).max();
        let length = circle.len() + below.unwrap_or_default();
        circle.iter().for_each(|index| lengths[*index] = length);
    }
    lengths.into_iter().max().unwrap_or_default()
}

/// What can be reached and was not met before, each after what it leads to.
fn walk(start: usize, edges: &[Vec<usize>], met: &mut [bool]) -> Vec<usize> {
    let mut finished = Vec::new();
    if std::mem::replace(&mut met[start], true) {
        return finished;
    }
    let mut path = vec![(start, 0)];
    while let Some((index, next)) = path.pop() {
        match edges[index].get(next) {
            Some(to) => {
                path.push((index, next + 1));
                if !std::mem::replace(&mut met[*to], true) {
                    path.push((*to, 0));
                }
            }
            None => finished.push(index),
        }
    }
    finished
}

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
