//! A schema as a graph: which subschemas look at the same place of a value, and which at the places below it.

mod names;
mod place;

use std::collections::HashMap;

use serde_json::{Map, Value};

use self::names::{Names, Target};
use self::place::{Place, told};
use crate::clip;
use crate::fault::{SchemaError, at};
use crate::looks::{Looks, compared, looked_up, names};
use crate::pattern;

/// The most values in a schema, all of its objects, lists, names and numbers together. A compiled one takes some
/// hundred bytes for each.
pub const VALUES_MAX: usize = 10_000;

/// The most values in all schemas of an agent, or of a caller's tools. Parameters of a tool have some twenty to two hundred.
pub const ALL_VALUES_MAX: usize = 20_000;

/// The most bytes of the texts in a schema, descriptions included.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// The most levels of a schema; a property in a property are four.
pub const DEPTH_MAX: usize = 64;

/// The most states of all patterns of a schema together: compiled they take about two milliseconds and a megabyte.
pub const PATTERN_STATES_MAX: u64 = 20_000;

/// The most ways from one subschema to another. Each value of a schema has one that leads there, and each reference one;
/// more are only where a name has several meanings.
const EDGES_MAX: usize = 2 * VALUES_MAX;

/// What one comparison of a number with `multipleOf` costs: up to some ten microseconds, for a division without loss of huge numbers.
const MULTIPLE_WEIGHT: u64 = 256;

/// The most characters of a pattern in the words about it.
const PATTERN_CHARS_MAX: usize = 100;

/// The most bytes that are gone through to read the patterns of a schema: some ten milliseconds.
const PATTERN_READING_MAX: u64 = 100_000;

/// So many bytes of patterns count as a value of a schema.
const READING_OF_VALUE: u64 = 50;

/// The subschemas that are reached from the root, which is the first.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    pub(crate) nodes: Vec<Node>,
    /// Where each was first met.
    places: Vec<Place<'a>>,
    /// Values in the whole schema.
    pub(crate) values: usize,
}

/// A subschema.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Others that look at the same place of the value.
    pub(crate) same: Vec<usize>,
    /// Of these one looks at a member of an object.
    pub(crate) named: Vec<usize>,
    /// Of these all may look at a member of an object.
    pub(crate) members: Vec<usize>,
    /// Of these one looks at an item of a list.
    pub(crate) placed: Vec<usize>,
    /// Of these all may look at an item of a list.
    pub(crate) items: Vec<usize>,
    /// What one look costs.
    pub(crate) looks: Looks,
    /// Whether it goes through the others again to know what they have looked at.
    pub(crate) unevaluated: bool,
}

impl Node {
    /// All that it leads to.
    pub(crate) fn next(&self) -> impl Iterator<Item = usize> {
        [&self.same, &self.named, &self.members, &self.placed, &self.items].into_iter().flatten().copied()
    }
}

impl Graph<'_> {
    /// Where a subschema is, in words of bounded length.
    pub(crate) fn place(&self, index: usize) -> String {
        told(&self.places, index)
    }
}

/// Reads a schema, and adds what it has taken, in values.
///
/// # Errors
/// When it is too large, or a reference or a pattern cannot be used.
pub(crate) fn read<'a>(schema: &'a Value, spent: &mut usize) -> Result<Graph<'a>, SchemaError> {
    let collected = Names::collect(schema);
    *spent = spent.saturating_add(collected.as_ref().map_or(VALUES_MAX, |(_, values)| *values));
    let (names, values) = collected?;
    let mut reader = Reader { names, ..Reader::default() };
    reader.graph.values = values;
    reader.node(schema, Place::Root);
    let mut outcome = Ok(());
    while let Some((index, value)) = reader.waiting.pop().filter(|_| outcome.is_ok()) {
        outcome = reader.read(index, value);
    }
    *spent = spent.saturating_add(usize::try_from(reader.reading / READING_OF_VALUE).unwrap_or(usize::MAX));
    outcome.map(|()| reader.graph)
}

#[derive(Default)]
struct Reader<'a> {
    names: Names<'a>,
    graph: Graph<'a>,
    known: HashMap<usize, usize>,
    /// What stands for all meanings of an anchor, or of what has an address.
    groups: HashMap<Option<&'a str>, usize>,
    /// Subschemas to be read.
    waiting: Vec<(usize, &'a Value)>,
    edges: usize,
    states: u64,
    /// Bytes gone through to read patterns.
    reading: u64,
}

impl<'a> Reader<'a> {
    fn node(&mut self, value: &'a Value, place: Place<'a>) -> usize {
        self.edges += 1;
        let index = self.graph.nodes.len();
        let known = *self.known.entry(std::ptr::from_ref(value).addr()).or_insert(index);
        if known == index {
            self.push(Node { looks: Looks::ONE, ..Node::default() }, place);
            self.waiting.push((index, value));
        }
        known
    }

    fn push(&mut self, node: Node, place: Place<'a>) {
        self.graph.nodes.push(node);
        self.graph.places.push(place);
    }

    fn read(&mut self, index: usize, value: &'a Value) -> Result<(), SchemaError> {
        let Value::Object(object) = value else { return Ok(()) };
        let mut node = std::mem::take(&mut self.graph.nodes[index]);
        for (keyword, said) in object {
            match (keyword.as_str(), said) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                    node.same.extend(self.reference(index, keyword, reference, value)?);
                }
                _other => self.keyword(&mut node, index, keyword, said)?,
            }
            if self.edges > EDGES_MAX {
                let said = "its references have too many meanings; give each `$id` and each anchor once";
                return Err(too_costly(&self.graph.place(index), said.to_owned()));
            }
        }
        self.graph.nodes[index] = node;
        Ok(())
    }

    fn reference(
        &mut self,
        index: usize,
        keyword: &'a str,
        reference: &'a str,
        from: &'a Value,
    ) -> Result<Vec<usize>, SchemaError> {
        // The place as a reader finds it, and not the way there.
        let named = reference.strip_prefix('#').filter(|pointer| pointer.starts_with('/'));
        let place = named.map_or(Place::Keyword(index, keyword), Place::Pointer);
        let target = self.names.resolve(keyword, reference, from);
        let (meanings, group) = match target
            .map_err(|said| SchemaError::Invalid(at(&self.told(index, keyword), &said)))?
        {
            Target::Places(places) => return Ok(places.into_iter().map(|target| self.node(target, place)).collect()),
            Target::Anchor(anchor) => (self.names.anchored(anchor), Some(anchor)),
            Target::Homes => (self.names.homes(), None),
        };
        // All references to it share one way to all that it means.
        self.edges += 1;
        if let Some(known) = self.groups.get(&group) {
            return Ok(vec![*known]);
        }
        let all = self.graph.nodes.len();
        self.groups.insert(group, all);
        self.push(Node::default(), place);
        let same = meanings.into_iter().map(|target| self.node(target, place)).collect();
        self.graph.nodes[all].same = same;
        Ok(vec![all])
    }

    fn keyword(&mut self, node: &mut Node, index: usize, keyword: &'a str, said: &'a Value) -> Result<(), SchemaError> {
        let place = Place::Keyword(index, keyword);
        match keyword {
            "allOf" | "anyOf" | "oneOf" => node.same.extend(self.list(said, index, keyword)),
            "not" | "if" | "then" | "else" => node.same.push(self.node(said, place)),
            "dependentSchemas" | "dependencies" => {
                node.same.extend(self.map(said, index, keyword));
                let lists = said.as_object().into_iter().flat_map(Map::values).filter(|needed| needed.is_array());
                node.looks.whole += names(said) + lists.map(looked_up).sum::<u64>();
            }
            "properties" => {
                node.named.extend(self.map(said, index, keyword));
                node.looks.whole += names(said);
            }
            "patternProperties" => {
                for written in said.as_object().into_iter().flat_map(Map::keys) {
                    node.looks.add_at_bytes(self.pattern(written, index, keyword)?);
                }
                node.members.extend(self.map(said, index, keyword));
                node.looks.whole += names(said);
            }
            "additionalProperties" | "propertyNames" => node.members.push(self.node(said, place)),
            "prefixItems" => node.placed.extend(self.list(said, index, keyword)),
            "items" if said.is_array() => node.placed.extend(self.list(said, index, keyword)),
            "items" | "contains" | "additionalItems" => node.items.push(self.node(said, place)),
            "unevaluatedProperties" => {
                node.unevaluated = true;
                node.members.push(self.node(said, place));
            }
            "unevaluatedItems" => {
                node.unevaluated = true;
                node.items.push(self.node(said, place));
            }
            "pattern" => {
                if let Some(written) = said.as_str() {
                    node.looks.add_at_bytes(self.pattern(written, index, keyword)?);
                }
            }
            // Characters are counted many bytes at once.
            "minLength" | "maxLength" => node.looks.of_byte += 1,
            "format" | "contentEncoding" | "contentMediaType" => node.looks.add_at_bytes(1),
            "uniqueItems" => node.looks.unique += u64::from(said.as_bool().unwrap_or_default()),
            "multipleOf" => node.looks.whole += MULTIPLE_WEIGHT,
            "enum" | "const" => node.looks.whole += compared(said),
            "required" | "dependentRequired" => node.looks.whole += looked_up(said),
            _other => {}
        }
        Ok(())
    }

    /// What each byte of a text costs that is held against a pattern.
    fn pattern(&mut self, written: &str, index: usize, keyword: &str) -> Result<u64, SchemaError> {
        self.reading = self.reading.saturating_add(pattern::reading(written));
        if self.reading > PATTERN_READING_MAX {
            let said = "with this pattern, those of the schema take too long to read; make them shorter, and write classes such as [0-9] in the place of many \\d";
            return Err(too_costly(&self.told(index, keyword), said.to_owned()));
        }
        let cost = pattern::cost(written).map_err(|said| {
            let written = clip(written, PATTERN_CHARS_MAX);
            let said = format!("`{written}` cannot be used: {said}; patterns are matched in linear time, without look-around and back-references");
            SchemaError::Invalid(at(&self.told(index, keyword), &said))
        })?;
        self.states = self.states.saturating_add(cost.states);
        if self.states > PATTERN_STATES_MAX {
            let said = format!(
                "with this pattern, those of the schema have more than {PATTERN_STATES_MAX} states; write `maxLength` in the place of large repetitions, and classes of ASCII such as [0-9A-Za-z_]"
            );
            return Err(too_costly(&self.told(index, keyword), said));
        }
        // A byte of a text costs far less than a look at a value.
        Ok(cost.places.div_ceil(8).max(1))
    }

    fn told(&self, index: usize, keyword: &str) -> String {
        format!("{}/{keyword}", self.graph.place(index))
    }

    fn list(&mut self, said: &'a Value, index: usize, keyword: &'a str) -> Vec<usize> {
        let items = said.as_array().into_iter().flatten().enumerate();
        items.map(|(number, item)| self.node(item, Place::Item(index, keyword, number))).collect()
    }

    fn map(&mut self, said: &'a Value, index: usize, keyword: &'a str) -> Vec<usize> {
        let members = said.as_object().into_iter().flatten();
        members.map(|(name, member)| self.node(member, Place::Member(index, keyword, name))).collect()
    }
}

fn too_costly(place: &str, said: String) -> SchemaError {
    SchemaError::TooCostly(at(place, &said))
}
