//! Why pods do not come, in the words of Kubernetes and of the pod itself. Pure.

use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodCondition};
use serde_json::Value;

/// The longest message that is passed on.
const CHARS_MAX: usize = 600;
/// The kubelet tells a failed pull by one of these, in turns; the second is what it becomes.
const PULLS: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];
/// What no time heals: the image's name is none, or may not be pulled by its policy.
const PERMANENT: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];
/// A container that is on its way.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Why a pod does not come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// Kubernetes' own word for it: `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`, `FailedCreate`, …
    pub reason: String,
    /// What is known of the cause, without anything that changes by itself.
    pub message: String,
    /// Whether it stays until somebody edits something.
    pub permanent: bool,
}

impl Trouble {
    pub(crate) fn new(reason: &str, message: &str) -> Self {
        let mut message = message.to_owned();
        if let Some((end, _)) = message.char_indices().nth(CHARS_MAX) {
            message.truncate(end);
            message.push('…');
        }
        Self { reason: reason.to_owned(), message, permanent: PERMANENT.contains(&reason) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// Why a pod that is not ready does not come, if it says so.
pub(super) fn of_pod(conditions: &[PodCondition], containers: &[ContainerStatus]) -> Option<Trouble> {
    containers.iter().find_map(of_container).or_else(|| unschedulable(conditions))
}

fn unschedulable(conditions: &[PodCondition]) -> Option<Trouble> {
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    let reason = scheduled.reason.as_deref().filter(|_| scheduled.status == "False")?;
    Some(Trouble::new(reason, scheduled.message.as_deref().unwrap_or("no node takes the pod")))
}

fn of_container(container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    if PULLS.contains(&reason) {
        // Both say the same cause, one of them after a preface.
        let cause = message.split_once("ErrImagePull: ").map_or(message, |(_, cause)| cause);
        let cause = if reason == PULLS[1] && cause == message { "" } else { cause };
        return Some(Trouble::new(PULLS[1], &of_image(&container.image, cause)));
    }
    let ended = last_end(container);
    if reason == "CrashLoopBackOff" || (container.restart_count > 0 && ended.is_some()) {
        return Some(Trouble::new("CrashLoopBackOff", &ended.map_or_else(|| message.to_owned(), last_words)));
    }
    if reason.is_empty() || STARTING.contains(&reason) {
        return None;
    }
    let image = PERMANENT.contains(&reason).then(|| of_image(&container.image, message));
    Some(Trouble::new(reason, image.as_deref().unwrap_or(message)))
}

fn of_image(image: &str, cause: &str) -> String {
    let separator = if cause.is_empty() { "" } else { ": " };
    format!("the image `{image}` cannot be pulled{separator}{cause}")
}

/// How the container ended last, if it did not end well.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let before = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or(before).filter(|end| end.exit_code != 0)
}

/// What a container that ended has said last; where it was killed, by what.
fn last_words(end: &ContainerStateTerminated) -> String {
    if end.reason.as_deref() == Some("OOMKilled") {
        return "OOMKilled: the pod needs more memory than runtime.resources.limits.memory".to_owned();
    }
    let said = end.message.as_deref().unwrap_or_default();
    match said.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("the pod ended with exit code {}; it said last: {}", end.exit_code, without_clock(line)),
        None => format!("the pod ended with exit code {} and said nothing", end.exit_code),
    }
}

/// Of a line of a JSON log what does not change from one start to the next.
fn without_clock(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return line.to_owned() };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    match (text("message"), text("error")) {
        (Some(message), Some(error)) => format!("{message}: {error}"),
        (Some(said), None) | (None, Some(said)) => said.to_owned(),
        (None, None) => line.to_owned(),
    }
}

/// A pod that its node cannot set up. What the node says of it is in the pod's Events only, which the operator may not read.
#[must_use]
pub fn not_set_up(pod: &str) -> Trouble {
    let message = format!(
        "its node has not been able to set pod `{pod}` up for a while; `kubectl describe pod` says why: a volume, the network, or a memory limit \
         that is too small to start anything"
    );
    Trouble::new("ContainerCreating", &message)
}

/// Why a Deployment's pods are not made, from its condition `ReplicaFailure`: without the name that each try has of its own.
#[must_use]
pub fn not_made(message: &str) -> Trouble {
    let cause = message.split_once(" is forbidden: ").map_or(message, |(_, cause)| cause);
    Trouble::new("FailedCreate", &format!("pods cannot be created: {cause}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn trouble(conditions: Value, container: Value) -> Option<String> {
        let mut whole = json!({"name": "agent", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0});
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let conditions: Vec<PodCondition> = serde_json::from_value(conditions).unwrap();
        of_pod(&conditions, &[serde_json::from_value(whole).unwrap()]).map(|trouble| trouble.to_string())
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"state": {"waiting": {"reason": reason, "message": message}}})
    }

    fn crashed(reason: &str, code: i32, said: &str) -> Value {
        json!({"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
            "lastState": {"terminated": {"exitCode": code, "reason": reason, "message": said}}})
    }

    const PULL: &str = "ImagePullBackOff: the image `x:1` cannot be pulled: not found";

    #[rstest]
    #[case::pull(waiting("ErrImagePull", "not found"), PULL)]
    #[case::pull_again(waiting("ImagePullBackOff", "Back-off pulling image \"x:1\": ErrImagePull: not found"), PULL)]
    #[case::pull_without_a_cause(
        waiting("ImagePullBackOff", "Back-off pulling image \"x:1\""),
        "ImagePullBackOff: the image `x:1` cannot be pulled"
    )]
    #[case::name(
        waiting("InvalidImageName", "invalid reference format"),
        "InvalidImageName: the image `x:1` cannot be pulled: invalid reference format"
    )]
    #[case::config(
        waiting("CreateContainerConfigError", "secret \"s\" not found"),
        "CreateContainerConfigError: secret \"s\" not found"
    )]
    #[case::crash(
        crashed(
            "Error",
            1,
            "{\"timestamp\":\"t\",\"level\":\"ERROR\",\"message\":\"failed\",\"error\":\"no document\"}\n"
        ),
        "CrashLoopBackOff: the pod ended with exit code 1; it said last: failed: no document"
    )]
    #[case::crash_in_plain_words(
        crashed("Error", 2, "a\nerror: unexpected argument\n\n"),
        "CrashLoopBackOff: the pod ended with exit code 2; it said last: error: unexpected argument"
    )]
    #[case::silent_crash(
        crashed("Error", 139, ""),
        "CrashLoopBackOff: the pod ended with exit code 139 and said nothing"
    )]
    #[case::memory(
        crashed("OOMKilled", 137, "half a li"),
        "CrashLoopBackOff: OOMKilled: the pod needs more memory than runtime.resources.limits.memory"
    )]
    fn what_a_container_waits_for_is_told(#[case] container: Value, #[case] told: &str) {
        assert_eq!(trouble(json!([]), container).as_deref(), Some(told));
    }

    #[test]
    fn between_two_crashes_the_same_is_told() {
        let mut running = crashed("Error", 1, "no document");
        let first = trouble(json!([]), running.clone());
        running["state"] = json!({"running": {}});
        assert_eq!(trouble(json!([]), running.clone()), first);
        running["restartCount"] = json!(3);
        running["state"] = json!({"terminated": {"exitCode": 1, "message": "no document"}});
        assert_eq!(trouble(json!([]), running), first);
    }

    #[test]
    fn a_pod_that_starts_has_no_trouble() {
        assert_eq!(trouble(json!([]), waiting("ContainerCreating", "")), None);
        assert_eq!(
            trouble(json!([{"type": "PodScheduled", "status": "True"}]), json!({"state": {"running": {}}})),
            None
        );
    }

    #[test]
    fn the_schedulers_sentence_is_told() {
        let sentence = "0/1 nodes are available: 1 Insufficient cpu.";
        let conditions =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": sentence}]);
        assert_eq!(trouble(conditions, json!({})), Some(format!("Unschedulable: {sentence}")));
    }

    #[test]
    fn a_quota_is_told_without_the_name_of_the_try() {
        let quota = "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0";
        let told = |try_: &str| not_made(&format!("pods \"support-agent-{try_}\" is forbidden: {quota}"));
        assert_eq!(told("a"), told("b"));
        assert_eq!(told("a").to_string(), format!("FailedCreate: pods cannot be created: {quota}"));
    }
}
