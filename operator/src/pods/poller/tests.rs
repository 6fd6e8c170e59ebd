use super::*;
use crate::testing::{Says, observation, validated};

/// A pod that has been asked, and its schedule.
fn heard(says: Says) -> (ObjectKey, Heard) {
    let target = validated(serde_json::json!({})).target();
    let report = observation(&target, &[(true, says)]).pods.remove(0);
    let agent = ObjectKey { namespace: "shop".into(), name: "support".into() };
    let pod = report.pod.key.clone();
    (pod, Heard { agent, report, target: Some(target), since: Instant::now(), news: true })
}

fn known(heard: &Heard) -> Pods {
    let pods = Pods::default();
    assert!(pods.seen(&heard.agent, heard.report.pod.clone(), Instant::now()));
    pods
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_waits_apart() {
    let (pod, silent) = heard(Says::Nothing);
    let pods = known(&silent);
    let mut schedule = Schedule::new(true);
    schedule.at_once(&pods, pod.clone());
    assert_eq!((schedule.answering.len(), schedule.silent.len()), (1, 0), "nobody knows yet");
    schedule.answering.next().await.unwrap();
    assert!(schedule.begin(&pods, &pod).is_some());
    schedule.end(pod.clone(), &silent, Instant::now());
    schedule.nudged(pod.clone(), Duration::ZERO);
    assert_eq!((schedule.answering.len(), schedule.silent.len()), (0, 1));
    schedule.at_once(&pods, pod.clone());
    assert_eq!((schedule.answering.len(), schedule.silent.len()), (0, 1), "once, whoever asks for it");
    schedule.silent.next().await.unwrap();
    assert!(schedule.begin(&pods, &pod).is_some());
    schedule.end(pod.clone(), &heard(Says::Loaded).1, Instant::now());
    assert_eq!((schedule.answering.len(), schedule.silent.len()), (1, 0), "it has answered");
    schedule.forget(&pod);
    assert_eq!((schedule.answering.len(), schedule.entries.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_value_is_looked_for_first_and_has_tries_of_its_own() {
    let mut schedule = Schedule::new(true);
    let mut end = |number: usize, says: Says| {
        let (mut pod, mut heard) = heard(says);
        pod.name = format!("{says:?}-{number}");
        heard.report.pod.key = pod.clone();
        schedule.at_once(&known(&heard), pod.clone());
        schedule.end(pod, &heard, Instant::now());
    };
    for number in 0..50 {
        end(number, Says::LoadedWithoutSecret);
    }
    end(0, Says::Old);
    end(0, Says::LoadedWithRefusedSecret);
    let names: Vec<_> = schedule.to_nudge.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[11]), (12, "LoadedWithRefusedSecret-0", "Old-0"), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_nudged_once_at_a_time() {
    let (pod, old) = heard(Says::Old);
    let pods = known(&old);
    let mut schedule = Schedule::new(true);
    schedule.at_once(&pods, pod.clone());
    for _look in 0..3 {
        schedule.end(pod.clone(), &old, Instant::now());
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(schedule.to_nudge.len(), 1);
    schedule.to_nudge.clear();
    schedule.nudged(pod.clone(), Duration::from_secs(2));
    schedule.end(pod.clone(), &old, Instant::now());
    assert_eq!(schedule.to_nudge.len(), 0, "the wait begins when the API server has answered");
    tokio::time::advance(Duration::from_secs(10)).await;
    schedule.end(pod, &old, Instant::now());
    assert_eq!(schedule.to_nudge.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_its_nudge_is_not_asked() {
    let (pod, old) = heard(Says::Old);
    let pods = known(&old);
    let mut schedule = Schedule::new(true);
    schedule.at_once(&pods, pod.clone());
    schedule.answering.next().await.unwrap();
    assert!(schedule.begin(&pods, &pod).is_some());
    schedule.end(pod.clone(), &old, Instant::now());
    assert_eq!((schedule.to_nudge.len(), schedule.answering.len()), (1, 0));
    schedule.nudged(pod.clone(), Duration::ZERO);
    assert_eq!(schedule.answering.len(), 1, "it is asked when the nudge should have had its effect");
    schedule.forget(&pod);
    schedule.nudged(pod, Duration::ZERO);
    assert_eq!(schedule.answering.len(), 0, "it has gone");
}
