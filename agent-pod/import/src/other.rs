//! Files that have no counterpart, or not yet: each of their parts is reported.

use serde_json::Value;

use crate::read::{Document, Kind};
use crate::report::Report;

/// Reports what a document holds that is not converted.
pub(crate) fn report(document: &Document, report: &Report) {
    let say = |path: &str, message: &str| report.remark(&document.file, path, message);
    match document.kind {
        Kind::Agent | Kind::Providers => {}
        Kind::Channels => each(
            document,
            "channels",
            report,
            "not possible yet: the kind Channel comes in a later release; keep the file and import it again",
        ),
        Kind::Rag => {
            say(
                "",
                "not possible yet: the kind RagPipeline comes in a later release; keep the file and import it again",
            );
            each(document, "spec", report, "not carried over, because the pipeline is not");
        }
        Kind::Runtime => runtime(document, report),
        Kind::Workflow => {
            say(
                "",
                "workflows have no counterpart; build the steps as an agent with tools, or of the pattern pipeline",
            );
        }
        Kind::Connections => each(
            document,
            "connections",
            report,
            "not carried over; give the address and the Secret to the webhook tools that need them",
        ),
        Kind::Template => say("", "templates of agents have no counterpart; use Helm or Kustomize"),
        Kind::Evaluation => say("", "evaluations have no counterpart; keep them with your own tests"),
    }
}

fn each(document: &Document, key: &str, report: &Report, message: &str) {
    for name in document.value.get(key).and_then(Value::as_object).into_iter().flat_map(|parts| parts.keys()) {
        report.remark(&document.file, &format!("{key}.{name}"), message);
    }
    beside(document, key, report);
}

/// What stands beside the part that was looked at.
fn beside(document: &Document, key: &str, report: &Report) {
    const HEADER: [&str; 3] = ["apiVersion", "kind", "metadata"];
    for name in document.value.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if name != key && !HEADER.contains(&name.as_str()) {
            report.remark(&document.file, name, "not a field that the original has here; left out");
        }
    }
}

fn runtime(document: &Document, report: &Report) {
    let spec = document.value.get("spec").and_then(Value::as_object);
    for (name, value) in spec.into_iter().flatten() {
        let why = match name.as_str() {
            "api" => {
                "belongs to the process: `agent-pod serve --listen ADDR`; in a cluster the Service listens at port 80"
            }
            "defaults" => "had no effect in the original; set orchestration of each Agent",
            "services" | "peers" | "mesh" => {
                "a node runs no services of its own; in a cluster the operator runs the agents"
            }
            "observability" => "belongs to the process; metrics are at the admin port",
            _ => "not a field that the original has here; left out",
        };
        let keys: Vec<&String> = value.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
        if keys.is_empty() {
            report.remark(&document.file, &format!("spec.{name}"), why);
        }
        for key in keys {
            report.remark(&document.file, &format!("spec.{name}.{key}"), why);
        }
    }
    beside(document, "spec", report);
}
