//! Any template of a caller gets an answer, soon.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{fuzz, words};
use crate::manifests::{TOOLS, one_agent};
use crate::model::Model;
use crate::pod::{Pod, slow};

const WORDS: &[&str] = &[
    "{{ ",
    " }}",
    "{% set ns = namespace(a=[0]) %}",
    "{% set ns.a = [ns.a, ns.a] %}",
    "{% for i in range(60) %}",
    "{% endfor %}",
    "{% if a %}",
    "{% elif b %}",
    "{% else %}",
    "{% endif %}",
    "{% macro f(x) %}",
    "{% endmacro %}",
    "{% set x = ",
    " %}",
    "{% raw %}",
    "data",
    "data.a",
    "ns.a",
    "ns",
    "[1, 2]",
    "{'a': 1}",
    "'text'",
    "1",
    "-",
    "not ",
    " == ",
    " < ",
    " in ",
    " + ",
    " * ",
    " ** ",
    " ~ ",
    " if ",
    " else ",
    "|tojson",
    "|list",
    "|sort",
    "|unique",
    "|join(',')",
    "|length",
    "|string",
    "|replace('a', 'aa')",
    "|groupby('a')",
    "|batch(9)",
    ".a",
    "[0]",
    "[::2]",
    "(",
    ")",
    "range(1000)",
    "f(1)",
    "loop(i)",
    " is defined",
    "\n",
    "{#",
    "#}",
    "é",
];

#[test]
fn templates() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), TOOLS));
    fuzz("templates", words(WORDS, 60), |bytes| {
        let begun = Instant::now();
        let arguments = json!({"template": String::from_utf8_lossy(bytes), "data": {"a": 1, "name": "Ada"}});
        let answer = pod.tool("json_transform", &arguments);
        if !answer.is_documented() || begun.elapsed() > slow(Duration::from_secs(5)) {
            return Err(format!("{:?} after {:?}: {}", answer, begun.elapsed(), String::from_utf8_lossy(bytes)));
        }
        Ok(())
    });
    pod.survives();
}
