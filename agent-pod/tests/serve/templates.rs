//! Templates that mean no good: of authors, callers and models. None of them ends the pod or holds up anyone else.

use std::process::Command;

use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

const DEEP: &str = "{% set ns = namespace(a=[0]) %}{% for i in range(50000) %}{% set ns.a = [ns.a] %}{% endfor %}ok";

/// Two lists that share their halves, compared or printed.
fn shared(end: &str) -> String {
    format!("{{% set a = [1] %}}{{% set b = [1] %}}{}{end}", "{% set a = [a, a] %}{% set b = [b, b] %}".repeat(40))
}

async fn pod_with(prompts: &[(&str, &str)]) -> (ModelServer, Folder, Pod) {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent(
        "good",
        "fine",
        "  tools: [{name: json_transform, type: internal}, {name: calculator, type: internal}]\n",
    );
    for (name, prompt) in prompts {
        folder.agent(name, prompt, "");
    }
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    (model, folder, pod)
}

async fn execute(pod: &Pod, tool: &str, arguments: Value) -> (u16, Value) {
    let body = json!({"agent": "good", "tool": tool, "arguments": arguments});
    let answer = pod.http.post(format!("{}/v1/tools/execute", pod.api)).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[rstest]
#[case::nested_deeply(DEEP.to_owned(), "memory")]
#[case::many_operators(format!("{{{{ 1{} }}}}", "+1".repeat(9_990)), "line 1: more than 100 operators")]
#[case::a_circle("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".to_owned(), "memory")]
#[case::shared_and_compared(shared("{{ a == b }}"), "CPU")]
#[case::shared_and_printed(shared("{{ a }}"), "")]
#[case::shared_and_written(shared("{{ a|tojson }}"), "")]
#[case::shared_and_looked_for(shared("{{ a in [b] }}"), "CPU")]
#[case::shared_and_sorted(shared("{{ [a, b]|sort|length }}"), "CPU")]
#[case::shared_and_told_apart(shared("{{ [a, b]|unique|list|length }}"), "CPU")]
#[case::a_long_list("{{ [1] + data * 1000000000 }}".to_owned(), "")]
#[case::a_long_text("{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}".to_owned(), "")]
#[case::a_long_result("{{ 'x' * 1100000 }}".to_owned(), "1048576")]
#[case::a_list_without_end("{% set l = data * 9000000000000 %}{{ [l] == [l + [2]] }}".to_owned(), "")]
#[tokio::test]
async fn a_callers_template_gets_no_further_than_its_bounds(#[case] template: String, #[case] bound: &str) {
    let (_model, _folder, pod) = pod_with(&[]).await;
    let data = json!([1]);
    let (status, answer) = execute(&pod, "json_transform", json!({"data": data, "template": template})).await;
    assert_eq!((status, &answer["ok"]), (200, &json!(false)), "{answer}");
    assert!(answer.to_string().contains(bound), "{answer}");
    // The pod is there, and so is the tool.
    let (_, answer) = execute(&pod, "json_transform", json!({"data": {"a": 7}, "template": "{{ data.a }}"})).await;
    assert_eq!((&answer["ok"], &answer["result"]), (&json!(true), &json!("7")), "{answer}");
    assert_eq!(pod.answer("good").await, "fine");
}

#[tokio::test]
async fn many_hostile_templates_at_once_hold_up_no_run() {
    let (_model, _folder, pod) = pod_with(&[]).await;
    let template = shared("{{ a == b }}");
    let one = || execute(&pod, "json_transform", json!({"data": 1, "template": template}));
    let hostile = futures::future::join_all((0..6).map(|_| one()));
    let runs = async {
        for _ in 0..20 {
            assert_eq!(pod.answer("good").await, "fine");
            assert!(pod.ready().await);
        }
    };
    let (answers, ()) = futures::join!(hostile, runs);
    assert!(answers.iter().all(|(_, answer)| answer["ok"] == false), "{answers:?}");
}

#[tokio::test]
async fn a_calculator_computes_no_list() {
    let (_model, _folder, pod) = pod_with(&[]).await;
    for expression in ["2 in [1] * 1000000000000".to_owned(), "1".to_owned() + &"+1".repeat(499)] {
        let (_, answer) = execute(&pod, "calculator", json!({"expression": expression})).await;
        assert_eq!(answer["ok"], false, "{answer}");
    }
}

/// A prompt that could never be compiled.
#[rstest]
#[case::many_operators(format!("one\n{{{{ 1{} }}}}", "+1".repeat(100_000)), "line 2: more than 100 operators")]
#[case::many_branches(format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(10_000)), "line 1: blocks stand")]
#[case::computed_for_ever("{{ 2 in [1] * 1000000000000 }}".to_owned(), "line 1: a list is written out beside")]
#[tokio::test]
async fn a_prompt_that_nests_too_deeply_is_a_problem_of_its_agent(#[case] prompt: String, #[case] problem: &str) {
    let (_model, folder, pod) = pod_with(&[("bad", &prompt)]).await;
    let state = pod.state().await;
    let said = state["rejected"]["problems"][0].clone();
    assert_eq!(said["path"], "agents.bad.prompts.system", "{state}");
    assert!(said["message"].as_str().unwrap().starts_with(problem), "{said}");
    assert_eq!(pod.answer("good").await, "fine");
    let validate = Command::new(env!("CARGO_BIN_EXE_agent-pod")).arg("validate").arg(folder.path()).output().unwrap();
    let out = String::from_utf8(validate.stdout).unwrap();
    assert_eq!(validate.status.code(), Some(1), "{out}");
    assert!(out.contains(&format!("bad.yaml: Agent/bad: spec.prompts.system: {problem}")), "{out}");
}

#[tokio::test]
async fn a_prompt_that_uses_up_its_bounds_fails_its_runs_and_no_others() {
    let compared = shared("{{ a == b }}");
    let printed = shared("{{ a }}");
    let counted =
        "{% set ns = namespace(n=0) %}{% for t in [1, 2, 3] %}{% set ns.n = ns.n + t %}{% endfor %}{{ ns.n }}";
    let (_model, _folder, pod) = pod_with(&[
        ("deep", DEEP),
        ("compared", &compared),
        ("printed", &printed),
        ("counted", counted),
        ("priced", "{{ price * quantity }}"),
    ])
    .await;
    for agent in ["deep", "compared", "printed"] {
        let answer = pod.ask(agent, &json!({"query": "hi"})).send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (500, &json!("internal")), "{agent}: {answer}");
    }
    assert_eq!(pod.answer("counted").await, "6");
    // A caller's list in place of a number.
    let context = json!({"query": "hi", "context": {"price": [1], "quantity": 1_000_000_000_000_u64}});
    assert_eq!(pod.ask("priced", &context).send().await.unwrap().status(), 500);
    let context = json!({"query": "hi", "context": {"price": 6, "quantity": 7}});
    let answer: Value = pod.ask("priced", &context).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["answer"], "42");
    assert_eq!(pod.answer("good").await, "fine");
}

/// What every door reads, deeper than any parser's stack.
#[tokio::test]
async fn documents_that_nest_too_deeply_are_refused_at_every_door() {
    let (_model, folder, pod) = pod_with(&[]).await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (path, body) in [
        ("/v1/agents/good/run", format!("{{\"query\":\"x\",\"context\":{{\"a\":{deep}}}}}")),
        ("/v1/tools/execute", format!("{{\"agent\":\"good\",\"tool\":\"calculator\",\"arguments\":{deep}}}")),
        ("/v1/chat/completions", format!("{{\"model\":\"good\",\"messages\":{deep}}}")),
    ] {
        let request = pod.http.post(format!("{}{path}", pod.api)).header("content-type", "application/json").body(body);
        let status = request.send().await.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    folder.write("deep.yaml", &deep);
    folder.write("deeper.yaml", &format!("a: {}", "{a: ".repeat(100_000)));
    folder.write("indented.yaml", &(0..700).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>());
    pod.await_state("the files", |state| state["rejected"]["problems"].as_array().is_some_and(|all| all.len() >= 3))
        .await;
    assert_eq!(pod.answer("good").await, "fine");
}
