//! What references of a schema can name.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{DEPTH_MAX, TEXT_BYTES_MAX, VALUES_MAX, too_costly};
use crate::fault::{SchemaError, elsewhere};

/// Where the schemas of the drafts themselves are. The validator knows them, and no work of theirs is counted.
const DRAFTS: &str = "json-schema.org";

/// The names in a schema. Where it is not plain what a name means, as when two schemas have the same one, it means each.
#[derive(Default)]
pub(super) struct Names<'a> {
    /// Schemas with an address of their own, the whole one first.
    homes: Vec<Home<'a>>,
    /// The homes by the last part of their addresses, in which all ways to write one agree.
    by_address: HashMap<String, Vec<usize>>,
    /// Homes whose addresses are those of others.
    unnamed: Vec<usize>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// The innermost home around each object.
    around: HashMap<usize, usize>,
    /// Whether an address is among those of the drafts.
    drafts: bool,
}

struct Home<'a> {
    value: &'a Value,
    outer: Option<usize>,
}

/// What a reference leads to.
pub(super) enum Target<'a> {
    /// These places.
    Places(Vec<&'a Value>),
    /// Whatever has this anchor: more than one place.
    Anchor(&'a str),
    /// Whatever has an address of its own.
    Homes,
}

impl<'a> Names<'a> {
    /// Goes through a whole schema; gives the number of its values, too.
    pub(super) fn collect(schema: &'a Value) -> Result<(Self, usize), SchemaError> {
        let mut names = Self::default();
        let (mut values, mut bytes) = (0, 0);
        names.homes.push(Home { value: schema, outer: None });
        // The validator's own address for a schema without one ends in nothing.
        names.by_address.insert(String::new(), vec![0]);
        let mut waiting = vec![(schema, 1, 0)];
        while let Some((value, depth, home)) = waiting.pop() {
            values += 1;
            match value {
                Value::Object(object) => {
                    bytes += object.keys().map(String::len).sum::<usize>();
                    let home = names.name(value, object, home);
                    waiting.extend(object.values().map(|member| (member, depth + 1, home)));
                }
                Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1, home))),
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
        Ok((names, values))
    }

    /// Takes an object's names down; gives the home of what is in it.
    fn name(&mut self, value: &'a Value, object: &'a Map<String, Value>, outer: usize) -> usize {
        let mut home = outer;
        // Before draft 6 it was `id`.
        for keyword in ["$id", "id"] {
            let id = object.get(keyword).and_then(Value::as_str);
            if let Some(id) = id.filter(|id| !id.starts_with('#')) {
                home = self.homes.len();
                self.homes.push(Home { value, outer: Some(outer) });
                self.address(id, home);
            }
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = object.get(keyword).and_then(Value::as_str) {
                self.anchors.entry(anchor).or_default().push(value);
            }
        }
        self.around.insert(address_of(value), home);
        home
    }

    fn address(&mut self, id: &str, home: usize) {
        let path = id.split(['#', '?']).next().unwrap_or_default();
        if path.is_empty() {
            self.unnamed.push(home);
        } else {
            self.drafts |= of_drafts(path);
            self.by_address.entry(last_part(path)).or_default().push(home);
        }
    }

    pub(super) fn resolve(&self, keyword: &str, reference: &'a str, from: &'a Value) -> Result<Target<'a>, String> {
        if keyword == "$recursiveRef" {
            return Ok(Target::Homes);
        }
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let bases = if document.is_empty() { self.homes_around(from) } else { self.homes_at(document)? };
        if fragment.is_empty() {
            return Ok(Target::Places(bases));
        }
        let leads_nowhere = || format!("`{reference}` leads nowhere");
        if fragment.starts_with('/') {
            let pointer = unescaped(fragment);
            let found: Vec<_> = bases.into_iter().filter_map(|base| base.pointer(&pointer)).collect();
            return if found.is_empty() { Err(leads_nowhere()) } else { Ok(Target::Places(found)) };
        }
        match self.anchors.get(fragment).map(Vec::as_slice) {
            None | Some([]) => Err(leads_nowhere()),
            Some([only]) => Ok(Target::Places(vec![only])),
            Some(_several) => Ok(Target::Anchor(fragment)),
        }
    }

    pub(super) fn anchored(&self, anchor: &str) -> Vec<&'a Value> {
        self.anchors.get(anchor).cloned().unwrap_or_default()
    }

    pub(super) fn homes(&self) -> Vec<&'a Value> {
        self.homes.iter().map(|home| home.value).collect()
    }

    fn homes_around(&self, from: &Value) -> Vec<&'a Value> {
        let innermost = self.around.get(&address_of(from)).copied();
        let homes = std::iter::successors(innermost, |home| self.homes.get(*home)?.outer);
        homes.filter_map(|home| self.homes.get(home)).map(|home| home.value).collect()
    }

    fn homes_at(&self, document: &str) -> Result<Vec<&'a Value>, String> {
        let path = document.split('?').next().unwrap_or_default();
        let known =
            self.by_address.get(&last_part(path)).filter(|_| !(path.is_empty() || self.drafts || of_drafts(path)));
        let known = known.ok_or_else(|| elsewhere(document))?;
        Ok(known.iter().chain(&self.unnamed).filter_map(|home| self.homes.get(*home)).map(|home| home.value).collect())
    }
}

fn of_drafts(path: &str) -> bool {
    unescaped(path).to_ascii_lowercase().contains(DRAFTS)
}

/// What a relative address and a whole one of the same document have in common.
fn last_part(path: &str) -> String {
    let path = unescaped(path).to_ascii_lowercase();
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    if matches!(last, "." | "..") { String::new() } else { last.to_owned() }
}

fn address_of(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

/// A part of a URI without its escapes.
fn unescaped(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
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
