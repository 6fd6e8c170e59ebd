//! How long a large folder takes: nothing goes through everything for each thing.

use std::time::{Duration, Instant};

use agent_pod_import::{InputFile, import};

/// Far more than it takes, and far less than it would take to go through everything for each thing.
const MOST: Duration = Duration::from_secs(20);

fn file(path: &str, text: String) -> InputFile {
    InputFile { path: path.to_owned(), text }
}

/// How many manifests come of the files, in a time that does not grow with the square of their number.
fn imported(files: &[InputFile]) -> usize {
    let start = Instant::now();
    let made = import(files).manifests.len();
    assert!(start.elapsed() < MOST, "{made} manifests took {:?}", start.elapsed());
    made
}

fn agent(name: usize, spec: &str) -> String {
    format!("---\nkind: Agent\nmetadata: {{name: a{name}}}\nspec: {spec}\n")
}

#[test]
fn many_models_of_a_provider_that_many_use() {
    let models: Vec<String> = (0..20_000).map(|index| format!("m{index}")).collect();
    let provider =
        format!("kind: ProviderConfig\nspec: {{providers: {{p: {{type: ollama, models: [{}]}}}}}}", models.join(", "));
    let text = (0..300).map(|index| agent(index, "{model: {primary: {providerRef: p}}}")).collect();
    // More models than a Provider may have: they go, and with them the agents that name none themselves.
    assert_eq!(imported(&[file("providers.yaml", provider), file("agents/a.agent.yaml", text)]), 1);
}

#[test]
fn many_agents_that_call_each_other() {
    let calls = |other: usize| {
        let tool = format!("{{name: t, type: agent, agent: a{other}}}");
        format!("{{model: {{primary: {{provider: ollama, model: m}}}}, tools: [{tool}]}}")
    };
    let text = (0..200).map(|index| agent(index, &calls(index ^ 1))).collect();
    // Twenty circles are opened; what calls an agent then goes.
    assert_eq!(imported(&[file("agents/a.agent.yaml", text)]), 21);
}

#[test]
fn many_files_that_hold_nothing() {
    let files: Vec<InputFile> = (0..20_000).map(|index| file(&format!("f{index}.yaml"), String::new())).collect();
    assert_eq!(imported(&files), 0);
}

#[test]
fn many_templates_of_one_name() {
    let templates: String =
        (0..5_000).map(|index| format!("      '{}': x\n", char::from_u32(0x4e00 + index).unwrap())).collect();
    let spec =
        format!("\n  model: {{primary: {{provider: ollama, model: m}}}}\n  prompts:\n    templates:\n{templates}");
    // More than an Agent may have: they are left out.
    assert_eq!(imported(&[file("agents/a.agent.yaml", agent(0, &spec))]), 2);
}

#[test]
fn what_is_said_is_short() {
    let long = "x".repeat(100_000);
    let key = "k".repeat(900);
    let spec = format!("{{model: {{primary: {{providerRef: {long}}}}}, identity: {{{key}: 1}}, {key}: {{a: 1}}}}");
    let files = [
        file("agents/a.agent.yaml", agent(0, &spec)),
        file("agents/b.agent.yaml", format!("a: {}\n", "9".repeat(100_000))),
        file("c.yaml", format!("kind: {long}\n")),
    ];
    let remarks = import(&files).report.remarks();
    assert!(remarks.len() > 4, "{}", remarks.len());
    for remark in remarks.iter().map(ToString::to_string) {
        assert!(remark.chars().count() < 1_100, "{remark:.200}");
    }
    assert!(remarks.iter().any(|remark| remark.message.ends_with("… (line 1)")));
}
