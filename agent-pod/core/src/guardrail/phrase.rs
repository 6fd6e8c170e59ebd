//! Words and phrases: whole words, in any case, with or without accents, however they are spaced.

use std::collections::BTreeMap;

use super::glyph::{in_word, reading};
use super::scan::{Ahead, Finding, More, Scanner, Verdict};

/// What takes the place of a phrase.
const FILTERED: &str = "[FILTERED]";

/// A set of phrases, as a tree over their characters.
#[derive(Debug, Default)]
pub(super) struct Phrases {
    nodes: Vec<Node>,
    naming: Naming,
}

/// How a phrase that was found is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Naming {
    /// By its name: a topic.
    Topic,
    /// Not by its name, which is nothing that callers should read: a keyword.
    #[default]
    Keyword,
}

#[derive(Debug, Default)]
struct Node {
    next: BTreeMap<char, usize>,
    /// The phrase that ends here, as it is written in the manifest.
    phrase: Option<String>,
}

impl Phrases {
    /// The set of these. A phrase without a visible character is left out: it would be found nowhere.
    pub(super) fn new(phrases: &[String], naming: Naming) -> Self {
        let mut set = Self { nodes: vec![Node::default()], naming };
        for phrase in phrases {
            set.insert(phrase);
        }
        set
    }

    fn insert(&mut self, phrase: &str) {
        let mut place = 0;
        for reads in phrase.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter_map(reading) {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(place) else { return };
            place = *node.next.entry(reads).or_insert(fresh);
            if place == fresh {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(place).filter(|_| place > 0) {
            node.phrase.get_or_insert_with(|| phrase.trim().to_owned());
        }
    }

    fn finding(&self, phrase: &str) -> Finding {
        let what = match self.naming {
            Naming::Topic => format!("topic `{phrase}`"),
            Naming::Keyword => "a filtered keyword".to_owned(),
        };
        Finding { replacement: FILTERED.to_owned(), what }
    }
}

impl Scanner for Phrases {
    fn scan(&self, ahead: Ahead<'_>) -> Result<Verdict, More> {
        let first = ahead.at(0)?;
        if first.is_some_and(in_word) && ahead.before().is_some_and(in_word) {
            return Ok(Verdict::Pass(1));
        }
        let (mut node, mut length, mut found) = (self.nodes.first(), 0, None);
        let mut last = ' ';
        while let Some(current) = node {
            if let Some(phrase) = &current.phrase
                && !(in_word(last) && ahead.at(length)?.is_some_and(in_word))
            {
                found = Some((length, phrase));
            }
            if current.next.is_empty() {
                break;
            }
            let Some(reads) = ahead.at(length)? else { break };
            last = if reads.is_whitespace() { ' ' } else { reads };
            node = current.next.get(&last).and_then(|next| self.nodes.get(*next));
            length += 1;
            // Any space between two words is as good as one.
            while last == ' ' && node.is_some() && ahead.at(length)?.is_some_and(char::is_whitespace) {
                length += 1;
            }
        }
        Ok(match found {
            Some((length, phrase)) if !in_placeholder(&ahead, length)? => Verdict::Found(length, self.finding(phrase)),
            _ => Verdict::Pass(1),
        })
    }
}

/// Whether it is what was put here before: a phrase such as `filtered` would else be found in its own placeholder.
fn in_placeholder(ahead: &Ahead<'_>, length: usize) -> Result<bool, More> {
    Ok(ahead.before() == Some('[') && ahead.at(length)? == Some(']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrail::scan::{OnFound, Passed, Stage};
    use rstest::rstest;

    fn found(phrases: &[&str], text: &str) -> Passed {
        let phrases: Vec<_> = phrases.iter().map(ToString::to_string).collect();
        Stage::default().feed(&Phrases::new(&phrases, Naming::Topic), text, OnFound::Replace, true)
    }

    #[rstest]
    #[case("Let us talk POLITICS now", "Let us talk [FILTERED] now")]
    #[case("politics", "[FILTERED]")]
    #[case("politics, politics!", "[FILTERED], [FILTERED]!")]
    #[case("inside  job\u{a0}security", "inside  [FILTERED]")]
    #[case("inside\n job\tsecurity", "inside\n [FILTERED]")]
    #[case("Ｐｏｌｉｔｉｃｓ", "[FILTERED]")]
    #[case("poli\u{200b}tics and poli\u{ad}tics", "[FILTERED] and [FILTERED]")]
    #[case("politique étrangère", "[FILTERED]")]
    #[case("politique e\u{301}trange\u{300}re", "[FILTERED]")]
    #[case("Politique ETRANGERE", "[FILTERED]")]
    #[case("ΠΟΛΙΤΙΚΉΣ", "[FILTERED]")]
    #[case("Поговорим о ПОЛИТИКА.", "Поговорим о [FILTERED].")]
    #[case("让我们谈论政治吧", "让我们谈论[FILTERED]吧")]
    #[case("정치에 대해", "[FILTERED]에 대해")]
    #[case("c++ and c++11", "[FILTERED] and [FILTERED]11")]
    fn phrases_are_found_as_whole_words(#[case] text: &str, #[case] expected: &str) {
        let topics =
            ["politics", "job security", "politique étrangère", "πολιτικής", "политика", "政治", "정치", "c++"];
        assert_eq!(found(&topics, text).text, expected);
    }

    #[rstest]
    #[case("geopolitics")]
    #[case("politicsx")]
    #[case("politics2")]
    #[case("job")]
    #[case("jobsecurity")]
    #[case("political")]
    fn parts_of_words_are_not_found(#[case] text: &str) {
        assert_eq!(found(&["politics", "job security"], text), Passed { text: text.to_owned(), found: vec![] });
    }

    #[rstest]
    fn the_longest_phrase_wins_and_is_named_as_written() {
        let passed = found(&["New York", "new york city"], "in NEW YORK CITY");
        assert_eq!((passed.text.as_str(), passed.found), ("in [FILTERED]", vec!["topic `new york city`".to_owned()]));
    }

    #[rstest]
    fn a_placeholder_is_not_filtered_again() {
        assert_eq!(found(&["filtered"], "[FILTERED] filtered").text, "[FILTERED] [FILTERED]");
    }
}
