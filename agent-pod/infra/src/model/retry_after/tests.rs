use http::HeaderValue;
use rstest::rstest;

use super::*;
use crate::model::error::of_status;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

#[rstest]
#[case::seconds(&[("retry-after", "12")], Some(Duration::from_secs(12)))]
#[case::no_wait(&[("retry-after", "0")], Some(Duration::ZERO))]
#[case::a_fraction(&[("retry-after", "1.5")], Some(Duration::from_millis(1500)))]
#[case::a_date(&[("retry-after", "Sun, 01 Mar 2026 12:00:30 GMT")], Some(Duration::from_secs(30)))]
#[case::a_date_that_has_passed(&[("retry-after", "Sun, 01 Mar 2026 11:00:00 GMT")], Some(Duration::ZERO))]
#[case::milliseconds(&[("retry-after-ms", "250")], Some(Duration::from_millis(250)))]
#[case::milliseconds_are_finer(&[("retry-after", "1"), ("retry-after-ms", "250")], Some(Duration::from_millis(250)))]
#[case::bad_milliseconds_fall_back(&[("retry-after", "1"), ("retry-after-ms", "soon")], Some(Duration::from_secs(1)))]
#[case::reset_in_seconds(&[("x-ratelimit-reset", "20")], Some(Duration::from_secs(20)))]
#[case::reset_as_an_epoch(&[("x-ratelimit-reset", "1772366430")], Some(Duration::from_secs(30)))]
#[case::reset_as_an_epoch_in_milliseconds(&[("x-ratelimit-reset", "1772366430500")], Some(Duration::from_millis(30_500)))]
#[case::reset_that_has_passed(&[("x-ratelimit-reset", "1772366390")], Some(Duration::ZERO))]
#[case::retry_after_before_reset(&[("x-ratelimit-reset", "20"), ("retry-after", "3")], Some(Duration::from_secs(3)))]
#[case::the_shortest_reset(
    &[("x-ratelimit-reset-requests", "1m30s"), ("x-ratelimit-reset-tokens", "6ms"), ("x-ratelimit-reset-requests-day", "23h1m")],
    Some(Duration::from_millis(6))
)]
#[case::only_what_is_used_up(
    &[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1m30s"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-tokens", "6ms"),
    ],
    Some(Duration::from_secs(90))
)]
#[case::nothing_used_up(&[("x-ratelimit-remaining-tokens", "7"), ("x-ratelimit-reset-tokens", "6ms")], None)]
#[case::tokens_of_a_minute(&[("x-ratelimit-reset-tokens-minute", "12.5")], Some(Duration::from_millis(12_500)))]
#[case::a_fraction_of_a_unit(&[("x-ratelimit-reset-tokens", "1h0m7.66s")], Some(Duration::from_millis(3_607_660)))]
#[case::a_reset_far_away(&[("x-ratelimit-reset-requests-day", "48h")], Some(RETRY_AFTER_MAX))]
#[case::a_reset_that_is_none(&[("x-ratelimit-reset-tokens", "1x"), ("x-ratelimit-reset", "soon")], None)]
#[case::an_empty_reset(&[("x-ratelimit-reset-tokens", "")], None)]
#[case::far_too_long(&[("retry-after", "1e300")], Some(RETRY_AFTER_MAX))]
#[case::a_date_far_away(&[("retry-after", "Fri, 01 Mar 2999 12:00:00 GMT")], Some(RETRY_AFTER_MAX))]
#[case::negative(&[("retry-after", "-5")], None)]
#[case::not_a_number(&[("retry-after", "NaN")], None)]
#[case::a_word(&[("retry-after", "soon")], None)]
#[case::empty(&[("retry-after", "")], None)]
#[case::none(&[], None)]
fn the_wait_is_what_the_server_says(
    #[case] headers: &[(&'static str, &'static str)],
    #[case] expected: Option<Duration>,
) {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    assert_eq!(retry_after(StatusCode::TOO_MANY_REQUESTS, &headers, now()), expected);
    let error = of_status(StatusCode::TOO_MANY_REQUESTS, &headers, b"", now());
    assert_eq!((error.message.as_str(), error.retry_after), ("429", expected));
}

#[test]
fn resets_are_only_believed_with_429() {
    let headers: HeaderMap =
        [("x-ratelimit-reset-tokens".parse().unwrap(), HeaderValue::from_static("6ms"))].into_iter().collect();
    assert_eq!(retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers, now()), None);
}
