//! What templates name that is not there: filters, tests, functions, other templates.
//!
//! The engine finds these when it renders, and only on the branch that is taken; here the compiled instructions are read
//! instead, so that every branch counts.

use std::collections::HashSet;

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions, get_compiled_template};
use minijinja::{Environment, ErrorKind, Value};

use super::PromptError;

/// Names that the engine gives a meaning where they stand.
const SPECIAL: [&str; 3] = ["super", "loop", "caller"];

/// The first name in any of the templates that nothing has, with the template.
pub(super) fn check(environment: &Environment<'static>) -> Result<(), (String, PromptError)> {
    // An included template sees what the including one has set, macros among it.
    let mut set = HashSet::new();
    each(environment, |_template, _instructions, _index, instruction| {
        if let Instruction::StoreLocal(name) = instruction {
            set.insert((*name).to_owned());
        }
        Ok(())
    })?;
    each(environment, |template, instructions, index, instruction| {
        let Some(reason) = unknown(environment, &set, instructions, index, instruction) else { return Ok(()) };
        let line = instructions.get_line(index).unwrap_or(1);
        Err((template.to_owned(), PromptError::Syntax { line, reason }))
    })
}

/// Shows every instruction of every template, until one is refused.
pub(super) fn each<E>(
    environment: &Environment<'static>,
    mut look: impl FnMut(&str, &Instructions<'_>, u32, &Instruction<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (name, template) in environment.templates() {
        let CompiledTemplate { instructions, blocks, .. } = get_compiled_template(&template);
        for part in std::iter::once(instructions).chain(blocks.values()) {
            for index in 0.. {
                let Some(instruction) = part.get(index) else { break };
                look(name, part, index, instruction)?;
            }
        }
    }
    Ok(())
}

fn unknown(
    environment: &Environment<'static>,
    set: &HashSet<String>,
    instructions: &Instructions<'_>,
    index: u32,
    instruction: &Instruction<'_>,
) -> Option<String> {
    let named = |what: &str, name: &str| Some(format!("there is no {what} `{name}`; check its spelling"));
    let mut state = environment.empty_state();
    if let Instruction::ApplyFilter(name, ..) = instruction {
        return if is(state.apply_filter(name, &[]), ErrorKind::UnknownFilter) { named("filter", name) } else { None };
    }
    if let Instruction::PerformTest(name, ..) = instruction {
        return if is(state.perform_test(name, &[]), ErrorKind::UnknownTest) { named("test", name) } else { None };
    }
    if let Instruction::CallFunction(name, _) = instruction {
        let there = SPECIAL.contains(name) || set.contains(*name) || state.lookup(name).is_some();
        return if there { None } else { named("function", name) };
    }
    if !matches!(instruction, Instruction::Include(false) | Instruction::LoadBlocks) {
        return None;
    }
    // A name that is only known when it renders is not looked for.
    let Some(Instruction::LoadConst(name)) = instructions.get(index.checked_sub(1)?) else { return None };
    let choices = choices(name);
    let there = choices.is_empty() || choices.iter().any(|name| environment.get_template(name).is_ok());
    (!there).then(|| format!("there is no template `{}`; add it to `templates`", choices.join("`, `")))
}

/// The templates that an include may take: the one, or the first of a list that is there.
fn choices(name: &Value) -> Vec<String> {
    if let Some(name) = name.as_str() {
        return vec![name.to_owned()];
    }
    let items = name.try_iter().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

fn is<T>(result: Result<T, minijinja::Error>, kind: ErrorKind) -> bool {
    // Called without a value, known ones fail too, in their own ways.
    result.is_err_and(|error| error.kind() == kind)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::prompt::{Prompts, SYSTEM};

    #[rstest]
    #[case::filter("{{ query | nofilter }}", "line 1: there is no filter `nofilter`")]
    #[case::filter_block("{% filter nofilter %}x{% endfilter %}", "line 1: there is no filter `nofilter`")]
    #[case::test("one\n{% if query is notest %}x{% endif %}", "line 2: there is no test `notest`")]
    #[case::function("one\ntwo\n{{ nope() }}", "line 3: there is no function `nope`")]
    #[case::a_variable_is_no_function("{{ query() }}", "line 1: there is no function `query`")]
    #[case::include("{% include 'nope' %}", "line 1: there is no template `nope`; add it to `templates`")]
    #[case::includes("{% include ['nope', 'none'] %}", "line 1: there is no template `nope`, `none`")]
    #[case::import("{% import 'nope' as n %}", "line 1: there is no template `nope`")]
    #[case::from_import("{% from 'nope' import n %}", "line 1: there is no template `nope`")]
    #[case::extends("{% extends 'nope' %}", "line 1: there is no template `nope`")]
    #[case::branch_not_taken("{% if vip %}\n{{ vip | nofilter }}{% endif %}", "line 2: there is no filter `nofilter`")]
    #[case::within_a_macro("{% macro m() %}{{ nope() }}{% endmacro %}", "line 1: there is no function `nope`")]
    #[case::within_a_block("{% block b %}{{ 1 is notest }}{% endblock %}", "line 1: there is no test `notest`")]
    fn what_is_not_there_is_named_with_its_line(#[case] source: &str, #[case] expected: &str) {
        for (name, sources) in [(SYSTEM, [(SYSTEM, source), ("x", "")]), ("x", [(SYSTEM, ""), ("x", source)])] {
            let (broken, error) = Prompts::compile(sources).err().unwrap();
            assert_eq!(broken, name);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[rstest]
    #[case("{{ query | upper | default('x') | tojson }}{{ 'a b' | urlencode }}")]
    #[case("{% if query is defined and 3 is odd and query is startingwith 'a' %}x{% endif %}")]
    #[case("{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{% endfor %}{{ dict(a=1) }}{{ query.items() }}")]
    #[case("{% for i in tree recursive %}{{ loop(i.children) }}{% endfor %}")]
    #[case("{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{% call m(1) %}x{% endcall %}")]
    #[case("{% include 'greeting' %}{% include ['nope', 'greeting'] %}{% include 'nope' ignore missing %}")]
    #[case("{% include query %}")]
    #[case("{% from 'greeting' import hello %}{{ hello() }}{% import 'greeting' as g %}{{ g.hello() }}")]
    #[case("{% extends 'greeting' %}{% block b %}{{ super() }}{% endblock %}")]
    fn what_is_there_is_not_complained_of(#[case] source: &str) {
        let greeting = "{% macro hello() %}Hello{% endmacro %}{% block b %}{% endblock %}";
        let compiled = Prompts::compile([(SYSTEM, source), ("greeting", greeting)]);
        assert!(compiled.is_ok(), "{:?}", compiled.err());
    }

    #[tokio::test]
    async fn an_included_template_may_call_the_macros_of_the_including_one() {
        let source = "{% macro outer() %}Hello{% endmacro %}{% include 'inner' %}";
        let prompts = Prompts::compile([("inner", "{{ outer() }}"), (SYSTEM, source)]).unwrap();
        let rendered = prompts.render(SYSTEM, serde_json::Map::new, tokio::time::Instant::now()).await;
        assert_eq!(rendered.unwrap(), "Hello");
    }
}
