//! Names as Kubernetes wants them.

use std::collections::BTreeSet;

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

/// `name`, or the first of `name-2`, `name-3` … that is free.
pub(crate) fn unique(name: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(name) {
        return name.to_owned();
    }
    let numbered = (2_u32..).map(|number| {
        let suffix = format!("-{number}");
        let stem: String = name.chars().take(NAME_CHARS_MAX - suffix.len()).collect();
        format!("{}{suffix}", stem.trim_end_matches('-'))
    });
    numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or_else(|| name.to_owned())
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
