use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use tokio::time::Duration;

use super::*;
use crate::testing::ThreadSandbox;

/// The stack of a thread of tokio, which serves.
const WORKER_STACK: usize = 2 * 1024 * 1024;

async fn rendered(source: &str, variables: Value) -> Result<String, PromptError> {
    let prompts = Prompts::compile([(SYSTEM, source), ("greeting", "Hello {{ identity.displayName }}")]).unwrap();
    let Value::Object(variables) = variables else { panic!("variables are an object") };
    prompts.render(SYSTEM, || variables, Instant::now() + Duration::from_secs(1)).await
}

/// What happens to a template on the stack of a worker.
fn on_a_worker(source: String, variables: Value) -> Result<String, PromptError> {
    let thread = std::thread::Builder::new().stack_size(WORKER_STACK);
    let thread = thread.spawn(move || {
        let prompts = Prompts::compile([(SYSTEM, source.as_str()), ("other", "x")]).map_err(|(_, error)| error)?;
        let Value::Object(variables) = variables else { panic!("variables are an object") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(prompts.render(SYSTEM, || variables, Instant::now()))
    });
    thread.unwrap().join().unwrap()
}

#[rstest]
#[case("You are {{ identity.displayName }}.", "You are Ada.")]
#[case("[{{ missing }}{{ missing.deeper.still }}]", "[]")]
#[case("{% if customer %}For {{ customer }}{% else %}For all{% endif %}", "For all")]
#[case("plain {braces}", "plain {braces}")]
#[case("{% include 'greeting' %}!", "Hello Ada!")]
#[tokio::test]
async fn templates_render_and_missing_variables_are_empty(#[case] source: &str, #[case] expected: &str) {
    assert_eq!(rendered(source, json!({"identity": {"displayName": "Ada"}})).await.unwrap(), expected);
}

#[rstest]
#[case("{{ memory.conversation }}", true)]
#[case("{% for said in memory.conversation %}{{ said.content }}{% endfor %}", true)]
#[case("{{ memory.conversation_summary }}", false)]
#[case("memory.conversation", false)]
fn a_prompt_knows_what_it_names(#[case] source: &str, #[case] expected: bool) {
    for name in [SYSTEM, CONTEXT] {
        let prompts = Prompts::compile([(name, source)]).unwrap();
        assert_eq!(prompts.mentions("memory.conversation"), expected, "{name}");
        assert_eq!(prompts.uses("memory"), source.contains('{'), "{name}");
    }
    assert!(!Prompts::compile([("notes", source)]).unwrap().mentions("memory.conversation"));
}

#[test]
fn a_broken_template_names_its_line() {
    let (name, error) = Prompts::compile([("greeting", "one\ntwo {{ unclosed")]).err().unwrap();
    assert!(name == "greeting" && error.to_string().starts_with("line 2:"), "{name}: {error}");
}

#[tokio::test]
async fn a_template_that_never_ends_is_stopped() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% if a %}{% endif %}{% endfor %}{% endfor %}";
    let prompts = Prompts::compile([(SYSTEM, endless)]).unwrap().in_sandbox(Arc::new(ThreadSandbox));
    let rendered = prompts.render(SYSTEM, Map::new, Instant::now()).await;
    assert!(matches!(&rendered, Err(PromptError::Render(reason)) if reason.contains("steps")), "{rendered:?}");
}

#[tokio::test]
async fn a_template_reaches_no_other_file() {
    assert!(Prompts::compile([(SYSTEM, "{% include '/etc/passwd' %}")]).is_err());
    assert!(rendered("{% include file %}", json!({"file": "/etc/passwd"})).await.is_err());
}

#[tokio::test]
async fn what_is_too_long_is_refused_with_the_bound() {
    let source = "{% for i in range(3) %}{{ text }}{% endfor %}";
    let prompts = Prompts::compile([(SYSTEM, source)]).unwrap().in_sandbox(Arc::new(ThreadSandbox));
    let variables = || Map::from_iter([("text".to_owned(), json!("x".repeat(RENDERED_MAX / 2)))]);
    let error = prompts.render(SYSTEM, variables, Instant::now()).await.unwrap_err();
    assert!(error.to_string().contains("1048576"), "{error}");
}

/// Small work that needs no sandbox: there is none here.
#[rstest]
#[case::counting("{% for m in messages %}{{ loop.index + 1 }}: {{ m.role|upper }}{% endfor %}")]
#[case::lists("{{ [query, name]|join(', ') }}{{ {'a': query}|tojson }}")]
#[case::conditions("{% if query == 'a' or name in ['x', 'y'] %}x{% elif messages|length > 3 %}y{% endif %}")]
#[case::macros("{% macro line(m) %}- {{ m.content }}{% endmacro %}{% for m in messages %}{{ line(m) }}{% endfor %}")]
#[case::percents("{{ share * 100 }} %")]
#[case::mapped(
    "{{ messages|map(attribute='role')|unique|sort|join(',') }}{{ messages|selectattr('role', 'eq', 'a')|list }}"
)]
#[case::set("{% set who = name or 'nobody' %}{% set text %}Dear {{ who }}{% endset %}{{ text ~ '!' }}")]
#[case::filtered(
    "{% for m in messages if m.role == 'user' %}{% if loop.first %}- {% endif %}{{ m.content }}{% else %}none{% endfor %}"
)]
#[case::indented("{{ messages|tojson(indent=2) }}{{ messages|tojson(4) }}")]
#[case::defaulted("{{ name|default('you', true) }}{{ today }}{{ query|replace('a', 'b')|trim }}")]
#[tokio::test]
async fn usual_prompts_are_rendered_in_place(#[case] source: &str) {
    let messages = vec![json!({"role": "user", "content": "Hello there."}); 20];
    let variables = json!({"query": "q", "name": "n", "share": 0.5, "messages": messages});
    let rendered = rendered(source, variables).await;
    assert!(rendered.is_ok(), "{rendered:?}");
}

/// What can make large or deep values of small ones.
#[rstest]
#[case::nested("{% set ns = namespace(a=[0]) %}{% for i in range(50000) %}{% set ns.a = [ns.a] %}{% endfor %}ok")]
#[case::a_circle("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}")]
#[case::shared(&format!("{{% set a = [1, 2] %}}{}{{{{ a }}}}", "{% set a = [a, a] %}".repeat(40)))]
#[case::compared(&format!("{}{{{{ a == b }}}}", "{% set a = [a, a] %}{% set b = [b, b] %}".repeat(20)))]
#[case::nested_in_a_row(&"{% set a = [a] %}\n".repeat(5000))]
#[case::maps(&"{% set a = {'x': a, 'y': a} %}".repeat(20))]
#[case::tuples(&"{% set a = (a, a) %}".repeat(20))]
#[case::added(&"{% set a = a + a %}".repeat(40))]
#[case::indented_by_much("{{ a|tojson(indent=1000000000) }}")]
#[case::indented_by_the_caller("{{ a|tojson(indent=price) }}")]
#[case::multiplied("{{ price * quantity }}")]
#[case::multiplied_by_much("{{ price * 1000000000 }}")]
#[case::multiplied_one_way("{{ price * (quantity if quantity else 5) }}")]
#[case::multiplied_by_the_other("{{ price * (quantity or 5) }}")]
#[case::dict("{% for i in range(9) %}{% set a = dict(x=a) %}{% endfor %}")]
#[case::macro_that_calls_itself("{% macro m(a) %}{{ m([a, a]) }}{% endmacro %}{{ m(1) }}")]
#[case::a_loop_that_calls_itself("{% for a in [[1]] recursive %}{{ loop([[a, a]]) }}{% endfor %}")]
#[case::filters("{% set a = a|map('default', a)|list %}")]
#[case::zipped(&"{% set a = a|zip(a)|list %}".repeat(9))]
#[case::everything("{{ debug() }}")]
#[tokio::test]
async fn what_makes_large_values_of_small_ones_is_not_rendered_in_place(#[case] source: &str) {
    let rendered = rendered(source, json!({"a": [1], "b": [1], "price": 1, "quantity": 2})).await;
    assert!(matches!(rendered, Err(PromptError::Unavailable(_))), "{rendered:?}");
}

#[rstest]
#[case::many("{% for x in data %}{{ x }}{% endfor %}", json!(vec![0; WEIGHT_IN_PLACE]))]
#[case::many_times(&format!("{{{{ [{}]|upper }}}}", ["data"; 200].join(", ")), json!("x".repeat(20_000)))]
#[case::compared("{{ data == other }}", json!(vec![0; WEIGHT_COMPARED]))]
#[case::long("{{ data }}", json!("x".repeat(WEIGHT_IN_PLACE * 128)))]
#[tokio::test]
async fn heavy_variables_are_not_gone_through_in_place(#[case] source: &str, #[case] data: Value) {
    let rendered = rendered(source, json!({"data": data})).await;
    assert!(matches!(rendered, Err(PromptError::Unavailable(_))), "{rendered:?}");
}

#[test]
fn what_no_template_can_name_is_known() {
    let prompts = Prompts::compile([
        (SYSTEM, "{% if false %}{{ x.y }}{% endif %}"),
        ("b", "{{ z() }}{% macro z() %}{% endmacro %}"),
    ])
    .unwrap();
    assert!(prompts.looks_up("x") && prompts.looks_up("z") && !prompts.looks_up("y"));
}

fn times(text: &str, count: usize) -> String {
    text.repeat(count)
}

/// Everything that the engine would go through by recursion, or compute, before it renders.
#[rstest]
#[case::sum(format!("{{{{ 1{} }}}}", times("+1", 100_000)))]
#[case::signs(format!("{{{{ {}1 }}}}", times("-", 100_000)))]
#[case::nots(format!("{{{{ {}1 }}}}", times("not ", 50_000)))]
#[case::dots(format!("{{{{ a{} }}}}", times(".b", 100_000)))]
#[case::numbers(format!("{{{{ a{} }}}}", times(".0", 100_000)))]
#[case::subscripts(format!("{{{{ a{} }}}}", times("[0]", 60_000)))]
#[case::slices(format!("{{{{ a{} }}}}", times("[1:2:3]", 30_000)))]
#[case::calls(format!("{{{{ range{} }}}}", times("()", 100_000)))]
#[case::filters(format!("{{{{ a{} }}}}", times("|upper", 40_000)))]
#[case::tests(format!("{{{{ a{} }}}}", times(" is odd", 30_000)))]
#[case::negated_tests(format!("{{{{ a{} }}}}", times(" is not odd", 20_000)))]
#[case::ands(format!("{{{{ a{} }}}}", times(" and a", 40_000)))]
#[case::ors(format!("{{{{ a{} }}}}", times(" or a", 40_000)))]
#[case::tildes(format!("{{{{ a{} }}}}", times("~a", 100_000)))]
#[case::equals(format!("{{{{ a{} }}}}", times("==a", 80_000)))]
#[case::within(format!("{{{{ a{} }}}}", times(" in a", 50_000)))]
#[case::powers(format!("{{{{ 2{} }}}}", times("**2", 80_000)))]
#[case::ifs(format!("{{{{ a{} }}}}", times(" if b", 50_000)))]
#[case::elses(format!("{{{{ a{} }}}}", times(" if b else a", 20_000)))]
#[case::parentheses(format!("{{{{ {}1{} }}}}", times("(", 100_000), times(")", 100_000)))]
#[case::lists(format!("{{{{ {}1{} }}}}", times("[", 100_000), times("]", 100_000)))]
#[case::unclosed_lists(format!("{{{{ {}", times("[", 200_000)))]
#[case::maps(format!("{{{{ {}1{} }}}}", times("{1:", 60_000), times("}", 60_000)))]
#[case::arguments(format!("{{{{ {}1{} }}}}", times("f(", 60_000), times(")", 60_000)))]
#[case::operators_in_brackets(format!("{{{{ {}1{} }}}}", times("1+1+1+1+1+(", 20), times(")+1+1+1", 20)))]
#[case::targets(format!("{{% set {}a{} = 1 %}}", times("(", 100_000), times(")", 100_000)))]
#[case::loop_targets(format!("{{% for {}a{} in b %}}{{% endfor %}}", times("(", 100_000), times(")", 100_000)))]
#[case::attributes_set(format!("{{% set a{} = 1 %}}", times(".b", 100_000)))]
#[case::ifs_in_ifs(times("{% if a %}", 20_000))]
#[case::elifs(format!("{{% if a %}}{}{{% endif %}}", times("{% elif a %}", 20_000)))]
#[case::loops(times("{% for a in b %}", 15_000))]
#[case::withs(times("{% with %}", 20_000))]
#[case::filter_blocks(times("{% filter upper %}", 12_000))]
#[case::filter_chains(format!("{{% filter upper{} %}}x{{% endfilter %}}", times("|upper", 40_000)))]
#[case::sets(times("{% set a %}", 20_000))]
#[case::sets_with_filters(times("{% set a|upper %}", 15_000))]
#[case::macros(times("{% macro a() %}", 15_000))]
#[case::call_blocks(times("{% call a() %}", 15_000))]
#[case::blocks((0..10_000).map(|index| format!("{{% block b{index} %}}")).collect::<String>())]
#[case::escapes(times("{% autoescape true %}", 10_000))]
#[case::a_list_times_a_number("{{ 2 in [1] * 1000000000000 }}".to_owned())]
#[case::a_number_times_a_list("{{ 1000000000000 * [1] ~ '' }}".to_owned())]
#[case::a_list_in_brackets_times_a_number("{% if (([1])) * 1000000000000 == 5 %}{% endif %}".to_owned())]
#[case::behind_a_word("{% include [1] * 1000000000000 ~ '' %}".to_owned())]
fn what_would_nest_too_deeply_is_refused_with_its_line(#[case] tag: String) {
    let Err(PromptError::Syntax { line, reason }) = on_a_worker(format!("one\ntwo\n{tag}"), json!({})) else {
        panic!("it is taken")
    };
    assert!(line == 3 && (reason.contains("than") || reason.contains("beside a `*`")), "{line}: {reason}");
}

/// Right at the bounds, on the stack that a worker has.
#[rstest]
#[case::sum(format!("{{{{ x{} }}}}", times("+1", 99)))]
#[case::constants(format!("{{{{ 1{} }}}}", times("+1", 99)))]
#[case::filters(format!("{{{{ a{} }}}}", times("|upper", 99)))]
#[case::dots(format!("{{{{ a{} }}}}", times(".b", 99)))]
#[case::nots(format!("{{{{ {}a }}}}", times("not ", 99)))]
#[case::signs(format!("{{{{ {}1 }}}}", times("-", 99)))]
#[case::elses(format!("{{{{ a{} }}}}", times(" if b else a", 49)))]
#[case::parentheses(format!("{{{{ {}a{} }}}}", times("(", 24), times(")", 24)))]
#[case::operators_in_brackets(format!("{{{{ {}a{} }}}}", times("not (", 24), times(")", 24)))]
#[case::blocks(format!("{}x{}", times("{% if not a %}", 60), times("{% endif %}", 60)))]
#[case::loops(format!("{}x{}", times("{% for i in [1] %}", 55), times("{% endfor %}", 55)))]
#[case::elifs(format!("{{% if a %}}{}{{% else %}}x{{% endif %}}", times("{% elif a %}", 59)))]
#[case::blocks_and_operators(format!("{}{{{{ 1{} }}}}{}", times("{% if not a %}", 60), times("+1", 99), times("{% endif %}", 60)))]
fn what_is_within_the_bounds_fits_a_worker(#[case] source: String) {
    let rendered = on_a_worker(source, json!({}));
    // Some are errors of types; none of them is one of nesting, and none ends the process.
    assert!(!matches!(rendered, Err(PromptError::Syntax { .. } | PromptError::Unavailable(_))), "{rendered:?}");
}

/// Without a bound on what calls itself, each of these would use up the stack.
#[rstest]
#[case::include("{% include 'system' %}")]
#[case::import("{% import 'system' as a %}")]
#[case::from_import("{% from 'system' import a %}")]
#[case::extends("{% extends 'system' %}")]
#[case::macros("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")]
#[case::callers("{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}")]
#[case::blocks("{% block b %}{{ self.b() }}{% endblock %}")]
#[case::loops("{% for a in 'ab' recursive %}{{ loop('ab') }}{% endfor %}")]
#[case::super_blocks("{% block b %}{{ super() }}{% endblock %}")]
fn what_calls_itself_ends(#[case] source: &str) {
    assert!(on_a_worker(source.to_owned(), json!({})).is_err());
}

/// A caller's JSON is as deep as the doors let it be.
#[rstest]
#[case("{{ data }}")]
#[case("{{ data|tojson }}")]
#[case("{{ data|pprint }}")]
#[case("{{ data == other }}")]
#[case("{{ data in [other] }}")]
#[case("{{ [data, other]|unique|list|length }}")]
#[case("{{ [data, other]|sort|length }}")]
#[case("{{ data ~ other }}")]
#[case("{{ data|string|length }}")]
fn deep_json_fits_a_worker(#[case] source: &str) {
    let nested = |open: &str, close: &str| {
        serde_json::from_str::<Value>(&format!("{}1{}", open.repeat(120), close.repeat(120))).unwrap()
    };
    for data in [nested("[", "]"), nested("{\"a\":", "}")] {
        let rendered = on_a_worker(source.to_owned(), json!({"data": data, "other": data}));
        assert!(!matches!(rendered, Err(PromptError::Syntax { .. })), "{rendered:?}");
    }
}

/// Filters and operators that make much of little, within what is rendered in place.
#[rstest]
#[case("{{ 'x'|center(1000000000000) }}")]
#[case("{{ 'x'|indent(1000000000000) }}")]
#[case("{{ '%1000000000d'|format(1) }}")]
#[case("{{ '%.999999999f'|format(1.5) }}")]
#[case("{{ {'a': 1}|tojson(indent=1000000000) }}")]
#[case("{{ 1.5|round(1000000000) }}")]
#[case("{{ range(1000000000000) }}")]
#[case("{{ range(99999)|join('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') }}")]
#[case("{{ range(99999)|list|tojson|length }}")]
#[case("{{ range(9)|batch(1000000000000, 'x')|list }}")]
#[case("{{ range(9)|slice(1000000000000)|list }}")]
#[case("{{ 'x' * 100 * 100 * 100 * 100 * 100 }}")]
#[case("{{ 'xxxx'|replace('', 'yyyyyyyyyyyyyyyyy') }}")]
#[case("{{ range(99999)[::-1] }}")]
#[case("{{ 99999999999 ** 99999999999 }}")]
fn much_of_little_has_a_bound(#[case] source: &str) {
    if let Ok(text) = on_a_worker(source.to_owned(), json!({})) {
        assert!(text.len() <= RENDERED_MAX);
    }
}

/// What templates are made of.
const WORDS: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{%- ",
    "{# ",
    " #}",
    "a",
    "b",
    "loop",
    "1",
    "'x'",
    "1.5",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "|",
    ".",
    "+",
    "-",
    "*",
    "**",
    "/",
    "%",
    "~",
    "==",
    "<",
    "=",
    " in ",
    " not ",
    " is ",
    " and ",
    " or ",
    " if ",
    " else ",
    "{% if a %}",
    "{% elif b %}",
    "{% else %}",
    "{% endif %}",
    "{% for a in b %}",
    "{% endfor %}",
    "{% set a = [a, a] %}",
    "{% set a = a + a %}",
    "{{ a }}",
    "{{ a == b }}",
    "{{ a * 3 }}",
    "{% macro a(b) %}",
    "{% endmacro %}",
    "{{ a(b) }}",
    "{% include 'system' %}",
    "{% block a %}",
    "{% endblock %}",
    "|list",
    "|sort",
    "|join",
    "|tojson",
    "|zip(a)",
    "range(99999)",
    "namespace(a=a)",
    "{% set a.b = a %}",
    "{% endset %}",
    "recursive",
    "\n",
    "text",
];

fn fragment() -> impl Strategy<Value = String> {
    let piece = (prop::sample::select(WORDS), 1usize..200);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| {
        pieces
            .into_iter()
            .map(|(word, count)| if count > 180 { word.repeat(count * 9) } else { word.to_owned() })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    /// A template may be anything: it is refused, or its rendering ends within its bounds. Neither ends the process.
    #[test]
    fn whatever_a_template_says_it_ends(source in fragment()) {
        if let Ok(text) = on_a_worker(source, json!({"a": [1, [2, 3]], "b": {"c": "d"}})) {
            prop_assert!(text.len() <= RENDERED_MAX);
        }
    }
}
