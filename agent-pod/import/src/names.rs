//! Names as Kubernetes wants them.

use std::collections::{BTreeMap, BTreeSet};

/// The longest name of our kinds.
const NAME_CHARS_MAX: usize = 50;

/// `text` as a DNS label that begins with a letter and has at most 50 characters; `fallback` where nothing is left.
pub(crate) fn label(text: &str, fallback: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "n-");
    }
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { fallback.to_owned() } else { name.to_owned() }
}

/// Names that are taken, and where to look for the next free one.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    names: BTreeSet<String>,
    /// By name, the number that was given last: all below it are taken too.
    numbers: BTreeMap<String, u32>,
}

impl Taken {
    /// `name`, or the first of `name-2`, `name-3` … that is free; taken from now on.
    pub(crate) fn unique(&mut self, name: &str) -> String {
        if self.names.insert(name.to_owned()) {
            return name.to_owned();
        }
        let number = self.numbers.entry(name.to_owned()).or_insert(1);
        loop {
            *number += 1;
            let suffix = format!("-{number}");
            let stem: String = name.chars().take(NAME_CHARS_MAX - suffix.len()).collect();
            let numbered = format!("{}{suffix}", stem.trim_end_matches('-'));
            if self.names.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

/// Whether `text` can be the value of a label.
pub(crate) fn is_label_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63 && text.chars().all(inner) && (text.is_empty() || text.starts_with(ends) && text.ends_with(ends))
}

/// Whether `text` can be the key of a label: a name, with a domain before a `/` or without.
pub(crate) fn is_label_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let dns = |domain: &str| {
        let part = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        domain.len() <= 253 && domain.split('.').all(part)
    };
    !name.is_empty() && is_label_value(name) && domain.is_none_or(dns)
}
