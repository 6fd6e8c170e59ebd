//! What an agent may use in a window of time, right under concurrency.
//!
//! ```text
//!  call ─► reserve (estimated input + most output) ─► model ─► settle (what it really used)
//!                │ nothing left                          └─ dropped half way: settled all the same
//!                └─► reject, or the cheapest candidate
//! ```
//!
//! What is reserved counts as used, so that calls at the same time see each other. A call for which less is left than it
//! may use gets the rest: a budget can be used up to its end, and what is used exceeds it by at most what calls use
//! beyond their reservations.
//!
//! No call takes it all: it reserves at most [a quarter](SHARE) of what is not used yet, unless it is expected to use
//! more. Where nothing is left but because of reservations, the next one waits a moment for one of them to be given back.

mod book;
mod report;
mod reservation;

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use crate::memory::StoreError;
use crate::money::Money;
use crate::usage::Tokens;

pub use book::Book;
pub use report::{BudgetReport, Standing};
pub use reservation::Reservation;

/// How long a store that has failed is left alone; meanwhile the pod counts for itself.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// One call reserves at most this part of what is not used yet: one that asks for a reply of any length leaves something
/// to the others, which mostly use far less than they may.
pub const SHARE: u64 = 4;

/// How long a call waits for a reservation to be given back, where nothing else is in its way.
pub const RESERVATION_WAIT: Duration = Duration::from_secs(2);

/// How often it looks while it waits: other replicas give back without telling.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// When one that has waited in vain may come back.
pub const RESERVED_RETRY: Duration = Duration::from_secs(1);

/// How much longer than its call a reservation is held for a pod that does not give it back.
const LEASE_GRACE: Duration = Duration::from_secs(60);

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tokens of prompts and replies.
    pub tokens: u64,
    /// Billionths of a US dollar.
    pub nanodollars: u64,
}

impl Amount {
    /// What these tokens and this cost come to; the cost is rounded up.
    #[must_use]
    pub fn of(tokens: Tokens, cost: Money) -> Self {
        Self { tokens: tokens.input.saturating_add(tokens.output), nanodollars: cost.nanodollars() }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            nanodollars: self.nanodollars.saturating_add(other.nanodollars),
        }
    }

    /// This without that.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            nanodollars: self.nanodollars.saturating_sub(other.nanodollars),
        }
    }

    /// The smaller one of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { tokens: self.tokens.min(other.tokens), nanodollars: self.nanodollars.min(other.nanodollars) }
    }

    /// The larger one of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), nanodollars: self.nanodollars.max(other.nanodollars) }
    }
}

/// The most of each that may be used in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maximums {
    /// Tokens.
    pub tokens: Option<u64>,
    /// Billionths of a US dollar.
    pub nanodollars: Option<u64>,
}

impl Maximums {
    /// What of `wanted` can be reserved when so much is taken; and whether one of the maximums is used up, in which case
    /// nothing is.
    #[must_use]
    pub fn left(&self, taken: Amount, wanted: Amount) -> (Amount, bool) {
        let left = |maximum: Option<u64>, taken: u64| maximum.map_or(u64::MAX, |maximum| maximum.saturating_sub(taken));
        let tokens = left(self.tokens, taken.tokens);
        let nanodollars = left(self.nanodollars, taken.nanodollars);
        let amount = Amount { tokens: wanted.tokens.min(tokens), nanodollars: wanted.nanodollars.min(nanodollars) };
        (amount, tokens == 0 || nanodollars == 0)
    }

    /// What one call may reserve when so much is used: what it may use, but not more than its share of what is left
    /// or, if that is more, what it is expected to use.
    fn share(&self, spent: Amount, call: Estimate) -> Amount {
        let of = |maximum: Option<u64>, spent: u64| {
            maximum.map_or(u64::MAX, |maximum| maximum.saturating_sub(spent).div_ceil(SHARE))
        };
        let share =
            Amount { tokens: of(self.tokens, spent.tokens), nanodollars: of(self.nanodollars, spent.nanodollars) };
        call.most.min(share.max(call.expected))
    }
}

/// What a call will use, before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// At most.
    pub most: Amount,
    /// Likely at most.
    pub expected: Amount,
}

/// Why nothing could be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The budget of the window is used up.
    UsedUp,
    /// What is left of it is reserved by calls under way, and none of them has given anything back in time.
    Reserved,
}

/// A span of time, aligned to the epoch by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// When it begins, in milliseconds since the epoch.
    pub start_ms: u64,
    /// Its length in milliseconds.
    pub length_ms: u64,
}

impl Window {
    /// The window of this length that holds this moment.
    #[must_use]
    pub fn at(now_ms: u64, length: Duration) -> Self {
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { start_ms: now_ms - now_ms % length_ms, length_ms }
    }

    /// When the next one begins.
    #[must_use]
    pub fn end_ms(&self) -> u64 {
        self.start_ms.saturating_add(self.length_ms)
    }
}

/// Whose use is counted, and for which window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// `namespace/name` of the agent.
    pub agent: String,
    /// The window.
    pub window: Window,
}

/// What a store is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// On whose account.
    pub account: &'a Account,
    /// Not more than this.
    pub maximums: Maximums,
    /// What the call may use.
    pub wanted: Amount,
    /// Whether the call is made in any case, and only counted.
    pub forced: bool,
    /// How long the reservation counts if it is never settled.
    pub lease: Duration,
}

/// What a store answers.
pub struct Reserved {
    /// What had been used in the window before, reservations left out.
    pub spent: Amount,
    /// The reservation; none: a maximum is used up.
    pub grant: Option<Grant>,
}

/// What was reserved.
pub struct Grant {
    /// So much of what was wanted.
    pub amount: Amount,
    /// Whether a maximum is used up, and the call is only counted.
    pub exhausted: bool,
    /// Gives it back.
    pub hold: Box<dyn Hold>,
}

/// Where use is counted.
#[async_trait]
pub trait BudgetStore: Send + Sync {
    /// Reserves at most what is wanted and left, in one step that no other one comes between.
    ///
    /// # Errors
    /// When the store is down.
    async fn reserve(&self, asked: &Asked<'_>) -> Result<Reserved, StoreError>;
}

/// A reservation in a store. Dropping it unsettled releases it at once or when its lease is over.
#[async_trait]
pub trait Hold: Send + Sync {
    /// Counts what was used in place of what was reserved, once. Gives what is used in the window now.
    ///
    /// # Errors
    /// When the store is down.
    async fn settle(&mut self, used: Amount) -> Result<Amount, StoreError>;

    /// The same where nobody can wait for it. After [`Hold::settle`] it changes nothing.
    fn settle_later(&mut self, used: Amount);
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExceeded {
    /// No model is called any more.
    #[default]
    Reject,
    /// Only the cheapest candidate of a role is called.
    Downgrade,
}

/// The budget of an agent.
pub struct Budget {
    /// `namespace/name` of the agent.
    pub agent: String,
    /// The length of a window.
    pub window: Duration,
    /// What may be used in one.
    pub maximums: Maximums,
    /// What happens then.
    pub on_exceeded: OnExceeded,
    /// Where all replicas count; none: each pod counts for itself.
    pub shared: Option<Shared>,
    /// The pod's own count, which outlives reloads.
    pub book: Book,
}

/// A store that all replicas count in.
pub struct Shared {
    store: Arc<dyn BudgetStore>,
    alone_until: Mutex<Option<Instant>>,
}

impl Shared {
    /// Counts in this store.
    #[must_use]
    pub fn new(store: Arc<dyn BudgetStore>) -> Self {
        Self { store, alone_until: Mutex::default() }
    }

    fn alone_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.alone_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store answers; none while it is left alone.
    async fn reserve(&self, asked: &Asked<'_>) -> Option<Reserved> {
        if self.alone_until().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match self.store.reserve(asked).await {
            Ok(reserved) => {
                *self.alone_until() = None;
                Some(reserved)
            }
            Err(error) => {
                *self.alone_until() = Some(Instant::now() + LEFT_ALONE);
                tracing::warn!(agent = %asked.account.agent, cause = %error, "the store of budgets failed, this pod counts for itself");
                None
            }
        }
    }
}

impl Budget {
    fn account(&self, now_ms: u64) -> Account {
        Account { agent: self.agent.clone(), window: Window::at(now_ms, self.window) }
    }

    /// Reserves what a call may use that ends within `bound`. Where only reservations are in its way, it waits up to
    /// [`RESERVATION_WAIT`] for them.
    ///
    /// # Errors
    /// When the budget is used up, or reserved as a whole, and says so.
    pub async fn reserve(&self, call: Estimate, now_ms: u64, bound: Duration) -> Result<Reservation, Refused> {
        let account = self.account(now_ms);
        let until = Instant::now() + RESERVATION_WAIT.min(bound);
        loop {
            let mut settled = pin!(self.book.settled());
            // From here on it hears of what is given back.
            settled.as_mut().enable();
            match self.try_reserve(call, &account, bound, false).await {
                Err(Refused::Reserved) if Instant::now() < until => {
                    let look_again = until.min(Instant::now() + LOOK_AGAIN);
                    tokio::select! {
                        () = settled => {}
                        () = sleep_until(look_again) => {}
                    }
                }
                Err(_) if self.on_exceeded == OnExceeded::Downgrade => {
                    return self.try_reserve(call, &account, bound, true).await;
                }
                decided => return decided,
            }
        }
    }

    async fn try_reserve(
        &self,
        call: Estimate,
        account: &Account,
        bound: Duration,
        forced: bool,
    ) -> Result<Reservation, Refused> {
        let wanted = self.maximums.share(self.book.spent(account), call);
        let asked = Asked { account, maximums: self.maximums, wanted, forced, lease: bound + LEASE_GRACE };
        let refused = |spent: Amount| {
            if self.maximums.left(spent, wanted).1 { Refused::UsedUp } else { Refused::Reserved }
        };
        let shared = match &self.shared {
            Some(shared) => shared.reserve(&asked).await,
            None => None,
        };
        let Some(Reserved { spent, grant }) = shared else {
            let Reserved { spent, grant } = self.book.take(&asked);
            let own = grant.ok_or_else(|| refused(spent))?;
            return Ok(Reservation::new(self.book.clone(), account.clone(), (None, own), self.shared.is_some()));
        };
        self.book.told(account, spent);
        let grant = grant.ok_or_else(|| refused(spent))?;
        // Counted here too, for the time when the store is down.
        let own = self.book.take(&Asked { forced: true, ..asked }).grant.ok_or(Refused::Reserved)?;
        Ok(Reservation::new(self.book.clone(), account.clone(), (Some(grant), own), false))
    }

    /// How it stands, as far as this pod knows.
    #[must_use]
    pub fn report(&self, now_ms: u64) -> BudgetReport {
        let account = self.account(now_ms);
        BudgetReport { spent: self.book.spent(&account), window: account.window, maximums: self.maximums }
    }

    /// How long the window of now goes on.
    #[must_use]
    pub fn rest(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.account(now_ms).window.end_ms().saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests;
