//! The clock and the source of ids of a running process.

use agent_pod_core::ports::Environment;
use jiff::{Timestamp, tz::TimeZone};
use uuid::Uuid;

/// The system's clock and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn timestamp(&self) -> String {
        // jiff's `.3` cuts the fraction to milliseconds and always writes it.
        format!("{:.3}", Timestamp::now())
    }

    fn today(&self) -> String {
        Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()
    }

    fn fresh_id(&self) -> String {
        Uuid::now_v7().to_string()
    }

    fn fresh_trace_id(&self) -> String {
        random_digits()
    }

    fn fresh_secret(&self) -> String {
        random_digits()
    }
}

/// 128 bits of the operating system's.
fn random_digits() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rfc_3339_in_utc_with_milliseconds() {
        let timestamp = SystemEnvironment.timestamp();
        assert!(timestamp.parse::<Timestamp>().is_ok(), "{timestamp}");
        assert_eq!(timestamp.len(), "2026-01-01T00:00:00.000Z".len(), "{timestamp}");
        assert!(timestamp.ends_with('Z'), "{timestamp}");
    }

    #[test]
    fn today_is_the_date_of_the_timestamp() {
        // Twice, because midnight may pass in between.
        let (before, today, after) =
            (SystemEnvironment.timestamp(), SystemEnvironment.today(), SystemEnvironment.timestamp());
        assert!(before.starts_with(&today) || after.starts_with(&today), "{today}");
    }

    #[test]
    fn ids_are_distinct_and_sort_by_their_making() {
        let ids: Vec<_> = (0..1000).map(|_| SystemEnvironment.fresh_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_trace_id_is_32_hexadecimal_digits() {
        let (first, second) = (SystemEnvironment.fresh_trace_id(), SystemEnvironment.fresh_trace_id());
        assert_eq!(first.len(), 32);
        assert!(first.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{first}");
        assert_ne!(first, second);
    }
}
