//! What every store of budgets guarantees, run on every backend.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::budget::{Account, Amount, Asked, Book, BudgetStore, Grant, Maximums, Window};
use futures::future::join_all;
use tokio::time::timeout;

use crate::places::{eventually, postgres, redis};

const HOUR: Duration = Duration::from_secs(3600);
/// Long enough to be seen before it is over, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(400);
/// Not a window of now: stores do not compare it with their clocks.
const NOON_MS: u64 = 1_767_355_200_000;

type Store = dyn BudgetStore;

fn account() -> Account {
    Account { agent: "shop/support".to_owned(), window: Window::at(NOON_MS, HOUR) }
}

fn tokens(tokens: u64) -> Amount {
    Amount { tokens, nanodollars: 0 }
}

fn at_most(tokens: u64) -> Maximums {
    Maximums { tokens: Some(tokens), nanodollars: None }
}

fn asked(account: &Account, most: u64, wanted: u64) -> Asked<'_> {
    Asked { account, maximums: at_most(most), wanted: tokens(wanted), forced: false, lease: HOUR }
}

/// What is reserved of so many tokens, of 100 at most.
async fn reserve(store: &Store, account: &Account, wanted: u64) -> Option<Grant> {
    store.reserve(&asked(account, 100, wanted)).await.unwrap().grant
}

async fn spent(store: &Store, account: &Account) -> Amount {
    store.reserve(&asked(account, 100, 0)).await.unwrap().spent
}

async fn a_call_gets_what_it_wants_or_what_is_left_or_nothing(store: &Store) {
    let account = account();
    let first = reserve(store, &account, 70).await.unwrap();
    let second = reserve(store, &account, 70).await.unwrap();
    assert_eq!(
        [&first, &second].map(|grant| (grant.amount, grant.exhausted)),
        [(tokens(70), false), (tokens(30), false)]
    );
    let refused = store.reserve(&asked(&account, 100, 1)).await.unwrap();
    assert!(refused.grant.is_none(), "what is reserved counts as used");
    assert_eq!(refused.spent, tokens(0), "but is told apart from it: it may be given back");
    let forced = store.reserve(&Asked { forced: true, ..asked(&account, 100, 5) }).await.unwrap().grant.unwrap();
    assert_eq!((forced.amount, forced.exhausted), (tokens(0), true));
    assert_eq!(store.reserve(&asked(&account, 150, 70)).await.unwrap().grant.unwrap().amount, tokens(50));
}

async fn what_was_really_used_counts_and_the_rest_is_given_back(store: &Store) {
    let account = account();
    let mut less = reserve(store, &account, 60).await.unwrap();
    assert_eq!(less.hold.settle(tokens(10)).await.unwrap(), tokens(10));
    let mut more = reserve(store, &account, 60).await.unwrap();
    assert_eq!(more.amount, tokens(60));
    assert_eq!(more.hold.settle(tokens(80)).await.unwrap(), tokens(90));
    assert_eq!(reserve(store, &account, 60).await.unwrap().amount, tokens(10));
    // A higher maximum goes on with the same count.
    let mut beyond = store.reserve(&asked(&account, 1_000, 60)).await.unwrap().grant.unwrap();
    assert_eq!(beyond.hold.settle(tokens(60)).await.unwrap(), tokens(150));
    assert!(reserve(store, &account, 1).await.is_none());
}

async fn a_call_is_settled_once(store: &Store) {
    let account = account();
    let mut grant = reserve(store, &account, 60).await.unwrap();
    grant.hold.settle(tokens(50)).await.unwrap();
    grant.hold.settle_later(tokens(50));
    drop(grant);
    let mut next = reserve(store, &account, 60).await.unwrap();
    assert_eq!((next.amount, next.hold.settle(tokens(1)).await.unwrap()), (tokens(50), tokens(51)));
}

async fn one_that_nobody_waits_for_is_settled_all_the_same(store: &Store) {
    let account = account();
    reserve(store, &account, 60).await.unwrap().hold.settle_later(tokens(20));
    eventually("it is counted", async || spent(store, &account).await == tokens(20)).await;
    drop(reserve(store, &account, 80).await.unwrap());
    let given_back = async || reserve(store, &account, 80).await.is_some_and(|grant| grant.amount == tokens(80));
    eventually("one that is dropped is given back", given_back).await;
    assert_eq!(spent(store, &account).await, tokens(20));
}

async fn money_and_tokens_are_counted_exactly_and_each_has_its_maximum(store: &Store) {
    let account = account();
    let most = Maximums { tokens: Some(1_000_000_000_000), nanodollars: Some(999_999_999_999_999) };
    let wanted = Amount { tokens: 999_999_999_999, nanodollars: 999_999_999_999_997 };
    let asked = Asked { maximums: most, wanted, ..asked(&account, 0, 0) };
    let mut first = store.reserve(&asked).await.unwrap().grant.unwrap();
    assert_eq!(first.amount, wanted);
    let mut second = store.reserve(&asked).await.unwrap().grant.unwrap();
    assert_eq!(second.amount, Amount { tokens: 1, nanodollars: 2 });
    assert!(store.reserve(&asked).await.unwrap().grant.is_none());
    assert_eq!(first.hold.settle(wanted).await.unwrap(), wanted);
    let all = second.hold.settle(Amount { tokens: 0, nanodollars: 2 }).await.unwrap();
    assert_eq!(all, Amount { tokens: 999_999_999_999, nanodollars: 999_999_999_999_999 });
    assert!(store.reserve(&asked).await.unwrap().grant.is_none(), "there is a token left, but no money");
    let without = Asked { maximums: at_most(1_000_000_000_000), ..asked };
    assert_eq!(store.reserve(&without).await.unwrap().grant.unwrap().amount.tokens, 1);
}

async fn absurd_counts_do_no_harm(store: &Store) {
    let (account, absurd) = (account(), Amount { tokens: u64::MAX, nanodollars: u64::MAX });
    for _call in 0..12 {
        let forced = Asked { wanted: absurd, forced: true, maximums: Maximums::default(), ..asked(&account, 0, 0) };
        let mut grant = store.reserve(&forced).await.unwrap().grant.unwrap();
        assert!(grant.hold.settle(absurd).await.unwrap().tokens >= 1_000_000_000_000_000);
    }
    assert!(reserve(store, &account, 1).await.is_none());
}

async fn agents_and_lengths_of_windows_never_mix(store: &Store) {
    let of = |agent: &str, start_ms: u64, length: Duration| Account {
        agent: agent.to_owned(),
        window: Window::at(start_ms, length),
    };
    let accounts = [
        of("shop/support", NOON_MS, HOUR),
        of("shop/support", NOON_MS, 2 * HOUR),
        of("shop/sales", NOON_MS, HOUR),
        of("shop/support:1", NOON_MS, HOUR),
    ];
    for (number, account) in (1..).zip(&accounts) {
        let mut grant = reserve(store, account, 100).await.unwrap();
        assert_eq!(grant.hold.settle(tokens(number)).await.unwrap(), tokens(number));
    }
    for (number, account) in (1..).zip(&accounts) {
        assert_eq!(spent(store, account).await, tokens(number));
    }
}

async fn a_new_window_begins_with_nothing_used(store: &Store) {
    let old = account();
    let new = Account { window: Window::at(old.window.end_ms(), HOUR), ..account() };
    let mut begun = reserve(store, &old, 90).await.unwrap();
    let mut grant = reserve(store, &new, 100).await.unwrap();
    assert_eq!(grant.amount, tokens(100));
    assert_eq!(begun.hold.settle(tokens(90)).await.unwrap(), tokens(90), "it counts where it was reserved");
    assert_eq!(grant.hold.settle(tokens(1)).await.unwrap(), tokens(1));
}

/// Moments in which a caller gives up: before, while and after the store does its work.
fn moments() -> impl Iterator<Item = Duration> {
    (0..40).map(|number| Duration::from_micros(100 * number))
}

async fn a_settlement_that_is_given_up_half_way_counts_once(store: &Store) {
    let account = account();
    for moment in moments() {
        let mut grant = reserve(store, &account, 1).await.unwrap();
        drop(timeout(moment, grant.hold.settle(tokens(1))).await);
        grant.hold.settle_later(tokens(1));
    }
    eventually("all are counted", async || spent(store, &account).await.tokens >= 40).await;
    let rest = async || reserve(store, &account, 100).await.is_some_and(|grant| grant.amount == tokens(60));
    eventually("nothing is held, and none is counted twice", rest).await;
}

async fn a_reservation_that_is_given_up_half_way_is_given_back(store: &Store) {
    let account = account();
    for moment in moments() {
        drop(timeout(moment, reserve(store, &account, 1)).await);
    }
    let all = async || reserve(store, &account, 100).await.is_some_and(|grant| grant.amount == tokens(100));
    eventually("nothing is held", all).await;
}

/// Many callers at once on these replicas; all together they get exactly what there is.
async fn crowd(stores: &[Arc<Store>]) {
    let account = account();
    let calls = (0..60).map(|number| {
        let (store, account) = (&stores[number % stores.len()], &account);
        async move { reserve(store.as_ref(), account, 7).await }
    });
    let grants: Vec<Grant> = join_all(calls).await.into_iter().flatten().collect();
    let sum = grants.iter().fold(0, |sum, grant| sum + grant.amount.tokens);
    assert_eq!((grants.len(), sum), (15, 100), "14 calls whole, and the rest");
    join_all(grants.into_iter().map(async |mut grant| grant.hold.settle(grant.amount).await.unwrap())).await;
    for store in stores {
        assert!(reserve(store.as_ref(), &account, 1).await.is_none());
        let forced = store.reserve(&Asked { forced: true, ..asked(&account, 100, 5) }).await.unwrap();
        assert_eq!(forced.spent, tokens(100));
    }
}

async fn calls_at_the_same_time_never_get_more_than_there_is(store: Arc<Store>) {
    crowd(&[store]).await;
}

/// The process itself, as a place of a store.
struct Process(Book);

impl Process {
    fn budgets(&self) -> Arc<Store> {
        Arc::new(self.0.clone())
    }
}

macro_rules! conforms {
    ($backend:ident: $make:expr) => {
        conforms!($backend, $make, [
            a_call_gets_what_it_wants_or_what_is_left_or_nothing,
            what_was_really_used_counts_and_the_rest_is_given_back,
            a_call_is_settled_once,
            one_that_nobody_waits_for_is_settled_all_the_same,
            money_and_tokens_are_counted_exactly_and_each_has_its_maximum,
            absurd_counts_do_no_harm,
            agents_and_lengths_of_windows_never_mix,
            a_new_window_begins_with_nothing_used,
            a_settlement_that_is_given_up_half_way_counts_once,
            a_reservation_that_is_given_up_half_way_is_given_back,
        ]);
    };
    ($backend:ident, $make:expr, [$($guarantee:ident),+ $(,)?]) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $guarantee() {
                    let Some(place) = $make.await else { return };
                    super::$guarantee(place.budgets().as_ref()).await;
                }
            )+

            #[tokio::test(flavor = "multi_thread")]
            async fn calls_at_the_same_time_never_get_more_than_there_is() {
                let Some(place) = $make.await else { return };
                super::calls_at_the_same_time_never_get_more_than_there_is(place.budgets()).await;
            }
        }
    };
}

conforms!(on_in_process: async { Some(Process(Book::default())) });
conforms!(on_redis: redis());
conforms!(on_postgres: postgres());

/// What stores guarantee that several replicas share.
macro_rules! shared {
    ($backend:ident: $make:expr) => {
        mod $backend {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn replicas_together_never_get_more_than_there_is() {
                let Some(place) = $make.await else { return };
                crowd(&[place.budgets(), place.budgets()]).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn what_a_dead_pod_reserved_is_free_after_its_lease_and_a_late_settlement_still_counts() {
                let Some(place) = $make.await else { return };
                let (dead, alive, account) = (place.budgets(), place.budgets(), account());
                let short = Asked { lease: SHORT, ..asked(&account, 100, 90) };
                let mut held = dead.reserve(&short).await.unwrap().grant.unwrap();
                let other = alive.reserve(&asked(&account, 100, 30)).await.unwrap().grant.unwrap();
                assert_eq!(other.amount, tokens(10));
                let free = async || reserve(alive.as_ref(), &account, 90).await.is_some_and(|g| g.amount == tokens(90));
                eventually("the lease ends", free).await;
                assert_eq!(held.hold.settle(tokens(25)).await.unwrap(), tokens(25));
                assert_eq!(other.amount, tokens(10), "the other one is held still");
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_store_that_goes_down_fails_within_its_time_and_counts_what_was_used_when_it_is_back() {
                let Some(place) = $make.await else { return };
                let ((proxy, far), near, account) = (place.budgets_behind_proxy().await, place.budgets(), account());
                let mut kept = reserve(far.as_ref(), &account, 40).await.unwrap();
                proxy.cut();
                let bound = Duration::from_secs(3);
                assert!(timeout(bound, far.reserve(&asked(&account, 100, 10))).await.unwrap().is_err());
                assert!(timeout(bound, kept.hold.settle(tokens(30))).await.unwrap().is_err());
                kept.hold.settle_later(tokens(30));
                assert_eq!(reserve(near.as_ref(), &account, 100).await.unwrap().amount, tokens(60), "it is still held");
                proxy.mend();
                eventually("it is counted", async || spent(near.as_ref(), &account).await == tokens(30)).await;
                eventually("the store heals", async || far.reserve(&asked(&account, 100, 0)).await.is_ok()).await;
                eventually("nothing else is held", async || {
                    reserve(near.as_ref(), &account, 100).await.is_some_and(|grant| grant.amount == tokens(70))
                })
                .await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn ten_replicas_may_begin_at_once() {
                let Some(place) = $make.await else { return };
                let replicas: Vec<_> = (0..10).map(|_| place.budgets()).collect();
                crowd(&replicas).await;
            }
        }
    };
}

shared!(replicas_on_redis: redis());
shared!(replicas_on_postgres: postgres());
