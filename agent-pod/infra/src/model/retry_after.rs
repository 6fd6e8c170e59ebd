//! When a server wants to be asked again.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};

/// The longest wait that a server is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Larger numbers of `x-ratelimit-reset` are points in time (this one is in 2001), smaller ones are waits.
const EPOCH_SECONDS_MIN: f64 = 1e9;

/// What vendors count, each with a reset of its own.
const LIMITS: [&str; 4] = ["requests", "tokens", "requests-day", "tokens-minute"];

/// The wait that the headers of an error tell: `Retry-After` in seconds or as a date (RFC 9110), or the finer
/// `retry-after-ms` of the same, else, with 429, `x-ratelimit-reset`, else the shortest `x-ratelimit-reset-*` of what is
/// used up.
#[must_use]
pub fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name).and_then(|value| value.parse::<f64>().ok());
    let named = || {
        let value = text(RETRY_AFTER.as_str())?;
        number(RETRY_AFTER.as_str()).and_then(as_wait).or_else(|| until(value, now))
    };
    let milliseconds = || as_wait(number("retry-after-ms")? / 1000.0);
    let limited = || if status == StatusCode::TOO_MANY_REQUESTS { reset(&text, now) } else { None };
    milliseconds().or_else(named).or_else(limited).map(|wait| wait.min(RETRY_AFTER_MAX))
}

fn reset<'a>(text: &impl Fn(&str) -> Option<&'a str>, now: Timestamp) -> Option<Duration> {
    let whole = || {
        let value = text("x-ratelimit-reset")?;
        match value.parse::<f64>().ok() {
            Some(number) => as_reset(number, now),
            None => duration(value),
        }
    };
    let one = |limit: &str| {
        let used_up = text(&format!("x-ratelimit-remaining-{limit}"))
            .is_none_or(|left| left.parse::<f64>().is_ok_and(|left| left <= 0.0));
        if used_up { duration(text(&format!("x-ratelimit-reset-{limit}"))?) } else { None }
    };
    whole().or_else(|| LIMITS.into_iter().filter_map(one).min())
}

fn as_wait(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX))
}

/// Seconds, seconds since 1970, or milliseconds since then.
fn as_reset(number: f64, now: Timestamp) -> Option<Duration> {
    if number < EPOCH_SECONDS_MIN {
        return as_wait(number);
    }
    let seconds = if number < EPOCH_SECONDS_MIN * 100.0 { number } else { number / 1000.0 };
    let then = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Some(Duration::try_from(then - now.as_duration()).unwrap_or_default())
}

/// The wait until an HTTP date; none is left of one that has passed.
fn until(date: &str, now: Timestamp) -> Option<Duration> {
    let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(Duration::try_from(then.duration_since(now).max(SignedDuration::ZERO)).unwrap_or_default())
}

/// A duration as Go writes it, like `1m30.5s` or `6ms`; a bare number is seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return as_wait(seconds);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        seconds += number.parse::<f64>().ok()? * unit_seconds(unit)?;
        rest = tail;
    }
    if text.is_empty() { None } else { as_wait(seconds) }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "d" => Some(86_400.0),
        "h" => Some(3600.0),
        "m" => Some(60.0),
        "s" => Some(1.0),
        "ms" => Some(1e-3),
        "us" | "µs" => Some(1e-6),
        "ns" => Some(1e-9),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
