//! Words and phrases: whole words, in any case, with or without accents, however they are spaced.

use std::collections::VecDeque;

use super::glyph::{in_word, reading};
use super::scan::{Ahead, Finding, More, Scanner, Verdict};

/// What takes the place of a phrase.
const FILTERED: &str = "[FILTERED]";

/// A set of phrases, as a tree over their characters. The children of a node stand next to each other, by their
/// characters: a thousand phrases take some hundred kilobytes.
#[derive(Debug)]
pub(super) struct Phrases {
    nodes: Vec<Node>,
    /// As they are written in the manifest.
    written: Vec<String>,
    naming: Naming,
    /// The fewest visible characters of one.
    shortest: usize,
}

/// How a phrase that was found is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// By its name: a topic.
    Topic,
    /// Not by its name, which is nothing that callers should read: a keyword.
    Keyword,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    reads: char,
    /// The phrase that ends here.
    phrase: Option<u32>,
    /// From the first child to behind the last one.
    children: (u32, u32),
}

impl Phrases {
    /// The set of these. A phrase without a visible character is left out: it would be found nowhere.
    pub(super) fn new(phrases: &[String], naming: Naming) -> Self {
        let mut sorted: Vec<(Vec<char>, u32)> = phrases.iter().map(|phrase| visible(phrase)).zip(0..).collect();
        sorted.retain(|(characters, _)| !characters.is_empty());
        // Of two that read the same the first one gives the name.
        sorted.sort_unstable();
        sorted.dedup_by(|later, first| later.0 == first.0);
        let shortest = sorted.iter().map(|(characters, _)| characters.len()).min().unwrap_or(usize::MAX);
        let written = phrases.iter().map(|phrase| phrase.trim().to_owned()).collect();
        Self { nodes: tree(&sorted), written, naming, shortest }
    }

    /// The fewest characters of a text that has one of them.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    /// The child for a character.
    fn child(&self, node: &Node, reads: char) -> Option<&Node> {
        let (start, end) = node.children;
        let children = self.nodes.get(index(start)..index(end))?;
        children.binary_search_by_key(&reads, |child| child.reads).ok().and_then(|found| children.get(found))
    }

    fn written(&self, phrase: u32) -> &str {
        self.written.get(index(phrase)).map_or("", String::as_str)
    }

    fn finding(&self, phrase: &str) -> Finding {
        let what = match self.naming {
            Naming::Topic => format!("topic `{phrase}`"),
            Naming::Keyword => "a filtered keyword".to_owned(),
        };
        Finding { replacement: FILTERED.to_owned(), what }
    }
}

/// A phrase as texts are read.
fn visible(phrase: &str) -> Vec<char> {
    phrase.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter_map(reading).collect()
}

/// The tree of phrases in their order, level by level.
fn tree(sorted: &[(Vec<char>, u32)]) -> Vec<Node> {
    let mut nodes = vec![Node::default()];
    // The phrases that each node is a beginning of, and how many characters that beginning has.
    let mut waiting = VecDeque::from([(0, sorted, 0)]);
    while let Some((place, mut phrases, depth)) = waiting.pop_front() {
        let mut node: Node = nodes.get(place).copied().unwrap_or_default();
        // The shortest one comes first.
        if let Some(((characters, phrase), others)) = phrases.split_first()
            && characters.len() == depth
        {
            node.phrase = Some(*phrase);
            phrases = others;
        }
        let first = nodes.len();
        while let Some(reads) = phrases.first().and_then(|(characters, _)| characters.get(depth)).copied() {
            let same = phrases.partition_point(|(characters, _)| characters.get(depth) == Some(&reads));
            let (these, others) = phrases.split_at(same);
            waiting.push_back((nodes.len(), these, depth + 1));
            nodes.push(Node { reads, ..Node::default() });
            phrases = others;
        }
        node.children = (number(first), number(nodes.len()));
        if let Some(kept) = nodes.get_mut(place) {
            *kept = node;
        }
    }
    nodes
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
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
            if let Some(phrase) = current.phrase
                && !(in_word(last) && ahead.at(length)?.is_some_and(in_word))
            {
                found = Some((length, phrase));
            }
            if current.children.0 == current.children.1 {
                break;
            }
            let Some(reads) = ahead.at(length)? else { break };
            last = if reads.is_whitespace() { ' ' } else { reads };
            node = self.child(current, last);
            length += 1;
            // Any space between two words is as good as one.
            while last == ' ' && node.is_some() && ahead.at(length)?.is_some_and(char::is_whitespace) {
                length += 1;
            }
        }
        Ok(match found {
            Some((length, phrase)) if !in_placeholder(&ahead, length)? => {
                Verdict::Found(length, self.finding(self.written(phrase)))
            }
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
