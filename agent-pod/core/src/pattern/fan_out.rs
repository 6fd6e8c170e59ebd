//! `parallel_fan_out`: several work at the same time, then their answers become one.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::plan::{self, Done, Task, results, synthesize};
use super::tool_loop::{self, Job};
use super::{Branch, Merge, PatternEnd, ends_the_run};
use crate::agent::{Asking, Turn};
use crate::cpu::{INLINE_BYTES, offload};
use crate::error::RunError;
use crate::event::Finish;
use crate::message::{Message, Role};

/// Parts into which a planner splits a question at most.
const PARTS_MAX: usize = 4;

/// How a planner is asked to split a question.
const SPLIT: &str = "You are the planner. Do not answer the question: split it into 2 to 4 parts that can be worked on at the \
                     same time, without knowing of each other. Each has a short title and a task that can be carried out from \
                     its text alone.";

/// The settings of the pattern.
pub(super) struct FanOut<'a> {
    pub(super) iterations_max: u32,
    pub(super) branches: &'a [Branch],
    pub(super) merge: Merge,
}

impl FanOut<'_> {
    pub(super) async fn run(&self, turn: &Turn<'_>, conversation: &[Message]) -> Result<PatternEnd, RunError> {
        let events = turn.events.quiet();
        let quiet = Turn { events: &events, ..*turn };
        let parts = if self.branches.is_empty() {
            let mut parts = plan::make(&quiet, conversation, SPLIT, &[]).await?;
            parts.truncate(PARTS_MAX);
            parts.into()
        } else {
            Vec::new()
        };
        let running: FuturesUnordered<_> = (0..self.branches.len().max(parts.len()))
            .map(|index| {
                let (quiet, parts) = (&quiet, &parts);
                async move { (index, self.branch(quiet, conversation, (index, parts)).await) }
            })
            .collect();
        match self.merge {
            Merge::First => first(turn, running).await,
            Merge::Synthesize => synthesize(turn, conversation, &all(running).await?).await,
            Merge::Vote => vote(turn, conversation, &all(running).await?).await,
        }
    }

    /// Whether the text of a branch is the answer where it wins, and not material for it.
    fn answers(&self) -> bool {
        self.merge != Merge::Synthesize
    }

    /// One branch, from its question to its answer. A failed one does not sink the others.
    async fn branch(&self, quiet: &Turn<'_>, conversation: &[Message], (index, parts): (usize, &[Task])) -> Done {
        let started = Instant::now();
        let (title, result) = match (self.branches.get(index), parts.get(index)) {
            (Some(branch), _) => {
                let title = format!("{} {}", branch.role, index + 1);
                (title, self.same_question(quiet, conversation, branch).await)
            }
            (None, Some(task)) => {
                let result = plan::work(quiet, conversation, self.iterations_max, (task, &[]), self.answers()).await;
                (task.title.clone(), result)
            }
            (None, None) => (String::new(), Ok(String::new())),
        };
        quiet.took_step("branch", &title, result.as_deref(), started).await;
        Done { title, result }
    }

    async fn same_question(
        &self,
        quiet: &Turn<'_>,
        conversation: &[Message],
        branch: &Branch,
    ) -> Result<String, RunError> {
        let mut conversation = conversation.to_vec();
        if let (Some(template), Some(system)) = (&branch.prompt, conversation.first_mut()) {
            system.content = format!("{}\n\n{}", system.content, quiet.render(template, &[]).await?);
        }
        let job =
            Job { role: &branch.role, conversation, iterations_max: self.iterations_max, answers: self.answers() };
        Ok(tool_loop::run(quiet, job).await?.answer)
    }
}

/// All branches, in the order of declaration.
async fn all(mut running: FuturesUnordered<impl Future<Output = (usize, Done)>>) -> Result<Vec<Done>, RunError> {
    let mut done = Vec::new();
    while let Some((index, branch)) = running.next().await {
        if let Err(error) = &branch.result
            && ends_the_run(error)
        {
            return Err(error.clone());
        }
        done.push((index, branch));
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, branch)| branch).collect())
}

/// The first answer; the other branches are dropped, and with them what they were doing.
async fn first(
    turn: &Turn<'_>,
    mut running: FuturesUnordered<impl Future<Output = (usize, Done)>>,
) -> Result<PatternEnd, RunError> {
    let mut failure = None;
    while let Some((_, branch)) = running.next().await {
        match branch.result {
            Ok(answer) => return Ok(spoken(turn, answer).await),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    Err(failure.unwrap_or_else(crate::model::failures::deadline_exceeded))
}

/// The answer that most branches agree on, by its words. Where no two agree, a model chooses.
async fn vote(turn: &Turn<'_>, conversation: &[Message], done: &[Done]) -> Result<PatternEnd, RunError> {
    let answers: Vec<&String> = done.iter().filter_map(|branch| branch.result.as_ref().ok()).collect();
    if answers.is_empty() {
        return synthesize(turn, conversation, done).await;
    }
    let ballots = ballots(&answers).await;
    let votes = |ballot: &Ballot| ballots.iter().filter(|other| *other == ballot).count();
    // The last of several maxima would be found; the first declared shall win.
    let best = answers.iter().zip(&ballots).rev().max_by_key(|(_, ballot)| votes(ballot));
    let winner = match best {
        Some((best, ballot)) if votes(ballot) > 1 || answers.len() == 1 => (*best).clone(),
        Some(_) | None => choose(turn, done, &answers).await?,
    };
    Ok(spoken(turn, winner).await)
}

/// Has a model name the best answer; one that names none has chosen the first.
async fn choose(turn: &Turn<'_>, done: &[Done], answers: &[&String]) -> Result<String, RunError> {
    let events = turn.events.quiet();
    let quiet = Turn { events: &events, ..*turn };
    let text = format!(
        "The question: {}\n\nThese answers were given:\n{}\nWhich one is best? Answer with its number only, counting from 1.",
        turn.request.query,
        results(done)
    );
    let messages = [Message::new(Role::User, text)];
    let reply = quiet.ask(&Asking::plain("synthesizer", &messages)).await?;
    let number: String =
        reply.content.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let chosen = number.parse::<usize>().ok().and_then(|number| answers.get(number.checked_sub(1)?));
    Ok(chosen.or_else(|| answers.first()).map(|answer| (*answer).clone()).unwrap_or_default())
}

/// What an answer says, without its punctuation and case: equal for answers that agree.
type Ballot = [u8; 32];

/// The ballots of answers, which may be long.
async fn ballots(answers: &[&String]) -> Vec<Ballot> {
    if answers.iter().map(|answer| answer.len()).sum::<usize>() <= INLINE_BYTES {
        return answers.iter().map(|answer| ballot(answer)).collect();
    }
    let mut ballots = Vec::new();
    for answer in answers {
        let answer = (*answer).clone();
        ballots.push(offload(move || ballot(&answer)).await);
    }
    ballots
}

fn ballot(answer: &str) -> Ballot {
    let words = answer.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.to_lowercase());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// An answer that is whole already, as the answer of the run.
async fn spoken(turn: &Turn<'_>, answer: String) -> PatternEnd {
    turn.events.token(answer.clone()).await;
    let transcript = vec![Message::new(Role::Assistant, answer.clone())];
    PatternEnd { answer, finish: Finish::Stop, transcript, truncated: false, client_calls: Vec::new() }
}
