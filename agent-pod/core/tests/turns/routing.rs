//! Several candidates: who is tried, how often, in which order, and what is learnt of it.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::Agent;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{RunAnswer, TurnEvent, TurnRequest};
use agent_pod_core::model::breaker::Circuit;
use agent_pod_core::model::rate::RateSettings;
use agent_pod_core::model::router::{Candidate, Facts, ProviderLoad};
use agent_pod_core::model::strategy::{Capabilities, Strategy};
use agent_pod_core::model::{FinishReason, ModelError, ModelErrorKind, ModelEvent, Parameters};
use agent_pod_core::money::Price;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel, candidate, models};
use agent_pod_core::usage::Tokens;
use futures::StreamExt as _;
use rstest::rstest;
use tokio::time::{Instant, advance};

use crate::fixture::{Fixture, ask, content, events, streamed};

type Reply = Result<Vec<Scripted>, ModelError>;

fn fails(kind: ModelErrorKind) -> Reply {
    Err(ModelError::new(kind, kind.as_str()))
}

fn down() -> Reply {
    fails(ModelErrorKind::Unavailable)
}

fn patience(seconds: u64) -> Reply {
    Err(ModelError {
        retry_after: Some(Duration::from_secs(seconds)),
        ..ModelError::new(ModelErrorKind::RateLimited, "429")
    })
}

fn says(text: &str) -> Reply {
    ScriptedModel::text(text)
}

fn agent(strategy: Strategy, candidates: Vec<Candidate>) -> Arc<Agent> {
    Fixture::new([]).agent_over(models(strategy, candidates))
}

async fn run(agent: &Arc<Agent>) -> Result<RunAnswer, RunError> {
    Arc::clone(agent).start(ask("hi"), RunOptions::default(), ()).answer().await
}

/// An agent over these scripts, in the order of declaration.
fn scripted<const N: usize>(scripts: [(&str, Vec<Reply>); N]) -> (Arc<Agent>, Vec<Arc<ScriptedModel>>) {
    let ports: Vec<_> = scripts.into_iter().map(|(name, script)| (name, ScriptedModel::new(script))).collect();
    let candidates = ports.iter().map(|(name, port)| candidate(name, port.clone())).collect();
    (agent(Strategy::CapabilityMatch, candidates), ports.into_iter().map(|(_, port)| port).collect())
}

fn outcomes(attempts: &[agent_pod_core::event::Attempt]) -> Vec<(&str, &'static str)> {
    attempts.iter().map(|attempt| (attempt.provider.as_str(), attempt.outcome)).collect()
}

#[rstest]
#[case::down(ModelErrorKind::Unavailable, true)]
#[case::broken(ModelErrorKind::Malformed, true)]
#[case::limited(ModelErrorKind::RateLimited, true)]
#[case::slow(ModelErrorKind::Timeout, false)]
#[case::locked(ModelErrorKind::Unauthorized, false)]
#[case::unknown(ModelErrorKind::NotFound, false)]
#[tokio::test(start_paused = true)]
async fn a_candidate_is_tried_twice_only_where_that_may_help(#[case] kind: ModelErrorKind, #[case] twice: bool) {
    let (agent, ports) = scripted([("a", vec![fails(kind), says("second try")]), ("b", vec![says("b")])]);
    let answer = run(&agent).await.unwrap();
    let code = kind.as_str();
    if twice {
        assert_eq!(
            (answer.answer.as_str(), outcomes(&answer.attempts)),
            ("second try", vec![("a", code), ("a", "ok")])
        );
    } else {
        assert_eq!((answer.answer.as_str(), outcomes(&answer.attempts)), ("b", vec![("a", code), ("b", "ok")]));
        assert_eq!(ports[0].requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn three_failed_requests_open_the_circuit_whatever_their_tries() {
    let (agent, ports) = scripted([("a", (0..6).map(|_| down()).chain([says("well again")]).collect())]);
    for _ in 0..3 {
        assert_eq!(run(&agent).await.unwrap_err().code, ErrorCode::AllProvidersFailed);
    }
    assert_eq!(ports[0].requests().len(), 6, "two tries of each, which the budget of three retries allows");
    let before = Instant::now();
    let error = run(&agent).await.unwrap_err();
    assert_eq!((error.code, error.attempts.len(), before.elapsed()), (ErrorCode::AllCircuitsOpen, 0, Duration::ZERO));
    let wait = error.retry_after.unwrap();
    assert!(wait > Duration::from_secs(58) && wait <= Duration::from_secs(60), "{wait:?}");
    advance(wait).await;
    assert_eq!(run(&agent).await.unwrap().answer, "well again");
    assert_eq!(circuit(&agent), Circuit::Closed);
}

fn circuit(agent: &Agent) -> Circuit {
    agent.models.default.candidates()[0].state.report().circuit
}

#[rstest]
#[case::rejected(ModelErrorKind::Rejected)]
#[case::locked(ModelErrorKind::Unauthorized)]
#[case::unknown(ModelErrorKind::NotFound)]
#[case::limited(ModelErrorKind::RateLimited)]
#[case::without_room(ModelErrorKind::NoMemory)]
#[tokio::test(start_paused = true)]
async fn what_is_not_the_servers_failure_leaves_the_circuit_closed(#[case] kind: ModelErrorKind) {
    let (agent, _) = scripted([("a", (0..20).map(|_| fails(kind)).collect())]);
    for _ in 0..10 {
        run(&agent).await.unwrap_err();
    }
    assert_eq!(circuit(&agent), Circuit::Closed);
}

/// Another candidate's reply would take as much.
#[tokio::test(start_paused = true)]
async fn a_reply_for_which_the_pod_has_no_memory_ends_the_run_and_is_no_fault_of_the_provider() {
    let (agent, ports) = scripted([("a", vec![fails(ModelErrorKind::NoMemory)]), ("b", vec![says("b")])]);
    assert_eq!(run(&agent).await.unwrap_err().code, ErrorCode::Overloaded);
    assert_eq!((ports[0].requests().len(), ports[1].requests().len()), (1, 0));
    let report = agent.models.default.candidates()[0].state.report();
    assert_eq!((report.circuit, report.last_error), (Circuit::Closed, None));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_is_left_alone_for_as_long_as_it_says() {
    let (agent, ports) = scripted([("a", vec![patience(12), says("back")]), ("b", vec![says("b"), says("b again")])]);
    assert_eq!(run(&agent).await.unwrap().answer, "b");
    assert_eq!(run(&agent).await.unwrap().answer, "b again");
    assert_eq!(ports[0].requests().len(), 1, "not called while it cools down");
    advance(Duration::from_secs(12)).await;
    assert_eq!(run(&agent).await.unwrap().answer, "back");
}

#[tokio::test(start_paused = true)]
async fn when_all_cool_down_nobody_is_called_and_the_shortest_wait_is_told() {
    let (agent, ports) = scripted([("a", vec![patience(30)]), ("b", vec![patience(12)])]);
    let first = run(&agent).await.unwrap_err();
    assert_eq!((first.code, first.retry_after), (ErrorCode::AllProvidersFailed, Some(Duration::from_secs(12))));
    let second = run(&agent).await.unwrap_err();
    assert_eq!((second.code, second.retry_after), (ErrorCode::AllCoolingDown, Some(Duration::from_secs(12))));
    assert_eq!(ports.iter().map(|port| port.requests().len()).sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_misconfigured_candidate_comes_last_for_a_minute() {
    let (agent, ports) = scripted([
        ("a", vec![fails(ModelErrorKind::Unauthorized), fails(ModelErrorKind::NotFound), says("mended")]),
        ("b", vec![says("b"), says("b"), fails(ModelErrorKind::Timeout)]),
    ]);
    assert_eq!(run(&agent).await.unwrap().attempts.len(), 2);
    assert_eq!(outcomes(&run(&agent).await.unwrap().attempts), [("b", "ok")]);
    let error = run(&agent).await.unwrap_err();
    assert_eq!(outcomes(&error.attempts), [("b", "timeout"), ("a", "not_found")], "worth a try when all else fails");
    advance(Duration::from_secs(61)).await;
    assert_eq!(outcomes(&run(&agent).await.unwrap().attempts), [("a", "ok")]);
    assert_eq!(ports[0].requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_made_worse_by_retries() {
    let scripts = [("a", (0..500).map(|_| fails(ModelErrorKind::RateLimited)).collect())];
    let (agent, ports) = scripted(scripts);
    for _ in 0..50 {
        run(&agent).await.unwrap_err();
    }
    assert_eq!(ports[0].requests().len(), 53, "three retries in a minute for a model that never succeeds");
}

fn priced(name: &str, input: &str, output: &str) -> Candidate {
    let facts = Facts { price: Some(Price::parse(input, output, None).unwrap()), ..Facts::default() };
    Candidate { facts, ..candidate(name, ScriptedModel::new((0..9).map(|_| says(name)))) }
}

async fn winner(agent: &Arc<Agent>) -> String {
    run(agent).await.unwrap().answer
}

#[tokio::test(start_paused = true)]
async fn cost_is_of_the_request_at_hand() {
    // Long answers are dear at the one, long questions at the other.
    let candidates = || vec![priced("dear-answers", "0.1", "10"), priced("dear-questions", "10", "0.1")];
    assert_eq!(winner(&agent(Strategy::CostOptimized, candidates())).await, "dear-questions");
    let long = TurnRequest { query: "word ".repeat(4_000), ..TurnRequest::default() };
    let agent = agent(Strategy::CostOptimized, candidates());
    let answer = agent.start(long, RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(answer.answer, "dear-answers");
}

#[tokio::test(start_paused = true)]
async fn a_price_that_nobody_knows_comes_last_and_free_ones_first() {
    let unknown = Candidate { facts: Facts::default(), ..candidate("unknown", ScriptedModel::new([says("unknown")])) };
    let free = candidate("free", ScriptedModel::new([says("free")]));
    let agent = agent(Strategy::CostOptimized, vec![unknown, priced("priced", "1", "1"), free]);
    assert_eq!(winner(&agent).await, "free");
}

/// A model that takes so long to its first token, each time.
fn slow(name: &str, times: &[u64]) -> Candidate {
    let script = times.iter().map(|millis| Ok(vec![Scripted::Pause(Duration::from_millis(*millis)), content(name)]));
    candidate(name, ScriptedModel::new(script.collect::<Vec<_>>()))
}

#[tokio::test(start_paused = true)]
async fn the_fastest_of_late_comes_first_and_unmeasured_ones_before() {
    let agent = agent(Strategy::LatencyOptimized, vec![slow("a", &[100, 900, 100]), slow("b", &[200, 200])]);
    assert_eq!(winner(&agent).await, "a", "neither is measured");
    assert_eq!(winner(&agent).await, "b", "not measured yet");
    assert_eq!(winner(&agent).await, "a", "100 ms against 200 ms; now it takes 900 ms");
    // 0.8 × 100 + 0.2 × 900 = 260
    let average = agent.models.default.candidates()[0].state.report().latency;
    assert_eq!(average, Some(Duration::from_millis(260)));
    assert_eq!(winner(&agent).await, "b");
}

#[tokio::test(start_paused = true)]
async fn turns_are_taken_evenly_also_while_one_is_left_out() {
    let echo = |name: &'static str| candidate(name, ScriptedModel::new((0..30).map(move |_| says(name))));
    let ailing = candidate("ailing", ScriptedModel::new([patience(3600)]));
    let agent = agent(Strategy::RoundRobin, vec![echo("a"), ailing, echo("b"), echo("c")]);
    let mut seen = Vec::new();
    for _ in 0..31 {
        seen.push(winner(&agent).await);
    }
    let count = |name: &str| seen.iter().skip(1).filter(|winner| *winner == name).count();
    assert_eq!([count("a"), count("b"), count("c")], [10, 10, 10], "{seen:?}");
}

fn able(name: &str, vision: bool, context_window: Option<u64>) -> Candidate {
    let capabilities = Capabilities { tools: true, vision, json_schema: false };
    let facts = Facts { capabilities, context_window, ..Facts::default() };
    Candidate { facts, ..candidate(name, ScriptedModel::new([says(name)])) }
}

#[tokio::test(start_paused = true)]
async fn an_image_goes_only_to_a_model_that_sees() {
    let request = TurnRequest { images: vec!["https://example.com/a.png".into()], ..ask("What is it?") };
    let agent = agent(Strategy::QualityFirst, vec![able("blind", false, None), able("seeing", true, None)]);
    let answer = agent.start(request.clone(), RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(outcomes(&answer.attempts), [("seeing", "ok")]);
    let blind = Fixture::new([]).agent_over(models(Strategy::default(), vec![able("blind", false, None)]));
    let error = blind.start(request, RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!((error.code, error.attempts.len()), (ErrorCode::UnsupportedContent, 0));
}

#[tokio::test(start_paused = true)]
async fn a_long_conversation_goes_only_where_it_fits() {
    let request = TurnRequest { query: "word ".repeat(1_000), ..TurnRequest::default() };
    let both = vec![able("small", false, Some(1_000)), able("large", false, Some(100_000))];
    let answer = agent(Strategy::CapabilityMatch, both)
        .start(request.clone(), RunOptions::default(), ())
        .answer()
        .await
        .unwrap();
    assert_eq!(answer.answer, "large");
    let small = agent(Strategy::CapabilityMatch, vec![able("small", false, Some(1_000))]);
    let error = small.start(request, RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ContextTooLong);
}

/// A model that has failed so often that only a probe is let through, with these replies to come.
async fn half_open(replies: Vec<Result<Vec<Scripted>, ModelError>>) -> Arc<Agent> {
    let failures = (0..3).map(|_| Err(ModelError::new(ModelErrorKind::Timeout, "timed out")));
    let (agent, _) = scripted([("a", failures.chain(replies).collect())]);
    for _failure in 0..3 {
        run(&agent).await.unwrap_err();
    }
    assert_eq!(circuit(&agent), Circuit::Open);
    advance(Duration::from_secs(60)).await;
    agent
}

#[tokio::test(start_paused = true)]
async fn a_probe_has_done_its_part_with_the_first_piece_of_its_reply() {
    let slow = Ok(vec![content("at "), Scripted::Pause(Duration::from_secs(20)), content("last")]);
    let agent = half_open(vec![slow, says("meanwhile")]).await;
    let other = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        run(&agent).await.map(|answer| answer.answer)
    };
    let (probe, other) = tokio::join!(run(&agent), other);
    assert_eq!((probe.unwrap().answer.as_str(), other.unwrap().as_str()), ("at last", "meanwhile"));
}

#[rstest]
#[case(ModelErrorKind::Rejected)]
#[case(ModelErrorKind::Unauthorized)]
#[case(ModelErrorKind::NotFound)]
#[tokio::test(start_paused = true)]
async fn a_server_that_answers_a_probe_is_up_even_if_it_refuses(#[case] kind: ModelErrorKind) {
    let agent = half_open(vec![Err(ModelError::new(kind, "refused"))]).await;
    run(&agent).await.unwrap_err();
    assert_eq!(circuit(&agent), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_turns_to_the_next_candidate_and_then_to_patience() {
    let limited = |name: &'static str| Candidate {
        load: Arc::new(ProviderLoad::new(8, RateSettings { requests_per_minute: Some(1), tokens_per_minute: None })),
        ..candidate(name, ScriptedModel::new([says(name), says(name)]))
    };
    let agent = agent(Strategy::CapabilityMatch, vec![limited("a"), limited("b")]);
    assert_eq!((winner(&agent).await, winner(&agent).await), ("a".to_owned(), "b".to_owned()));
    let error = run(&agent).await.unwrap_err();
    assert_eq!((error.code, error.retry_after), (ErrorCode::AllCoolingDown, Some(Duration::from_secs(60))));
    advance(Duration::from_secs(60)).await;
    assert_eq!(winner(&agent).await, "a");
}

/// Nothing has gone out to a caller who does not read along.
#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_off_is_begun_anew_unless_somebody_has_read_of_it() {
    let broken = || Ok(vec![content("half "), Scripted::Broken(ModelError::new(ModelErrorKind::Malformed, "cut off"))]);
    let scripts = || [("a", vec![broken(), broken()]), ("b", vec![says("whole")])];
    let (quiet, _) = scripted(scripts());
    let answer = run(&quiet).await.unwrap();
    assert_eq!(answer.answer, "whole");
    assert_eq!(outcomes(&answer.attempts), [("a", "malformed"), ("a", "malformed"), ("b", "ok")]);
    assert!(
        answer.usage.estimated && answer.usage.by_model[0].calls == 2,
        "what was lost is booked: {:?}",
        answer.usage
    );
    let (read, ports) = scripted(scripts());
    let seen = events(read.start(ask("hi"), streamed(), ())).await;
    assert_eq!(seen.iter().map(TurnEvent::name).collect::<Vec<_>>(), ["status", "token", "error"]);
    assert_eq!((ports[0].requests().len(), ports[1].requests().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_thought_commits_to_nothing() {
    let thinking = Ok(vec![
        Scripted::Event(ModelEvent::Reasoning("hm".into())),
        Scripted::Broken(ModelError::new(ModelErrorKind::Timeout, "stalled")),
    ]);
    let (agent, _) = scripted([("a", vec![thinking]), ("b", vec![says("b")])]);
    let seen = events(agent.start(ask("hi"), streamed(), ())).await;
    assert_eq!(seen.iter().map(TurnEvent::name).collect::<Vec<_>>(), ["status", "token", "done"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_is_not_held_against_the_provider() {
    let (agent, _) = scripted([("a", (0..9).map(|_| Ok(vec![Scripted::Silence])).collect())]);
    let within = |seconds| RunOptions { timeout: Some(Duration::from_secs(seconds)), ..RunOptions::default() };
    for _ in 0..5 {
        let error = Arc::clone(&agent).start(ask("hi"), within(1), ()).answer().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DeadlineExceeded);
        assert_eq!(outcomes(&error.attempts), [("a", "deadline_exceeded")]);
    }
    assert_eq!(circuit(&agent), Circuit::Closed);
    // But one that says nothing for longer than a first token may take has failed.
    for _ in 0..3 {
        Arc::clone(&agent).start(ask("hi"), within(31), ()).answer().await.unwrap_err();
    }
    assert_eq!(circuit(&agent), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_is_not_held_against_the_provider_and_pays_for_what_came() {
    let half = || Ok(vec![content("twelve letters, or so"), Scripted::Silence]);
    let fixture = Fixture::new([]);
    let agent = fixture
        .agent_over(models(Strategy::default(), vec![candidate("a", ScriptedModel::new((0..9).map(|_| half())))]));
    for _ in 0..5 {
        let mut run = Arc::clone(&agent).start(ask("hi"), streamed(), ());
        while !matches!(run.events.next().await, Some(TurnEvent::Token(_))) {}
    }
    assert_eq!(circuit(&agent), Circuit::Closed);
    assert_eq!(fixture.observer.outcomes(), vec![("cancelled".to_owned(), 6); 5], "21 letters are about 6 tokens");
}

#[tokio::test(start_paused = true)]
async fn the_price_of_a_run_is_the_sum_of_its_calls() {
    let counted = |text: &str| {
        Ok(vec![
            content(text),
            Scripted::Event(ModelEvent::Tokens(Tokens { input: 412, output: 38, cached: 0 })),
            Scripted::Event(ModelEvent::Finish(FinishReason::Length)),
        ])
    };
    let facts = Facts { price: Some(Price::parse("0.15", "0.60", None).unwrap()), ..Facts::default() };
    let priced = Candidate { facts, ..candidate("openai", ScriptedModel::new([counted("It arrives")])) };
    let answer = run(&agent(Strategy::default(), vec![priced])).await.unwrap();
    assert_eq!(answer.usage.cost.to_string(), "0.0000846");
    assert!(answer.truncated && !answer.usage.estimated);
}

#[tokio::test(start_paused = true)]
async fn a_provider_takes_so_many_requests_at_a_time() {
    let load = Arc::new(ProviderLoad::new(1, RateSettings::default()));
    let slow = |name: &'static str| Ok(vec![Scripted::Pause(Duration::from_secs(5)), content(name)]);
    let narrow = Candidate { load, ..candidate("a", ScriptedModel::new([slow("a"), slow("a")])) };
    let alone = agent(Strategy::CapabilityMatch, vec![narrow.clone()]);
    let before = Instant::now();
    let (first, second) = futures::join!(run(&alone), run(&alone));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(before.elapsed(), Duration::from_secs(10), "the second waited for the first");
    let narrow = Candidate { port: ScriptedModel::new([slow("a"), slow("a")]), ..narrow };
    let both = agent(Strategy::CapabilityMatch, vec![narrow, candidate("b", ScriptedModel::new([says("b")]))]);
    let (first, second) = futures::join!(run(&both), run(&both));
    assert_eq!((first.unwrap().answer, second.unwrap().answer), ("a".to_owned(), "b".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn after_the_cooldown_exactly_one_of_many_runs_probes() {
    let slow_success = Ok(vec![Scripted::Pause(Duration::from_secs(1)), content("back")]);
    let script = (0..3).map(|_| fails(ModelErrorKind::Timeout)).chain([slow_success]);
    let (agent, ports) = scripted([("a", script.collect())]);
    for _ in 0..3 {
        run(&agent).await.unwrap_err();
    }
    advance(Duration::from_secs(60)).await;
    let runs = futures::future::join_all((0..20).map(|_| run(&agent))).await;
    let (ok, refused): (Vec<_>, Vec<_>) = runs.into_iter().partition(Result::is_ok);
    assert_eq!((ok.len(), refused.len(), ports[0].requests().len()), (1, 19, 4));
    assert!(refused.into_iter().all(|run| run.unwrap_err().code == ErrorCode::AllCircuitsOpen));
}

#[tokio::test(start_paused = true)]
async fn the_callers_parameters_win_but_never_raise_the_token_limit() {
    let port = ScriptedModel::new([says("x")]);
    let own = Parameters { temperature: Some(0.2), max_tokens: Some(100), seed: Some(1), ..Parameters::default() };
    let agent = agent(Strategy::default(), vec![Candidate { parameters: own, ..candidate("a", port.clone()) }]);
    let parameters = Parameters { temperature: Some(0.9), max_tokens: Some(500), ..Parameters::default() };
    let chat = agent_pod_core::event::ChatRequest { parameters, ..Default::default() };
    let request = TurnRequest { chat: Some(Box::new(chat)), ..ask("hi") };
    agent.start(request, RunOptions::default(), ()).answer().await.unwrap();
    let sent = &port.requests()[0].parameters;
    assert_eq!((sent.temperature, sent.max_tokens, sent.seed), (Some(0.9), Some(100), Some(1)));
}
