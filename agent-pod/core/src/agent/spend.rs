//! A turn spends its agent's budget: every model call is reserved before and settled after, however it ends.

use tokio::time::Instant;

use super::{Agent, Events, Ledger};
use crate::budget::{Amount, Budget, RESERVED_RETRY, Refused, Reservation};
use crate::error::{ErrorCode, RunError};
use crate::model::router::{Ask, Reply};
use crate::money::Money;

/// What an answer says that was cut back: the model, or the count that replicas share.
const DEGRADED: &str = "budget";

impl Agent {
    /// Gets one reply of a role within the agent's budget.
    ///
    /// # Errors
    /// As [`crate::model::router::Router::complete`]; and `budget_exceeded`, from then on for every call of the run.
    pub(crate) async fn complete(
        &self,
        role: &str,
        ask: &Ask<'_>,
        ledger: &Ledger,
        events: &Events,
    ) -> Result<Reply, RunError> {
        let router = self.models.of(role);
        let Some(budget) = &self.budget else { return router.complete(ask, ledger, events).await };
        ledger.affordable()?;
        let bound = ask.deadline.saturating_duration_since(Instant::now());
        let reserved = budget.reserve(router.estimate(ask), self.environment.epoch_millis(), bound).await;
        let reservation = reserved.map_err(|why| {
            let refusal = exceeded(budget, why, self.environment.epoch_millis(), ledger);
            ledger.refuse(refusal.clone());
            refusal
        })?;
        let exhausted = reservation.exhausted();
        if exhausted || reservation.alone() {
            ledger.degrade(DEGRADED);
        }
        let mut spending = Spending { ledger, own: ledger.part(), reservation };
        let cheapest = exhausted.then(|| router.cheapest(ask));
        let reply = cheapest.as_ref().unwrap_or(router).complete(ask, &spending.own, events).await;
        let used = spending.used();
        spending.reservation.settle(used).await;
        reply
    }
}

/// A call under way. Its tries are booked in a ledger of its own first, to know them from those of other parts.
struct Spending<'a> {
    ledger: &'a Ledger,
    own: Ledger,
    reservation: Reservation,
}

impl Spending<'_> {
    fn used(&self) -> Amount {
        let usage = self.own.booked().usage;
        Amount { tokens: usage.tokens_in.saturating_add(usage.tokens_out), nanodollars: usage.cost.nanodollars() }
    }
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        // Nothing more is counted if it has been settled.
        self.reservation.settle_later(self.used());
        self.ledger.absorb(self.own.close());
    }
}

fn exceeded(budget: &Budget, why: Refused, now_ms: u64, ledger: &Ledger) -> RunError {
    let (report, used) = (budget.report(now_ms), ledger.booked().usage);
    let tokens = report.maximums.tokens.map(|tokens| format!("{tokens} tokens"));
    let cost = report.maximums.nanodollars.map(|cost| format!("{} USD", Money::from_nanodollars(cost)));
    let most = tokens.into_iter().chain(cost).collect::<Vec<_>>().join(" and ");
    let begun = if used.by_model.is_empty() {
        String::new()
    } else {
        let spent = used.tokens_in.saturating_add(used.tokens_out);
        format!("; {spent} tokens ({} USD) of this run are booked", used.cost)
    };
    let (state, remedy, wait) = match why {
        Refused::UsedUp => ("used up", "try again in the next window, or raise spec.budget", budget.rest(now_ms)),
        Refused::Reserved => {
            ("reserved by runs under way", "try again in a moment, or raise spec.budget", RESERVED_RETRY)
        }
    };
    let message =
        format!("the budget of this agent, {most} in {} s, is {state}{begun}; {remedy}", budget.window.as_secs());
    RunError::new(ErrorCode::BudgetExceeded, message).retry_after(wait)
}
