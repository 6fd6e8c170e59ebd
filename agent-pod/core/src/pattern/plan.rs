//! `plan_and_execute`: a planner names the steps, a worker carries them out in order, a synthesizer writes the answer.

use std::collections::VecDeque;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::tool_loop::{self, Job};
use super::{PatternEnd, ends_the_run};
use crate::agent::{Asking, Turn};
use crate::error::{ErrorCode, RunError};
use crate::event::Finish;
use crate::message::{Message, Role};
use crate::model::FinishReason;
use crate::output::OutputSchema;

/// How often a plan is made anew after a step has failed.
const REPLANS_MAX: u32 = 2;

static PLAN: LazyLock<OutputSchema> = LazyLock::new(|| {
    let step = json!({
        "type": "object",
        "properties": {"title": {"type": "string"}, "task": {"type": "string"}},
        "required": ["title", "task"],
        "additionalProperties": false,
    });
    let schema = json!({
        "type": "object",
        "properties": {"steps": {"type": "array", "items": step, "minItems": 1}},
        "required": ["steps"],
        "additionalProperties": false,
    });
    OutputSchema::compile("plan", schema).expect("the schema is a constant, and valid")
});

#[derive(Deserialize)]
struct Plan {
    steps: VecDeque<Task>,
}

/// A step of a plan, or a part of a split question.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Task {
    pub(super) title: String,
    pub(super) task: String,
}

/// What came of a task.
pub(super) struct Done {
    pub(super) title: String,
    pub(super) result: Result<String, RunError>,
}

pub(super) async fn run(
    turn: &Turn<'_>,
    conversation: &[Message],
    iterations_max: u32,
    steps_max: u32,
) -> Result<PatternEnd, RunError> {
    let events = turn.events.quiet();
    let quiet = Turn { events: &events, ..*turn };
    let mut plan = make(&quiet, conversation, &how_to_plan(steps_max), &[]).await?;
    let mut done: Vec<Done> = Vec::new();
    let mut replans = 0;
    for _ in 0..steps_max {
        let Some(task) = plan.pop_front() else { break };
        let started = Instant::now();
        let result = work(&quiet, conversation, iterations_max, (&task, &done), false).await;
        turn.took_step("plan", &task.title, result.as_deref(), started).await;
        let failed = result.is_err();
        if let Err(error) = &result
            && ends_the_run(error)
        {
            return Err(error.clone());
        }
        done.push(Done { title: task.title, result });
        if failed && replans < REPLANS_MAX {
            replans += 1;
            plan = make(&quiet, conversation, &how_to_plan(steps_max), &done).await?;
        }
    }
    synthesize(turn, conversation, &done).await
}

/// Asks for a plan. One that cannot be read, also after a repair, has a single step: the question itself.
pub(super) async fn make(
    quiet: &Turn<'_>,
    conversation: &[Message],
    instructions: &str,
    done: &[Done],
) -> Result<VecDeque<Task>, RunError> {
    let started = Instant::now();
    let mut messages = conversation.to_vec();
    if let Some(system) = messages.first_mut() {
        system.content.push_str(&format!("\n\n{instructions} {}", PLAN.instruction()));
    }
    if let Some(question) = messages.last_mut().filter(|_| !done.is_empty()) {
        question.content.push_str(&format!("\n\nDone so far:\n{}\nPlan only what is left to do.", results(done)));
    }
    let planned = quiet.ask_for("planner", messages, &PLAN).await?;
    let plan = planned.and_then(|value| serde_json::from_value::<Plan>(value).map_err(|error| error.to_string()));
    match plan {
        Ok(Plan { steps }) => {
            let titles: Vec<_> = steps.iter().map(|step| step.title.as_str()).collect();
            quiet.took_step("plan", "plan", Ok(&titles.join("\n")), started).await;
            Ok(steps)
        }
        Err(problem) => {
            let error = RunError::new(ErrorCode::AllProvidersFailed, format!("the planner gave no plan: {problem}"));
            quiet.took_step("plan", "plan", Err(&error), started).await;
            let task = quiet.request.query.clone();
            Ok([Task { title: "answer".to_owned(), task }].into())
        }
    }
}

fn how_to_plan(steps_max: u32) -> String {
    format!(
        "You are the planner. Do not answer the question: break the work into at most {steps_max} steps that build on each \
         other. Each has a short title and a task that can be carried out from its text alone."
    )
}

/// Has a task carried out. One that does not come to its end has failed. `answers`: as [`Job::answers`].
pub(super) async fn work(
    quiet: &Turn<'_>,
    conversation: &[Message],
    iterations_max: u32,
    (task, done): (&Task, &[Done]),
    answers: bool,
) -> Result<String, RunError> {
    let mut text = format!("The question as a whole: {}\n\n", quiet.request.query);
    if !done.is_empty() {
        text.push_str(&format!("Results so far:\n{}\n", results(done)));
    }
    text.push_str(&format!("Carry out this step, and nothing else: {}", task.task));
    let conversation = conversation.first().cloned().into_iter().chain([Message::new(Role::User, text)]).collect();
    let end = tool_loop::run(quiet, Job { role: "worker", conversation, iterations_max, answers }).await?;
    match end.finish {
        Finish::Stop | Finish::Blocked | Finish::Handoff => Ok(end.answer),
        Finish::StepLimit => Err(RunError::new(
            ErrorCode::AllProvidersFailed,
            format!("the step did not end within {iterations_max} model calls; so far: {}", end.answer),
        )),
    }
}

/// Writes the answer from what was done.
///
/// # Errors
/// The first failure, if nothing has succeeded.
pub(super) async fn synthesize(
    turn: &Turn<'_>,
    conversation: &[Message],
    done: &[Done],
) -> Result<PatternEnd, RunError> {
    let failures: Vec<_> = done.iter().filter_map(|done| done.result.as_ref().err()).collect();
    if let Some(first) = failures.first().filter(|_| failures.len() == done.len()) {
        return Err((*first).clone());
    }
    let mut messages = conversation.to_vec();
    if let Some(question) = messages.last_mut() {
        question.content.push_str(&format!(
            "\n\nThe work has been done. Its results:\n{}\nWrite the answer to the question from them.",
            results(done)
        ));
    }
    tool_loop::say_form(turn, &mut messages);
    let format = turn.agent.output.as_ref().map(OutputSchema::format);
    let reply = turn.ask(&Asking { format, answers: true, ..Asking::plain("synthesizer", &messages) }).await?;
    let message = Message::new(Role::Assistant, reply.content.clone());
    Ok(PatternEnd {
        answer: reply.content,
        finish: Finish::Stop,
        transcript: vec![message],
        truncated: reply.finish == FinishReason::Length,
        client_calls: Vec::new(),
    })
}

/// Results as a model reads them.
pub(super) fn results(done: &[Done]) -> String {
    let entry = |Done { title, result }: &Done| match result {
        Ok(result) => format!("## {title}\n{result}\n"),
        Err(error) => format!("## {title}\n(failed: {error})\n"),
    };
    done.iter().map(entry).collect()
}
