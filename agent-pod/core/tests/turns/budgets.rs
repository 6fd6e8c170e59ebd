//! What an agent may use, through the public interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_pod_core::agent::Agent;
use agent_pod_core::budget::{
    Account, Amount, Asked, Book, Budget, BudgetStore, Maximums, OnExceeded, Reserved, Shared, Window,
};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{ChatRequest, RunAnswer};
use agent_pod_core::memory::StoreError;
use agent_pod_core::message::{Message, Role};
use agent_pod_core::model::router::{Candidate, Facts};
use agent_pod_core::model::strategy::{Capabilities, Strategy};
use agent_pod_core::model::{ModelError, ModelEvent, Parameters};
use agent_pod_core::money::Price;
use agent_pod_core::pattern::{Branch, Merge, Pattern};
use agent_pod_core::ports::Environment as _;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel, SteppedEnvironment, candidate, models};
use agent_pod_core::tool::internal::TextSummarize;
use agent_pod_core::tool::{Tool, ToolSet};
use agent_pod_core::usage::Tokens;
use async_trait::async_trait;
use futures::future::join_all;
use rstest::rstest;

use crate::fixture::{Fixture, ask, content};

const HOUR: Duration = Duration::from_secs(3_600);
/// What the clock of the tests says at first: 2026-01-02T03:04:05Z.
const NOW_MS: u64 = 1_767_323_045_000;

type Reply = Result<Vec<Scripted>, ModelError>;

/// A reply for which the server counts so many tokens in all.
fn uses(text: &str, tokens: u64) -> Reply {
    let counted = Tokens { input: tokens - 1, output: 1, cached: 0 };
    Ok(vec![content(text), Scripted::Event(ModelEvent::Tokens(counted))])
}

fn repeated(reply: &Reply, times: usize) -> Vec<Reply> {
    std::iter::repeat_n(reply.clone(), times).collect()
}

/// A model whose reply has at most 89 tokens: with the 11 of the tests' requests that makes 100.
fn bounded(provider: &str, model: &Arc<ScriptedModel>) -> Candidate {
    let parameters = Parameters { max_tokens: Some(89), ..Parameters::default() };
    Candidate { parameters, ..candidate(provider, model.clone()) }
}

struct World {
    agent: Arc<Agent>,
    book: Book,
    environment: Arc<SteppedEnvironment>,
}

fn world(candidates: Vec<Candidate>, tokens_max: u64, on_exceeded: OnExceeded) -> World {
    world_of(Pattern::React { iterations_max: 3 }, candidates, (tokens_max, on_exceeded), None)
}

fn world_of(
    pattern: Pattern,
    candidates: Vec<Candidate>,
    (tokens_max, on_exceeded): (u64, OnExceeded),
    store: Option<Arc<dyn BudgetStore>>,
) -> World {
    let (book, environment) = (Book::default(), Arc::new(SteppedEnvironment::default()));
    let same = book.clone();
    let budget = move || Budget {
        agent: "shop/support".to_owned(),
        window: HOUR,
        maximums: Maximums { tokens: Some(tokens_max), nanodollars: None },
        on_exceeded,
        shared: store.clone().map(Shared::new),
        book: same.clone(),
    };
    let fixture = Fixture::new([]).pattern(pattern).budget(budget).environment(environment.clone());
    World { agent: fixture.agent_over(models(Strategy::CapabilityMatch, candidates)), book, environment }
}

impl World {
    async fn run(&self) -> Result<RunAnswer, RunError> {
        Arc::clone(&self.agent).start(ask("hi"), RunOptions::default(), ()).answer().await
    }

    fn account(&self) -> Account {
        let window = Window::at(self.environment.epoch_millis(), HOUR);
        Account { agent: "shop/support".to_owned(), window }
    }

    fn spent(&self) -> u64 {
        self.book.spent(&self.account()).tokens
    }

    fn held(&self) -> u64 {
        self.book.held(&self.account()).tokens
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_beyond_the_budget_calls_no_model_and_may_come_back_in_the_next_window() {
    let model = ScriptedModel::new(repeated(&uses("yes", 60), 4));
    let world = world(vec![bounded("a", &model)], 120, OnExceeded::Reject);
    assert_eq!(world.environment.epoch_millis(), NOW_MS);
    for _run in 0..2 {
        assert_eq!(world.run().await.unwrap().degraded, [""; 0]);
    }
    assert_eq!((world.spent(), world.held()), (120, 0));
    let error = world.run().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BudgetExceeded);
    assert_eq!(error.retry_after, Some(Duration::from_millis(1_767_326_400_000 - NOW_MS)), "the end of the window");
    assert!(error.message.contains("120 tokens in 3600 s"), "{error}");
    assert_eq!((model.requests().len(), error.attempts.len()), (2, 0));

    tokio::time::advance(error.retry_after.unwrap()).await;
    assert!(world.run().await.is_ok(), "a new window has begun");
    assert_eq!(world.spent(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_budget_smaller_than_one_call_can_be_used_up_and_not_more() {
    let model = ScriptedModel::new(repeated(&uses("yes", 40), 3));
    let world = world(vec![bounded("a", &model)], 90, OnExceeded::Reject);
    for _run in 0..3 {
        world.run().await.unwrap();
    }
    assert_eq!((world.run().await.unwrap_err().code, world.spent()), (ErrorCode::BudgetExceeded, 120));
}

#[rstest]
#[case(1_000, 10)]
#[case(250, 3)]
#[case(50, 1)]
#[tokio::test(start_paused = true)]
async fn runs_at_the_same_time_do_not_overrun(#[case] tokens_max: u64, #[case] admitted: usize) {
    let slow = Ok([vec![Scripted::Pause(Duration::from_secs(1))], uses("yes", 100).unwrap()].concat());
    let model = ScriptedModel::new(repeated(&slow, 40));
    let world = world(vec![bounded("a", &model)], tokens_max, OnExceeded::Reject);
    let ends = join_all((0..40).map(|_| world.run())).await;
    let (answered, refused): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    assert_eq!((answered.len(), model.requests().len()), (admitted, admitted));
    assert!(refused.iter().all(|end| end.as_ref().unwrap_err().code == ErrorCode::BudgetExceeded));
    assert!(world.spent() < tokens_max + 100, "by less than what one call uses: {}", world.spent());
    assert_eq!(world.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_given_back_however_a_run_ends() {
    let silent = Ok(vec![content("begun"), Scripted::Silence]);
    let failed = Err(ModelError::new(agent_pod_core::model::ModelErrorKind::NotFound, "404"));
    let model = ScriptedModel::new([failed, silent]);
    let world = world(vec![bounded("a", &model)], 100, OnExceeded::Reject);
    assert_eq!(world.run().await.unwrap_err().code, ErrorCode::ProviderModelNotFound);
    assert_eq!((world.spent(), world.held()), (0, 0));
    tokio::time::timeout(Duration::from_secs(1), world.run()).await.unwrap_err();
    // The words that came, and what was asked: nobody has counted them.
    assert_eq!((world.spent(), world.held()), (13, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_meets_the_end_half_way_says_what_it_has_booked() {
    let call = agent_pod_core::message::ToolCall {
        id: "1".to_owned(),
        name: "none".to_owned(),
        arguments: serde_json::json!({}),
    };
    let counted = Tokens { input: 99, output: 1, cached: 0 };
    let asks = Ok(vec![Scripted::Event(ModelEvent::ToolCall(call)), Scripted::Event(ModelEvent::Tokens(counted))]);
    let model = ScriptedModel::new([asks]);
    let world = world(vec![bounded("a", &model)], 100, OnExceeded::Reject);
    let error = world.run().await.unwrap_err();
    assert_eq!((error.code, error.attempts.len()), (ErrorCode::BudgetExceeded, 1));
    assert!(error.message.contains("100 tokens (0 USD) of this run are booked"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_cannot_swallow_the_end_of_the_budget() {
    let branch = |role: &str| Branch { role: role.to_owned(), prompt: None };
    let branches = vec![branch("worker"), branch("reasoner"), branch("supervisor")];
    let pattern = Pattern::ParallelFanOut { iterations_max: 1, branches, merge: Merge::Vote };
    let model = ScriptedModel::new(repeated(&uses("yes", 90), 3));
    let world = world_of(pattern, vec![bounded("a", &model)], (100, OnExceeded::Reject), None);
    assert_eq!(world.run().await.unwrap_err().code, ErrorCode::BudgetExceeded);
}

fn priced(provider: &str, model: &Arc<ScriptedModel>, price: &str, vision: bool) -> Candidate {
    let facts = Facts {
        capabilities: Capabilities { tools: true, vision, ..Capabilities::default() },
        price: Some(Price::parse(price, price, None).unwrap()),
        ..Facts::default()
    };
    Candidate { facts, ..bounded(provider, model) }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_budget_leaves_the_cheapest_candidate_that_is_able() {
    let (dear, cheap, blind) = (
        ScriptedModel::new([uses("dear", 200), uses("dear", 200)]),
        ScriptedModel::new([uses("cheap", 50), uses("cheap", 50)]),
        ScriptedModel::new([uses("blind", 50)]),
    );
    let candidates =
        vec![priced("dear", &dear, "3", true), priced("blind", &blind, "0", false), priced("cheap", &cheap, "1", true)];
    let world = world(candidates, 150, OnExceeded::Downgrade);
    let answer = world.run().await.unwrap();
    assert_eq!((answer.answer.as_str(), answer.degraded.len()), ("dear", 0));
    let mut request = ask("look");
    request.images = vec!["data:image/png;base64,AA==".to_owned()];
    let seen = Arc::clone(&world.agent).start(request, RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!((seen.answer.as_str(), seen.degraded), ("cheap", vec!["budget".to_owned()]));
    assert_eq!(world.run().await.unwrap().answer, "blind");
    assert_eq!(world.spent(), 300, "what the cheapest one uses is counted too");
}

#[tokio::test(start_paused = true)]
async fn money_is_a_budget_too() {
    let model = ScriptedModel::new(repeated(&uses("yes", 100), 3));
    let mut world = world(vec![priced("a", &model, "10", false)], u64::MAX, OnExceeded::Reject);
    let budget = Arc::get_mut(&mut world.agent).unwrap().budget.as_mut().unwrap();
    // A call costs 0.001 dollars.
    budget.maximums = Maximums { tokens: None, nanodollars: Some(2_000_000) };
    assert!(world.run().await.is_ok() && world.run().await.is_ok());
    let error = world.run().await.unwrap_err();
    assert!(error.message.contains("0.002 USD in 3600 s"), "{error}");
    assert_eq!(world.book.spent(&world.account()), Amount { tokens: 200, nanodollars: 2_000_000 });
}

/// A reply that takes so long.
fn takes(seconds: u64, reply: &Reply) -> Reply {
    Ok([vec![Scripted::Pause(Duration::from_secs(seconds))], reply.clone().unwrap()].concat())
}

#[rstest]
#[case::its_own_limit_is_unknown(Facts::default())]
#[case::its_context_window_is_known(Facts { context_window: Some(1_000_000), ..Facts::default() })]
#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_for_a_reply_of_any_length_leaves_something_to_the_others(#[case] facts: Facts) {
    let model = ScriptedModel::new([takes(20, &uses("long", 15)), uses("short", 15), uses("short", 15)]);
    let world = world(vec![Candidate { facts, ..candidate("a", model.clone()) }], 6_000, OnExceeded::Reject);
    let mut greedy = ask("hi");
    let messages = vec![Message::new(Role::User, "hi")];
    let parameters = Parameters { max_tokens: Some(4_000_000_000), ..Parameters::default() };
    greedy.chat = Some(Box::new(ChatRequest { messages, parameters, ..ChatRequest::default() }));
    let greedy = Arc::clone(&world.agent).start(greedy, RunOptions::default(), ()).answer();
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!((1..=1_500).contains(&world.held()), "a quarter at most: {}", world.held());
        [world.run().await.unwrap().answer, world.run().await.unwrap().answer]
    };
    let (greedy, others) = tokio::join!(greedy, others);
    assert_eq!((greedy.unwrap().answer.as_str(), others), ("long", ["short".to_owned(), "short".to_owned()]));
    assert_eq!((world.spent(), world.held()), (45, 0));
    let sent: Vec<_> = model.requests().iter().map(|request| request.parameters.max_tokens).collect();
    assert!(
        sent[0].is_none_or(|most| most <= 131_072) && sent[1..] == [None, None],
        "servers refuse what no model can give: {sent:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_what_others_have_reserved_and_do_not_use() {
    let model = ScriptedModel::new(repeated(&takes(1, &uses("yes", 15)), 4));
    let world = world(vec![bounded("a", &model)], 200, OnExceeded::Reject);
    let ends = join_all((0..4).map(|_| world.run())).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    assert_eq!((world.spent(), world.held()), (60, 0));
}

#[rstest]
#[case(OnExceeded::Reject)]
#[case(OnExceeded::Downgrade)]
#[tokio::test(start_paused = true)]
async fn a_budget_that_is_only_reserved_may_be_asked_for_again_in_a_moment(#[case] on_exceeded: OnExceeded) {
    let model = ScriptedModel::new(repeated(&takes(20, &uses("yes", 15)), 3));
    let world = world(vec![bounded("a", &model)], 200, on_exceeded);
    let (first, second, third) = tokio::join!(world.run(), world.run(), world.run());
    assert!(first.is_ok() && second.is_ok());
    match on_exceeded {
        OnExceeded::Reject => {
            let error = third.unwrap_err();
            assert_eq!((error.code, error.retry_after), (ErrorCode::BudgetExceeded, Some(Duration::from_secs(1))));
            assert!(error.message.contains("is reserved by runs under way"), "{error}");
        }
        OnExceeded::Downgrade => assert_eq!(third.unwrap().degraded, ["budget"]),
    }
}

#[rstest]
#[case(u64::MAX, 0)]
#[case(u64::MAX, u64::MAX)]
#[case(1 << 40, 7)]
#[tokio::test(start_paused = true)]
async fn a_count_that_no_server_can_mean_is_none(#[case] input: u64, #[case] output: u64) {
    let counted = Tokens { input, output, cached: u64::MAX };
    let reply = || Ok(vec![content("yes"), Scripted::Event(ModelEvent::Tokens(counted))]);
    let model = ScriptedModel::new([reply(), reply()]);
    let world = world(vec![bounded("a", &model)], 1_000, OnExceeded::Reject);
    for _run in 0..2 {
        let usage = world.run().await.unwrap().usage;
        assert!(usage.estimated && usage.tokens_in + usage.tokens_out < 100, "{usage:?}");
    }
    assert!(world.spent() < 200, "the window's budget is still there: {}", world.spent());
}

#[tokio::test(start_paused = true)]
async fn a_used_up_budget_is_no_fault_of_the_tool_that_wanted_to_spend_it() {
    let call = agent_pod_core::message::ToolCall {
        id: "1".to_owned(),
        name: "text_summarize".to_owned(),
        arguments: serde_json::json!({"text": "long"}),
    };
    let counted = Tokens { input: 99, output: 1, cached: 0 };
    let asks = Ok(vec![Scripted::Event(ModelEvent::ToolCall(call)), Scripted::Event(ModelEvent::Tokens(counted))]);
    let model = ScriptedModel::new(repeated(&asks, 9));
    let mut world = world(vec![bounded("a", &model)], 100, OnExceeded::Reject);
    let agent = Arc::get_mut(&mut world.agent).unwrap();
    agent.tools = ToolSet::new([Arc::new(TextSummarize) as Arc<dyn Tool>]);
    for _window in 0..9 {
        assert_eq!(world.run().await.unwrap_err().code, ErrorCode::BudgetExceeded);
        tokio::time::advance(HOUR).await;
    }
    assert_eq!(model.requests().len(), 9);
    assert!(world.agent.tools.all().all(|tool| !tool.is_down()));
}

/// Counts in a book, while it is up.
struct SharedStore(Book, AtomicBool);

#[async_trait]
impl BudgetStore for SharedStore {
    async fn reserve(&self, asked: &Asked<'_>) -> Result<Reserved, StoreError> {
        if self.1.load(Ordering::Relaxed) { Err(StoreError("down".into())) } else { self.0.reserve(asked).await }
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_shared_store_a_pod_counts_for_itself_and_says_so() {
    let model = ScriptedModel::new(repeated(&uses("yes", 60), 9));
    let store = Arc::new(SharedStore(Book::default(), AtomicBool::new(false)));
    let pod = || {
        let pattern = Pattern::React { iterations_max: 3 };
        let shared = Some(store.clone() as Arc<dyn BudgetStore>);
        world_of(pattern, vec![bounded("a", &model)], (180, OnExceeded::Reject), shared)
    };
    let (one, other) = (pod(), pod());
    one.run().await.unwrap();
    assert_eq!(other.run().await.unwrap().degraded, [""; 0]);
    assert_eq!((one.spent(), other.spent()), (60, 120), "each knows what it was last told");

    store.1.store(true, Ordering::Relaxed);
    assert_eq!(one.run().await.unwrap().degraded, ["budget"]);
    assert_eq!(one.run().await.unwrap().degraded, ["budget"]);
    assert_eq!(one.run().await.unwrap_err().code, ErrorCode::BudgetExceeded, "it has used all of it by itself");
    store.1.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(other.run().await.unwrap().degraded, [""; 0]);
    assert_eq!(other.run().await.unwrap_err().code, ErrorCode::BudgetExceeded);
}
