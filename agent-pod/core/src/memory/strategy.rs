//! What of a conversation reaches the model.

use super::{Conversation, StoredTurn};
use crate::model::estimate::messages_tokens;

/// What of a conversation reaches the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The last turns.
    SlidingWindow {
        /// How many.
        turns_max: usize,
    },
    /// As many of the last turns as fit, never half a one.
    TokenBudget {
        /// Tokens of them together, as [`crate::model::estimate`] counts them.
        tokens_max: u64,
    },
    /// A summary, and the turns that it does not hold yet.
    Summary {
        /// How many of the last turns are never folded into the summary.
        turns_max: usize,
    },
}

/// The most turns that any strategy keeps of a session.
const TURNS_MAX: usize = 1_000;

/// The tokens of the smallest turn, a question and an answer of no words.
const TURN_TOKENS_MIN: u64 = 8;

/// Turns that may wait for a summarizer that fails, before the oldest are lost.
const UNFOLDED_SPARE: usize = 50;

impl Strategy {
    /// How many turns of a session its store has to keep.
    #[must_use]
    pub fn turns_kept(self) -> usize {
        match self {
            Self::SlidingWindow { turns_max } => turns_max,
            Self::TokenBudget { tokens_max } => {
                usize::try_from(tokens_max / TURN_TOKENS_MIN).unwrap_or(TURNS_MAX).clamp(1, TURNS_MAX)
            }
            Self::Summary { turns_max } => {
                turns_max.saturating_add(fold_batch(turns_max)).saturating_add(UNFOLDED_SPARE)
            }
        }
    }

    /// The turns that reach the model, oldest first.
    pub(crate) fn select(self, mut conversation: Conversation) -> Conversation {
        let all = conversation.turns.len();
        let skipped = match self {
            Self::SlidingWindow { turns_max } => all.saturating_sub(turns_max),
            Self::TokenBudget { tokens_max } => all - fitting(&conversation.turns, tokens_max),
            Self::Summary { .. } => 0,
        };
        conversation.drop_first(u64::try_from(skipped).unwrap_or(u64::MAX));
        if !matches!(self, Self::Summary { .. }) {
            conversation.summary = None;
        }
        conversation
    }

    /// How many of so many turns are to be folded now; none until there are enough for a call of the summarizer.
    pub(crate) fn due(self, turns: usize) -> usize {
        match self {
            Self::SlidingWindow { .. } | Self::TokenBudget { .. } => 0,
            Self::Summary { turns_max } => {
                let over = turns.saturating_sub(turns_max);
                if over >= fold_batch(turns_max) { over } else { 0 }
            }
        }
    }
}

/// Turns that one call of the summarizer folds: a quarter of the window, so that it is not called in every turn.
fn fold_batch(turns_max: usize) -> usize {
    (turns_max / 4).max(1)
}

/// How many of the last turns have at most `tokens_max` tokens together.
fn fitting(turns: &[StoredTurn], tokens_max: u64) -> usize {
    let mut left = tokens_max;
    let fits = |turn: &&StoredTurn| {
        let tokens = messages_tokens(&turn.messages);
        let fits = tokens <= left;
        left = left.saturating_sub(tokens);
        fits
    };
    turns.iter().rev().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, Role};
    use rstest::rstest;

    /// A turn of `words` tokens beside the eight of its two messages.
    fn turn(tokens: usize) -> StoredTurn {
        StoredTurn {
            messages: vec![Message::new(Role::User, "abcd".repeat(tokens)), Message::new(Role::Assistant, "")],
            agent: None,
            timestamp: String::new(),
        }
    }

    fn selected(strategy: Strategy, tokens: &[usize]) -> (u64, usize) {
        let turns = tokens.iter().copied().map(turn).collect();
        let conversation = Conversation { turns, first: 100, ..Conversation::default() };
        let selected = strategy.select(conversation);
        (selected.first, selected.turns.len())
    }

    #[rstest]
    #[case::all_fit(&[2, 2, 2], 30, 3)]
    #[case::the_oldest_does_not(&[2, 2, 2], 29, 2)]
    #[case::a_long_one_ends_it(&[2, 90, 2], 50, 1)]
    #[case::never_half_a_turn(&[50], 40, 0)]
    #[case::exactly(&[32], 40, 1)]
    #[case::nothing_there(&[], 40, 0)]
    fn a_token_budget_takes_whole_recent_turns(
        #[case] turns: &[usize],
        #[case] tokens_max: u64,
        #[case] expected: usize,
    ) {
        let (first, count) = selected(Strategy::TokenBudget { tokens_max }, turns);
        assert_eq!((first, count), (100 + u64::try_from(turns.len() - expected).unwrap(), expected));
    }

    #[test]
    fn a_window_takes_the_last_turns() {
        assert_eq!(selected(Strategy::SlidingWindow { turns_max: 2 }, &[1, 1, 1]), (101, 2));
    }

    #[rstest]
    #[case(2, 2, 0)]
    #[case(2, 3, 1)]
    #[case(20, 24, 0)]
    #[case(20, 25, 5)]
    #[case(20, 40, 20)]
    fn turns_beyond_the_window_are_folded_in_batches(
        #[case] turns_max: usize,
        #[case] turns: usize,
        #[case] due: usize,
    ) {
        assert_eq!(Strategy::Summary { turns_max }.due(turns), due);
    }
}
