//! What a person looks at when a test has failed.

use crate::command::kubectl;
use crate::operator;

/// Prints the objects, events and logs of a namespace, and the end of the operator's log.
#[expect(clippy::print_stderr, reason = "the explanation of a failed test belongs to its output")]
pub(crate) async fn explain(namespace: &str) {
    let operator_selector = operator::SELECTOR;
    let commands: [&[&str]; 7] = [
        &["-n", namespace, "get", "agents,providers,deployments,services,configmaps,pods", "-o", "wide"],
        &["-n", namespace, "get", "agents,providers", "-o", "yaml"],
        &["-n", namespace, "get", "events", "--sort-by=.metadata.creationTimestamp"],
        &["-n", namespace, "describe", "pods"],
        &["-n", namespace, "logs", "-l", "app.kubernetes.io/name=agent-pod", "--tail=60", "--prefix"],
        &["-n", operator::NAMESPACE, "get", "pods,deployments,leases", "-o", "wide"],
        &["-n", operator::NAMESPACE, "logs", "-l", operator_selector, "--tail=80", "--prefix"],
    ];
    for command in commands {
        let text = match kubectl(command).await {
            Ok(output) => format!("{}{}", output.stdout, output.stderr),
            Err(error) => format!("{error:#}"),
        };
        eprintln!("\n$ kubectl {}\n{text}", command.join(" "));
    }
}
