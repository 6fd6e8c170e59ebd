//! Nesting and rows without a bound must never end the process: templates, JSON, schemas, documents.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Answer;
use crate::frames::{handshake, says};
use crate::manifests::{TOOLS, agent, one_agent, provider};
use crate::model::{EVENTS, JSON, Model, call};
use crate::pod::{Pod, program, slow, until};

/// A list in a list in a list, made by a loop: 87 characters for any depth.
const NESTED_BY_A_LOOP: &str =
    "{% set ns = namespace(a=[0]) %}{% for i in range(50000) %}{% set ns.a = [ns.a] %}{% endfor %}ok";

/// Operators and postfixes in a row, each within the 20,000 characters of the tool.
fn rows() -> Vec<(&'static str, String)> {
    let row = |open: &str, part: &str, times: usize, close: &str| format!("{open}{}{close}", part.repeat(times));
    vec![
        ("plus", row("{{ ", "1+", 9_000, "1 }}")),
        ("not", row("{{ ", "not ", 4_900, "1 }}")),
        ("minus", row("{{ ", "-", 19_000, "1 }}")),
        ("and", row("{{ ", "a and ", 3_200, "a }}")),
        ("tilde", row("{{ ", "a~", 9_000, "a }}")),
        ("less", row("{{ ", "a < ", 4_900, "a }}")),
        ("power", row("{{ ", "1**", 6_000, "1 }}")),
        ("else", row("{{ ", "a if a else ", 1_500, "a }}")),
        ("attributes", row("{{ a", ".a", 9_000, " }}")),
        ("items", row("{{ a", "[0]", 6_000, " }}")),
        ("slices", row("{{ a", "[::1]", 3_900, " }}")),
        ("filters", row("{{ a", "|e", 9_000, " }}")),
        ("calls", row("{{ a", "()", 9_000, " }}")),
        ("tests", row("{{ a", " is x", 3_900, " }}")),
        ("lists", row("{{ ", "[", 9_000, "") + &"]".repeat(9_000) + " }}"),
        ("maps", row("{{ ", "{1:", 4_900, "1") + &"}".repeat(4_900) + " }}"),
        ("parentheses", row("{{ ", "(", 9_000, "1") + &")".repeat(9_000) + " }}"),
        ("blocks", row("", "{% if a %}", 1_800, "")),
        ("branches", row("{% if a %}", "{% elif a %}", 1_600, "{% endif %}")),
        ("a macro of itself", "{% macro f(n) %}{{ f(n+1) }}{{ f(n+1) }}{% endmacro %}{{ f(0) }}".to_owned()),
        ("a recursive loop", "{% for i in [[]] recursive %}{{ loop([[]]) }}{% endfor %}".to_owned()),
        ("itself", "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}{{ ns.a == ns.a }}".to_owned()),
    ]
}

fn transformed(pod: &Pod, template: &str) -> Answer {
    pod.tool("json_transform", &json!({"template": template, "data": {"a": 1}}))
}

#[test]
fn values_that_a_loop_nests_do_not_end_the_process() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    for used in ["ok", "{{ ns.a }}", "{{ ns.a == ns.a }}", "{{ ns.a|tojson }}", "{{ [ns.a]|sort }}", "{{ {ns.a: 1} }}"]
    {
        let answer = transformed(&pod, &format!("{NESTED_BY_A_LOOP}{used}"));
        assert!(answer.is_documented(), "{used}: {answer:?}");
    }
    pod.survives();
}

#[test]
fn rows_of_operators_are_refused_at_the_tool_door() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    for (name, template) in rows() {
        let answer = transformed(&pod, &template);
        assert!(answer.is_documented(), "{name}: {answer:?}");
    }
    pod.survives();
}

#[test]
fn a_model_that_sends_such_templates_is_told_so() {
    let templates: Vec<_> = rows().into_iter().map(|(_, template)| template).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let model = Model::start(move |request, out| {
        if request["messages"].as_array().is_some_and(|said| said.len() > 2) {
            return crate::model::hello(out);
        }
        let template = &templates[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % templates.len()];
        call(request, out, "json_transform", &json!({"template": template, "data": {"a": 1}}).to_string())
    });
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    for _ in 0..rows().len() {
        let answer = pod.run("a", &json!({"query": "x"}));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    pod.survives();
}

/// Manifests with a prompt that must be refused, and an agent that must serve.
fn with_prompt(url: &str, prompt: &str, by_map: bool) -> String {
    let good = one_agent(url, "");
    if !by_map {
        return good + &agent("bad", prompt, "");
    }
    let text = serde_json::to_string(prompt).unwrap();
    good + &format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: texts}}\ndata: {{system: {text}}}\n---\napiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: bad}}\nspec:\n  model: {{candidates: [{{providerRef: {{name: p}}}}]}}\n  prompts: {{systemFrom: {{configMapKeyRef: {{name: texts, key: system}}}}}}\n"
    )
}

#[test]
fn a_prompt_of_operators_is_refused_with_its_line_and_the_others_serve() {
    let model = Model::polite();
    let long = format!("\n{{{{ {}1 }}}}", "1+".repeat(131_000));
    for by_map in [false, true] {
        let manifests = with_prompt(&model.url(), &long, by_map);
        let mut checked = Command::new(program())
            .args(["validate", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(checked.stdin.take().unwrap().write_all(manifests.as_bytes()));
        let checked = checked.wait_with_output().unwrap();
        assert_eq!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stderr));

        let pod = Pod::serve(&manifests);
        let refused = pod.state()["rejected"].to_string();
        assert!(refused.contains("agents.bad.prompts.system") && refused.contains("line 2"), "{refused}");
        pod.survives();
    }
}

#[test]
fn a_prompt_that_nests_by_a_loop_costs_its_run_and_nothing_else() {
    let model = Model::polite();
    let manifests = one_agent(&model.url(), "") + &agent("bad", &format!("{NESTED_BY_A_LOOP}{{{{ ns.a }}}}"), "");
    let pod = Pod::serve(&manifests);
    drop(pod.run("bad", &json!({"query": "x"})));
    pod.survives();
}

#[test]
fn a_deep_schema_or_document_is_refused_and_the_others_serve() {
    let model = Model::polite();
    let deep = |levels: usize| format!("{}{{}}{}", "{not: ".repeat(levels), "}".repeat(levels));
    for levels in [100, 1_000, 100_000] {
        let tool = format!("  tools:\n    - {{name: t, type: client, parameters: {}}}\n", deep(levels));
        let pod = Pod::serve(&one_agent(&model.url(), ""));
        std::fs::write(pod.folder.path().join("bad.yaml"), agent("bad", "", &tool)).unwrap();
        sleep(slow(Duration::from_millis(100)));
        pod.survives();
    }
}

#[test]
fn deep_json_is_refused_at_every_door() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for levels in [120_usize, 10_000, 1_000_000] {
            let deep = format!("{}0{}", open.repeat(levels), close.repeat(levels));
            let bodies = [
                ("/v1/agents/a/run", format!("{{\"query\":\"x\",\"context\":{deep}}}")),
                ("/v1/agents/a/run", deep.clone()),
                ("/v1/chat/completions", format!("{{\"model\":\"a\",\"messages\":{deep}}}")),
                (
                    "/v1/tools/execute",
                    format!(
                        "{{\"agent\":\"a\",\"tool\":\"json_transform\",\"arguments\":{{\"template\":\"{{{{ data }}}}\",\"data\":{deep}}}}}"
                    ),
                ),
            ];
            for (path, body) in bodies {
                let answer = pod.send(path, body);
                assert!(answer.is_documented(), "{path}, {levels} levels: {answer:?}");
            }
            let mut socket = handshake(&pod, "a");
            let told = says(&mut socket, &format!("{{\"query\":\"x\",\"context\":{deep}}}"));
            assert!(told.contains("\"done\"") || told.contains("\"error\""), "{told}");
        }
    }
    pod.survives();
}

#[test]
fn deep_json_of_a_model_is_its_fault() {
    let replies: [fn() -> String; 4] = [
        || format!("{JSON}{}", "[".repeat(10_000_000)),
        || format!("{EVENTS}data: {}\n\n", "{\"a\":".repeat(1_000_000)),
        || format!("{JSON}{{\"choices\":[{{\"message\":{{\"content\":{}", "[".repeat(5_000_000)),
        || format!("{EVENTS}data: [{}\n\n", "[".repeat(120)),
    ];
    for reply in replies {
        let first = std::sync::atomic::AtomicBool::new(true);
        let model = Model::start(move |_, out| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => out.write_all(reply().as_bytes()),
            false => crate::model::hello(out),
        });
        let pod = Pod::serve(&one_agent(&model.url(), ""));
        let answer = pod.run("a", &json!({"query": "x"}));
        assert!(answer.is_documented(), "{answer:?}");
        pod.survives();
    }
}

#[test]
fn deep_arguments_of_a_model_are_told_to_it() {
    for levels in [100_usize, 100_000] {
        let arguments =
            format!("{{\"template\":\"{{{{ data }}}}\",\"data\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let model = Model::start(move |request, out| call(request, out, "json_transform", &arguments));
        let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
        let answer = pod.run("a", &json!({"query": "x"}));
        assert!(answer.is_documented(), "{answer:?}");
        let begun = Instant::now();
        until("an end", || pod.state()["inFlight"] == 0 || begun.elapsed() > Duration::from_secs(20));
        pod.survives();
    }
}

#[test]
fn a_provider_that_is_only_a_deep_document_leaves_the_others() {
    let model = Model::polite();
    let flow = "[".repeat(100_000);
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    std::fs::write(pod.folder.path().join("bad.yaml"), format!("{}extra: {flow}\n", provider(&model.url()))).unwrap();
    sleep(slow(Duration::from_millis(100)));
    pod.survives();
}
