//! The events of a session: those before a turn, and the one that it becomes.

use super::{degraded, in_time};
use crate::agent::{EpisodicMemory, Ledger, Turn};
use crate::error::{ErrorCode, RunError};
use crate::event::Finish;
use crate::memory::SessionKey;
use crate::memory::episode::{EPISODE_BOUNDS, Episode, EpisodeResult};
use crate::pattern::PatternEnd;

/// Put before the events in the system message.
const NOTES: &str = "What became of the last questions of this session, the newest last:";

pub(super) async fn read(memory: Option<&EpisodicMemory>, key: &SessionKey, ledger: &Ledger) -> Vec<Episode> {
    let Some(memory) = memory else { return Vec::new() };
    let read = in_time(memory.store.latest(key, memory.events_max)).await;
    degraded(ledger, "episodic", read).unwrap_or_default()
}

pub(super) async fn write(memory: Option<&EpisodicMemory>, key: &SessionKey, episode: Episode, ledger: &Ledger) {
    if let Some(memory) = memory {
        let written = in_time(memory.store.append(key, episode, EPISODE_BOUNDS)).await;
        degraded(ledger, "episodic", written);
    }
}

/// A session was deleted while a run of it wrote its event.
pub(super) async fn forget(memory: Option<&EpisodicMemory>, key: &SessionKey, ledger: &Ledger) {
    if let Some(memory) = memory {
        let forgotten = in_time(memory.store.delete(key)).await;
        degraded(ledger, "episodic", forgotten);
    }
}

/// What a run becomes that has ended with an answer, be it a rule's.
pub(super) fn of_answer(turn: &Turn<'_>, end: &PatternEnd) -> Episode {
    let blocked = end.finish == Finish::Blocked;
    let episode = Episode { answer: Some(end.answer.clone()), ..of(turn) };
    let result = if blocked { EpisodeResult::Blocked } else { EpisodeResult::Ok };
    let guardrail = turn.ledger.block().filter(|_| blocked).map(|block| block.hit.reason);
    Episode { result, guardrail, ..episode }.bounded()
}

/// What a run becomes that has failed.
pub(super) fn of_error(turn: &Turn<'_>, error: &RunError) -> Episode {
    let timeout = error.code == ErrorCode::DeadlineExceeded;
    let result = if timeout { EpisodeResult::Timeout } else { EpisodeResult::Error };
    Episode { result, error: Some(error.code.as_str().to_owned()), ..of(turn) }.bounded()
}

fn of(turn: &Turn<'_>) -> Episode {
    let booked = turn.ledger.booked();
    let tools = booked.steps.into_iter().filter(|step| step.step_type == "tool").map(|step| step.name);
    Episode {
        run_id: turn.identity.run_id.clone(),
        timestamp: turn.agent.environment.timestamp(),
        question: turn.request.query.clone(),
        answer: None,
        result: EpisodeResult::Ok,
        error: None,
        guardrail: None,
        tools: tools.collect(),
        tokens: booked.usage.tokens_in.saturating_add(booked.usage.tokens_out),
    }
}

/// The events for the end of the system message.
pub(super) fn note(episodes: &[Episode]) -> Option<String> {
    if episodes.is_empty() {
        return None;
    }
    let mut note = NOTES.to_owned();
    for episode in episodes {
        note.push_str(&format!("\n- {} {}", episode.timestamp, line(episode)));
    }
    Some(note)
}

fn line(episode: &Episode) -> String {
    let end = match (episode.result, &episode.answer) {
        (EpisodeResult::Ok, Some(answer)) => format!("answered: {}", flat(answer)),
        (EpisodeResult::Ok, None) => "answered".to_owned(),
        (EpisodeResult::Blocked, _) => "blocked by a rule".to_owned(),
        (EpisodeResult::Error, _) => "failed".to_owned(),
        (EpisodeResult::Timeout, _) => "not answered in time".to_owned(),
    };
    let tools = if episode.tools.is_empty() { String::new() } else { format!(" (used {})", episode.tools.join(", ")) };
    format!("asked: {} – {end}{tools}", flat(&episode.question))
}

/// On one line, so that nobody writes lines of the list by asking.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
