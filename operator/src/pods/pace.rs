//! When to ask a pod again: soon while it loads, seldom while nothing changes. Pure.
//!
//! A pod whose state changes asks for attention by itself; the pauses only bound how long a lost word stays unheard.

use std::time::Duration;

use tokio::time::Instant;

use super::{Health, Heard};

/// Waiting for a pod that loads starts with short looks, because most load within a third of a second. One that tells by itself
/// is looked at when it should have told, and may need another nudge.
const LOAD_FIRST: Duration = Duration::from_millis(500);
const LOAD_FIRST_UNTOLD: Duration = Duration::from_millis(100);
const LOAD_LONGEST: Duration = Duration::from_secs(1);
const LOAD_SHORT_FOR: Duration = Duration::from_secs(30);
const LOAD_LATER: Duration = Duration::from_secs(5);
/// While a refreshed volume may mend something.
const CREDENTIALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// While something else is wrong, or the pod does not answer.
const TROUBLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// While nothing is, up to five minutes; of pods that do not tell when something is, not as long.
const WELL_FIRST: Duration = Duration::from_secs(15);
const SELDOM: Duration = Duration::from_secs(300);
const SELDOM_UNTOLD: Duration = Duration::from_secs(30);

/// The pace of one pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Whether the pod tells by itself when there is something to know.
    told: bool,
    last: Option<(Health, Duration)>,
}

impl Pace {
    /// At first. `told`: whether the pod tells by itself when there is something to know.
    #[must_use]
    pub(super) fn new(told: bool) -> Self {
        Self { told, last: None }
    }

    /// The pause before the next look at a pod that has been heard, or has not answered.
    pub(super) fn next(&mut self, heard: &Heard, now: Instant) -> Duration {
        if heard.is_behind() && heard.report.silence.is_none() {
            self.last = None;
            let waited = now.saturating_duration_since(heard.since);
            let first = if self.told { LOAD_FIRST } else { LOAD_FIRST_UNTOLD };
            return if waited > LOAD_SHORT_FOR { LOAD_LATER } else { (waited / 4).clamp(first, LOAD_LONGEST) };
        }
        let answered = heard.report.state.as_deref().filter(|_| heard.report.silence.is_none());
        let health = answered.map_or(Health::Trouble, Health::of);
        let (first, longest) = match health {
            Health::Refused | Health::Missing => CREDENTIALS,
            Health::Trouble => TROUBLE,
            Health::Well => (WELL_FIRST, if self.told { SELDOM } else { SELDOM_UNTOLD }),
        };
        let pause = match self.last {
            Some((before, pause)) if before == health && !heard.news => pause.saturating_mul(2),
            Some(_) | None => first,
        };
        let pause = pause.min(longest.max(first));
        self.last = Some((health, pause));
        pause
    }
}

/// The same, a little earlier or later by the pod's uid, so that pods do not answer together.
#[must_use]
pub(super) fn spread(pause: Duration, uid: &str) -> Duration {
    let hash = uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    pause.mul_f64(0.9 + f64::from(hash % 200) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ObjectKey;
    use crate::testing::{Says, observation, validated};

    fn pauses(told: bool, says: Says, looks: usize) -> Vec<u64> {
        let target = validated(serde_json::json!({})).target();
        let report = observation(&target, &[(true, says)]).pods.remove(0);
        let agent = ObjectKey { namespace: "shop".into(), name: "support".into() };
        let since = Instant::now();
        let mut heard = Heard { agent, report, target: Some(target), since, news: true };
        let mut pace = Pace::new(told);
        let mut now = since;
        let mut all = Vec::new();
        for _look in 0..looks {
            let pause = pace.next(&heard, now);
            heard.news = false;
            now += pause;
            all.push(u64::try_from(pause.as_millis()).unwrap());
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_asked_the_less_the_longer_nothing_changes() {
        assert_eq!(pauses(true, Says::Loaded, 7), [15_000, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000]);
        assert_eq!(pauses(false, Says::Loaded, 3), [15_000, 30_000, 30_000], "it tells nothing by itself");
        assert_eq!(pauses(true, Says::LoadedWithoutServer, 6), [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(pauses(true, Says::LoadedWithoutSecret, 6), [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        assert_eq!(pauses(true, Says::Nothing, 6), [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        for (told, first) in [(true, 500), (false, 100)] {
            let loading = pauses(told, Says::Old, 80);
            assert_eq!((loading[0], loading[1], loading[79]), (first, first, 5_000));
        }
    }

    #[test]
    fn pods_do_not_answer_together() {
        let spread = |uid: &str| spread(Duration::from_secs(100), uid).as_millis();
        assert_ne!(spread("a"), spread("b"));
        assert!((90_000..110_000).contains(&spread("5f0c8b1e-7d35-4f31-8b2a-0a2f5f0c8b1e")));
    }
}
