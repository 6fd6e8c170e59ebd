//! Which templates may be rendered where runs are served.
//!
//! The engine's fuel counts instructions and bytes, not what one instruction costs: comparing two lists, printing one
//! and dropping one go through everything that is in them, by recursion, and a list that holds another one twice is
//! gone through twice. So a template is *plain* only if what it makes cannot be much larger or deeper than what it is
//! given. Everything else is rendered in a sandbox. Wrong guesses on the safe side cost a few milliseconds a turn.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

use super::names;

/// How many times larger than its variables a value may become in all.
const GROWTH_MAX: u64 = 256;

/// Lists and maps that templates may make in all: each goes at most one deeper.
const MADE_MAX: usize = 32;

/// Macros in all: each holds on to what it names.
const MACROS_MAX: usize = 64;

/// The indent of JSON for people, and how much longer it makes values of usual depth.
const INDENT_MAX: usize = 4;
const INDENTED: u64 = 8;

/// Filters whose result is no larger than what they are given, and goes no deeper.
const INERT: [&str; 43] = [
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

/// Filters and tests that compare their items with each other or with something else.
const COMPARING: [&str; 21] = [
    "dictsort",
    "max",
    "min",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
    "sort",
    "unique",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "le",
    "gt",
    "greaterthan",
    "ge",
    "in",
];

/// What is known of an agent's templates together.
#[derive(Clone, Debug)]
pub(super) struct Nature {
    /// Whether they can be rendered in place, with a little fuel.
    pub(super) plain: bool,
    /// How many times larger than its variables a value may become.
    pub(super) growth: usize,
    /// Whether they compare values with each other, which costs as much as these are large.
    pub(super) compares: bool,
    /// Every name that any of them looks up.
    pub(super) names: HashSet<String>,
}

/// Reads all instructions of all templates.
pub(super) fn nature(environment: &Environment<'static>) -> Nature {
    let mut found = Found { growth: 1, ..Found::default() };
    let mut names = HashSet::new();
    let mut read = None;
    let Ok(()) = names::each::<Infallible>(environment, |_template, instructions, index, instruction| {
        let identity = std::ptr::from_ref(instructions).addr();
        let targets = match read.take() {
            Some((of, targets)) if of == identity => targets,
            _ => jump_targets(instructions),
        };
        if let Instruction::Lookup(name) | Instruction::CallFunction(name, _) | Instruction::Enclose(name) = instruction
        {
            names.insert((*name).to_owned());
        }
        found.note(&At { instructions, index, targets: &targets }, instruction);
        read = Some((identity, targets));
        Ok(())
    });
    // What calls may happen any number of times, and each time around what the last one made.
    let repeats = found.calls && (found.made > 0 || found.growth > 1);
    let plain =
        !found.heavy && !repeats && found.growth <= GROWTH_MAX && found.made <= MADE_MAX && found.macros <= MACROS_MAX;
    let growth = usize::try_from(found.growth).unwrap_or(usize::MAX).max(1);
    Nature { plain, growth, compares: found.compares, names }
}

#[derive(Default)]
struct Found {
    growth: u64,
    made: usize,
    macros: usize,
    calls: bool,
    compares: bool,
    heavy: bool,
}

/// Where an instruction stands.
struct At<'a> {
    instructions: &'a Instructions<'a>,
    index: u32,
    targets: &'a BTreeSet<u32>,
}

impl At<'_> {
    /// The constants right before, if the last `count` operands are constants whichever way was taken.
    fn constants(&self, count: u32) -> Option<Vec<&Value>> {
        (0..count)
            .map(|back| {
                let index = self.index.checked_sub(back)?;
                if self.targets.contains(&index) {
                    return None;
                }
                let before = self.instructions.get(index.checked_sub(1)?)?;
                if let Instruction::LoadConst(value) = before { Some(value) } else { None }
            })
            .collect()
    }

    /// The last operand as an indent, by place or by name, if it is a constant.
    fn indent(&self) -> Option<usize> {
        let given = self.constants(1)?.into_iter().next()?;
        given.as_usize().or_else(|| given.get_attr("indent").ok()?.as_usize())
    }

    /// The last operand, if it is a constant that holds no others.
    fn scalar(&self) -> Option<&Value> {
        let last = self.constants(1)?.into_iter().next()?;
        let scalar = [ValueKind::Number, ValueKind::String, ValueKind::Bool, ValueKind::None];
        scalar.contains(&last.kind()).then_some(last)
    }
}

impl Found {
    fn made(&mut self, holds: usize) {
        self.made += 1;
        self.growth = self.growth.saturating_mul(u64::try_from(holds).unwrap_or(u64::MAX).max(1));
    }

    fn grows(&mut self, times: u64) {
        self.growth = self.growth.saturating_mul(times.max(1));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "instructions that make nothing, of an enum that is not ours")]
    fn note(&mut self, at: &At<'_>, instruction: &Instruction<'_>) {
        match instruction {
            Instruction::BuildList(Some(0)) | Instruction::BuildTuple(Some(0)) | Instruction::BuildMap(0) => {}
            Instruction::BuildList(Some(holds)) | Instruction::BuildTuple(Some(holds)) => self.made(*holds),
            Instruction::BuildMap(holds) => self.made(holds.saturating_mul(2)),
            Instruction::Add if at.scalar().is_none() => self.grows(2),
            // A number times a list is the list that often.
            Instruction::Mul => match at.scalar().filter(|value| value.kind() == ValueKind::Number) {
                Some(times) => self.grows(times.as_usize().map_or(1, |times| u64::try_from(times).unwrap_or(u64::MAX))),
                None => self.heavy = true,
            },
            Instruction::Eq
            | Instruction::Ne
            | Instruction::Gt
            | Instruction::Gte
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::In => self.compares |= at.scalar().is_none(),
            Instruction::CompareAndPreserve(_) => self.compares = true,
            Instruction::ApplyFilter(name, given, _) => self.filter(at, name, *given),
            Instruction::PerformTest(name, ..) => self.compares |= COMPARING.contains(name) && at.scalar().is_none(),
            Instruction::CallFunction(name, _) => match *name {
                "range" => {}
                "namespace" | "dict" | "debug" => self.heavy = true,
                _macro => self.calls = true,
            },
            Instruction::BuildMacro(..) => {
                self.macros += 1;
                self.calls = true;
            }
            Instruction::CallObject(_)
            | Instruction::FastRecurse
            | Instruction::FastSuper
            | Instruction::CallBlock(_)
            | Instruction::LoadBlocks
            | Instruction::Include(_) => self.calls = true,
            // What the condition of a loop lets through is gone through, and is no value.
            Instruction::BuildList(None) => {}
            Instruction::CallMethod("changed", _) => self.compares = true,
            Instruction::SetAttr(_)
            | Instruction::BuildTuple(None)
            | Instruction::MergeKwargs(_)
            | Instruction::UnpackLists(_) => self.heavy = true,
            _ => {}
        }
    }

    fn filter(&mut self, at: &At<'_>, name: &str, given: Option<u16>) {
        self.compares |= COMPARING.contains(&name);
        let arguments = given.map(|given| u32::from(given.saturating_sub(1)));
        let constant = arguments.is_some_and(|count| at.constants(count).is_some());
        match name {
            // Its argument says how far each level is indented.
            "tojson" if given != Some(1) => match at.indent() {
                Some(0..=INDENT_MAX) => self.grows(INDENTED),
                Some(_) | None => self.heavy = true,
            },
            _ if INERT.contains(&name) => {}
            // Its arguments go to a filter for each item.
            "map" if constant => self.grows(2),
            "batch" | "slice" | "groupby" | "chain" | "zip" | "sum" if arguments.is_some() => {
                self.made(usize::from(given.unwrap_or_default()).max(2));
            }
            _ => self.heavy = true,
        }
    }
}

fn jump_targets(instructions: &Instructions<'_>) -> BTreeSet<u32> {
    let mut targets = BTreeSet::new();
    for index in 0.. {
        match instructions.get(index) {
            None => break,
            Some(
                Instruction::Jump(to)
                | Instruction::JumpIfFalse(to)
                | Instruction::JumpIfFalseOrPop(to)
                | Instruction::JumpIfTrueOrPop(to)
                | Instruction::Iterate(to),
            ) => {
                targets.insert(*to);
            }
            Some(_) => {}
        }
    }
    targets
}
