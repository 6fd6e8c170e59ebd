//! A schema as a graph: which subschemas look at the same place of a value, and which at the places below it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::fault::{SchemaError, at, elsewhere};
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

/// The subschemas that are reached from the root, which is the first.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// Values in the whole schema.
    pub(crate) values: usize,
}

/// A subschema.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Where it was first met.
    pub(crate) place: String,
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
    pub(crate) weight: u64,
    /// What one look costs for each byte of a text.
    pub(crate) weight_of_byte: u64,
    /// Whether it goes through the others again to know what they have looked at.
    pub(crate) unevaluated: bool,
    /// Whether it compares all items of a list.
    pub(crate) unique: bool,
}

impl Node {
    /// All that it leads to.
    pub(crate) fn next(&self) -> impl Iterator<Item = usize> {
        [&self.same, &self.named, &self.members, &self.placed, &self.items].into_iter().flatten().copied()
    }
}

/// Reads a schema.
///
/// # Errors
/// When it is too large, or a reference or a pattern cannot be used.
pub(crate) fn read(schema: &Value) -> Result<Graph, SchemaError> {
    let mut names = Names::default();
    let values = names.collect(schema)?;
    let mut reader = Reader { names, ..Reader::default() };
    reader.graph.values = values;
    reader.node(schema, schema, String::new());
    while let Some((index, value, root)) = reader.waiting.pop() {
        reader.read(index, value, root)?;
    }
    Ok(reader.graph)
}

/// What references can name.
#[derive(Default)]
struct Names<'a> {
    ids: HashMap<&'a str, &'a Value>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Names<'a> {
    fn collect(&mut self, schema: &'a Value) -> Result<usize, SchemaError> {
        let (mut values, mut bytes) = (0, 0);
        let mut waiting = vec![(schema, 1)];
        while let Some((value, depth)) = waiting.pop() {
            values += 1;
            match value {
                Value::Object(object) => {
                    bytes += object.keys().map(String::len).sum::<usize>();
                    self.name(value, object);
                    waiting.extend(object.values().map(|member| (member, depth + 1)));
                }
                Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
                Value::String(text) => bytes += text.len(),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
            // What waits is counted too, so that nothing large is gone through.
            if values + waiting.len() > VALUES_MAX {
                return Err(too_costly("", format!("a schema has at most {VALUES_MAX} values; make it smaller")));
            }
            if bytes > TEXT_BYTES_MAX {
                let said = format!("the texts of a schema have at most {TEXT_BYTES_MAX} bytes; shorten them");
                return Err(too_costly("", said));
            }
            if depth > DEPTH_MAX {
                let said = format!("a schema has at most {DEPTH_MAX} levels; name parts of it in `$defs`");
                return Err(too_costly("", said));
            }
        }
        Ok(values)
    }

    fn name(&mut self, value: &'a Value, object: &'a Map<String, Value>) {
        if let Some(id) = id_of(object) {
            self.ids.insert(id.trim_end_matches('#'), value);
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = object.get(keyword).and_then(Value::as_str) {
                self.anchors.entry(anchor).or_default().push(value);
            }
        }
    }

    /// What a reference leads to: one place, or whatever has its anchor.
    fn resolve(&self, reference: &str, root: &'a Value) -> Result<Vec<&'a Value>, String> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = if document.is_empty() { Some(&root) } else { self.ids.get(document) };
        let base = *base.ok_or_else(|| elsewhere(reference))?;
        if fragment.is_empty() {
            return Ok(vec![base]);
        }
        let found = if fragment.starts_with('/') {
            base.pointer(&unescaped(fragment)).map(|value| vec![value])
        } else {
            self.anchors.get(fragment).cloned()
        };
        found.ok_or_else(|| format!("`{reference}` leads nowhere"))
    }
}

fn id_of(object: &Map<String, Value>) -> Option<&str> {
    object.get("$id").and_then(Value::as_str).filter(|id| !id.starts_with('#'))
}

/// A fragment of a URI without its escapes.
fn unescaped(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Default)]
struct Reader<'a> {
    names: Names<'a>,
    graph: Graph,
    known: HashMap<usize, usize>,
    /// Subschemas to be read, with the schema that their references are within.
    waiting: Vec<(usize, &'a Value, &'a Value)>,
    states: u64,
}

impl<'a> Reader<'a> {
    fn node(&mut self, value: &'a Value, root: &'a Value, place: String) -> usize {
        let index = self.graph.nodes.len();
        let known = *self.known.entry(std::ptr::from_ref(value).addr()).or_insert(index);
        if known == index {
            self.graph.nodes.push(Node { place, weight: 1, ..Node::default() });
            self.waiting.push((index, value, root));
        }
        known
    }

    fn read(&mut self, index: usize, value: &'a Value, root: &'a Value) -> Result<(), SchemaError> {
        let Value::Object(object) = value else { return Ok(()) };
        let root = if id_of(object).is_some() { value } else { root };
        let mut node = std::mem::take(&mut self.graph.nodes[index]);
        for (keyword, said) in object {
            self.keyword(&mut node, keyword, said, root)?;
        }
        self.graph.nodes[index] = node;
        Ok(())
    }

    fn keyword(&mut self, node: &mut Node, keyword: &str, said: &'a Value, root: &'a Value) -> Result<(), SchemaError> {
        let place = format!("{}/{keyword}", node.place);
        match keyword {
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                let Some(reference) = said.as_str() else { return Ok(()) };
                let found = self.names.resolve(reference, root);
                for target in found.map_err(|said| SchemaError::Invalid(at(&place, &said)))? {
                    // The place as a reader finds it, and not the way there.
                    let named = reference.strip_prefix('#').filter(|pointer| pointer.starts_with('/'));
                    let target = self.node(target, root, named.map_or_else(|| place.clone(), ToOwned::to_owned));
                    node.same.push(target);
                }
            }
            "allOf" | "anyOf" | "oneOf" => node.same.extend(self.list(said, root, &place)),
            "not" | "if" | "then" | "else" => node.same.push(self.node(said, root, place)),
            "dependentSchemas" | "dependencies" => node.same.extend(self.map(said, root, &place)),
            "properties" => {
                node.named.extend(self.map(said, root, &place));
                node.weight += counted(said.as_object().map_or(0, Map::len));
            }
            "patternProperties" => {
                for written in said.as_object().into_iter().flat_map(Map::keys) {
                    node.weight_of_byte += self.pattern(written, &place)?;
                }
                node.members.extend(self.map(said, root, &place));
                node.weight += counted(said.as_object().map_or(0, Map::len));
            }
            "additionalProperties" | "propertyNames" => node.members.push(self.node(said, root, place)),
            "prefixItems" => node.placed.extend(self.list(said, root, &place)),
            "items" if said.is_array() => node.placed.extend(self.list(said, root, &place)),
            "items" | "contains" | "additionalItems" => node.items.push(self.node(said, root, place)),
            "unevaluatedProperties" => {
                node.unevaluated = true;
                node.members.push(self.node(said, root, place));
            }
            "unevaluatedItems" => {
                node.unevaluated = true;
                node.items.push(self.node(said, root, place));
            }
            "pattern" => {
                if let Some(written) = said.as_str() {
                    node.weight_of_byte += self.pattern(written, &place)?;
                }
            }
            "minLength" | "maxLength" | "format" => node.weight_of_byte += 1,
            "uniqueItems" => node.unique = said.as_bool().unwrap_or_default(),
            "enum" | "const" | "required" | "dependentRequired" => node.weight += size(said),
            _other => {}
        }
        Ok(())
    }

    /// What each byte of a text costs that is held against a pattern.
    fn pattern(&mut self, written: &str, place: &str) -> Result<u64, SchemaError> {
        let cost = pattern::cost(written).map_err(|said| {
            let said = format!("`{written}` cannot be used: {said}; patterns are matched in linear time, without look-around and back-references");
            SchemaError::Invalid(at(place, &said))
        })?;
        self.states = self.states.saturating_add(cost.states);
        if self.states > PATTERN_STATES_MAX {
            let said = format!(
                "with this pattern, those of the schema have more than {PATTERN_STATES_MAX} states; write `maxLength` in the place of large repetitions, and classes of ASCII such as [0-9A-Za-z_]"
            );
            return Err(too_costly(place, said));
        }
        // A byte of a text costs far less than a look at a value.
        Ok(cost.places.div_ceil(8).max(1))
    }

    fn list(&mut self, said: &'a Value, root: &'a Value, place: &str) -> Vec<usize> {
        let items = said.as_array().into_iter().flatten().enumerate();
        items.map(|(index, item)| self.node(item, root, format!("{place}/{index}"))).collect()
    }

    fn map(&mut self, said: &'a Value, root: &'a Value, place: &str) -> Vec<usize> {
        let members = said.as_object().into_iter().flatten();
        members.map(|(name, member)| self.node(member, root, format!("{place}/{name}"))).collect()
    }
}

fn too_costly(place: &str, said: String) -> SchemaError {
    SchemaError::TooCostly(at(place, &said))
}

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A value's size in looks: its values, and its texts at some bytes each.
fn size(value: &Value) -> u64 {
    let (mut waiting, mut sum) = (vec![value], 0);
    while let Some(value) = waiting.pop() {
        sum += 1;
        match value {
            Value::Object(object) => waiting.extend(object.values()),
            Value::Array(items) => waiting.extend(items),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    sum
}
