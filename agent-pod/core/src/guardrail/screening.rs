//! Whole texts and JSON values held against the rules in slices, so that no text is too long for a thread that serves
//! sockets.

use std::collections::HashMap;
use std::ops::ControlFlow;

use serde_json::{Map, Value};

use super::{Block, Flow, Guardrails, Hit, Screened, Subject};
use crate::cpu::{self, Slice};

/// What a value costs beside its text, in bytes.
const VALUE_BYTES: usize = 16;

/// A JSON value that was held against the rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScreenedJson {
    /// What has become of it.
    pub value: Value,
    /// What was found.
    pub hits: Vec<Hit>,
    /// Whether a rule blocks it.
    pub block: Option<Block>,
}

impl Guardrails {
    /// Holds a text against the rules, a long one on the pool of [`cpu`].
    pub async fn screen_text(&self, subject: Subject, text: String) -> Screened {
        let ScreenedJson { value, hits, block } = self.screen_json(subject, Value::String(text)).await;
        let text = if let Value::String(text) = value { text } else { String::new() };
        Screened { text, hits, block }
    }

    /// Holds every text within a JSON value against the rules, the names of fields included, and numbers as they are
    /// written.
    pub async fn screen_json(&self, subject: Subject, value: Value) -> ScreenedJson {
        self.screen_all(vec![(subject, value)]).await.pop().unwrap_or_default()
    }

    /// Holds values against the rules, each by itself; the results keep their order.
    pub async fn screen_all(&self, values: Vec<(Subject, Value)>) -> Vec<ScreenedJson> {
        let screening = Screening { rules: self.clone(), coming: values.into_iter(), current: None, done: Vec::new() };
        cpu::in_slices(screening, Screening::go_on).await.done
    }
}

impl Flow {
    /// Takes a piece in as [`Flow::feed`] does, a long one on the pool of [`cpu`].
    pub async fn pass(self, piece: String, last: bool) -> (Self, String) {
        let passing = Passing { flow: self, piece, at: 0, last, out: String::new() };
        let Passing { flow, out, .. } = cpu::in_slices(passing, Passing::go_on).await;
        (flow, out)
    }
}

/// A piece of a text on its way past the rules.
struct Passing {
    flow: Flow,
    piece: String,
    /// How far it has come.
    at: usize,
    last: bool,
    out: String,
}

impl Passing {
    /// Whether all is done.
    fn go_on(&mut self, slice: &mut Slice) -> bool {
        while let Some(rest) = self.piece.get(self.at..) {
            let (part, after) = self.flow.first_piece(rest);
            if !slice.spend(self.flow.work_of(part).max(1)) {
                return false;
            }
            self.out.push_str(&self.flow.feed(part, self.last && after.is_empty()));
            self.at += part.len();
            if after.is_empty() || self.flow.block().is_some() {
                break;
            }
        }
        true
    }
}

/// Values on their way past the rules.
struct Screening {
    rules: Guardrails,
    coming: std::vec::IntoIter<(Subject, Value)>,
    current: Option<Walk>,
    done: Vec<ScreenedJson>,
}

impl Screening {
    /// Whether all is done.
    fn go_on(&mut self, slice: &mut Slice) -> bool {
        loop {
            if let Some(walk) = &mut self.current {
                if !walk.go_on(slice) {
                    return false;
                }
                self.done.extend(self.current.take().map(Walk::end));
            }
            let Some((subject, value)) = self.coming.next() else { return true };
            if self.rules.screens(subject) {
                self.current = Some(Walk::through(value, self.rules.flow(subject)));
            } else {
                self.done.push(ScreenedJson { value, ..ScreenedJson::default() });
            }
        }
    }
}

/// A value on its way past the rules.
struct Walk {
    value: Value,
    /// Where it goes on: an index for each level.
    path: Vec<usize>,
    texts: Texts,
}

/// The texts of a value, one after the other.
struct Texts {
    flow: Flow,
    /// How far a long text has come, and what is left of it up to there.
    begun: Option<(usize, String)>,
    /// The names of fields that were seen, and those that have changed, by their number among them.
    names: usize,
    renamed: Vec<(usize, String)>,
}

impl Walk {
    fn through(value: Value, flow: Flow) -> Self {
        Self { value, path: Vec::new(), texts: Texts { flow, begun: None, names: 0, renamed: Vec::new() } }
    }

    /// Whether it has come to its end.
    fn go_on(&mut self, slice: &mut Slice) -> bool {
        let Self { value, path, texts } = self;
        let mut visit = |name: Option<&str>, value: &mut Value| texts.visit(name, value, slice);
        if path.is_empty() && visit(None, value).is_break() {
            return texts.flow.block().is_some();
        }
        walk(value, 0, path, &mut visit).is_continue() || texts.flow.block().is_some()
    }

    fn end(self) -> ScreenedJson {
        let Self { mut value, texts: Texts { flow, renamed, .. }, .. } = self;
        if !renamed.is_empty() {
            rename(&mut value, &mut 0, &mut renamed.into_iter().peekable());
        }
        let (hits, block) = flow.into_result();
        ScreenedJson { value, hits, block }
    }
}

impl Texts {
    /// Holds a value's own text against the rules. Break: the slice is used up, or a rule has blocked the value.
    fn visit(&mut self, name: Option<&str>, value: &mut Value, slice: &mut Slice) -> ControlFlow<()> {
        if self.begun.is_none() {
            if !slice.spend(VALUE_BYTES + name.map_or(0, |name| self.flow.work_of(name))) {
                return ControlFlow::Break(());
            }
            if let Some(name) = name {
                let screened = self.flow.feed_whole(name);
                if screened != name {
                    self.renamed.push((self.names, screened));
                }
                self.names += 1;
            }
        }
        match value {
            Value::String(text) => self.text(text, slice)?,
            // A number can be one of those that are looked for.
            Value::Number(number) => {
                let written = number.to_string();
                let screened = self.flow.feed_whole(&written);
                if screened != written {
                    *value = Value::String(screened);
                }
            }
            Value::Array(_) | Value::Object(_) | Value::Null | Value::Bool(_) => {}
        }
        if self.flow.block().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn text(&mut self, text: &mut String, slice: &mut Slice) -> ControlFlow<()> {
        let (mut at, mut out) = self.begun.take().unwrap_or_default();
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (piece, after) = self.flow.first_piece(rest);
            if !slice.spend(self.flow.work_of(piece)) {
                self.begun = Some((at, out));
                return ControlFlow::Break(());
            }
            if at == 0 && after.is_empty() {
                out = self.flow.feed_whole(piece);
            } else {
                out.push_str(&self.flow.feed(piece, after.is_empty()));
                if after.is_empty() {
                    self.flow.begin_anew();
                }
            }
            at += piece.len();
            if self.flow.block().is_some() {
                break;
            }
        }
        *text = out;
        ControlFlow::Continue(())
    }
}

/// Visits all that is within a value, from where `path` says that it was left.
fn walk(
    value: &mut Value,
    depth: usize,
    path: &mut Vec<usize>,
    visit: &mut impl FnMut(Option<&str>, &mut Value) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let left_at = path.get(depth).copied();
    if left_at.is_none() {
        path.push(0);
    }
    let mut inside = path.len() > depth + 1;
    let mut each = |index: usize, name: Option<&str>, child: &mut Value| -> ControlFlow<()> {
        if let Some(place) = path.get_mut(depth) {
            *place = index;
        }
        if !std::mem::take(&mut inside) {
            visit(name, child)?;
        }
        if matches!(child, Value::Array(_) | Value::Object(_)) {
            walk(child, depth + 1, path, visit)?;
            path.truncate(depth + 1);
        }
        ControlFlow::Continue(())
    };
    let from = left_at.unwrap_or(0);
    match value {
        Value::Array(values) => {
            values.iter_mut().enumerate().skip(from).try_for_each(|(index, child)| each(index, None, child))
        }
        Value::Object(fields) => fields
            .iter_mut()
            .enumerate()
            .skip(from)
            .try_for_each(|(index, (name, child))| each(index, Some(name), child)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => ControlFlow::Continue(()),
    }
}

/// Gives fields their new names, by their number in the order of [`walk`].
fn rename(
    value: &mut Value,
    seen: &mut usize,
    renamed: &mut std::iter::Peekable<impl Iterator<Item = (usize, String)>>,
) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, seen, renamed)),
        Value::Object(fields) => {
            let (mut kept, mut numbers) = (Map::new(), HashMap::new());
            for (name, mut value) in std::mem::take(fields) {
                let name = renamed.next_if(|(number, _)| *number == *seen).map_or(name, |(_, new)| new);
                *seen += 1;
                rename(&mut value, seen, renamed);
                kept.insert(unused(&kept, &mut numbers, name), value);
            }
            *fields = kept;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Two fields that read the same once they are redacted are told apart by their number. `numbers` has the next one of each
/// name: to begin anew each time would go through all that are taken.
fn unused(fields: &Map<String, Value>, numbers: &mut HashMap<String, usize>, name: String) -> String {
    if !fields.contains_key(&name) {
        return name;
    }
    let number = numbers.entry(name.clone()).or_default();
    *number = fields.len().max(*number);
    loop {
        let numbered = format!("{name} {number}");
        *number += 1;
        if !fields.contains_key(&numbered) {
            return numbered;
        }
    }
}
