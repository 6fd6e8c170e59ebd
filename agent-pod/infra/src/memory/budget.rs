//! Reservations in a store that replicas share: made in one step, settled once, and given up by a lease.
//!
//! ```text
//!  reserve ─► held until its lease ends ─► settle (now)     ─► spent
//!                 │ the pod died               │ failed
//!                 └─► given up                 └─► settled later by a task, a bounded number of times
//! ```
//!
//! A reservation that cannot be settled is held until its lease ends: too much is counted rather than too little.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::budget::{Account, Amount, Asked, Grant, Hold, Reserved};
use agent_pod_core::memory::StoreError;
use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Seconds before each further try of a settlement that failed.
const RETRIES: [u64; 5] = [1, 2, 4, 8, 16];

/// How long a store remembers what was settled, so that a further try changes nothing. Longer than all tries take.
pub(super) const SETTLED_KEPT: Duration = Duration::from_secs(120);

/// How long a window is kept after its end, for calls that end after it.
pub(super) const WINDOW_KEPT: Duration = Duration::from_secs(10 * 60);

/// Settlements of one store that wait for their next try at most.
const WAITING_MAX: usize = 1_000;

/// The most of each that a store counts for one call: sums stay within what Lua holds exactly.
const CALL_MAX: u64 = 1_000_000_000_000_000;

/// A call in the store.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) id: String,
    pub(super) account: Account,
}

/// What a store says of a reservation.
pub(super) struct Taken {
    /// What had been used before.
    pub(super) spent: Amount,
    /// What is reserved now, and whether a maximum is used up.
    pub(super) granted: Option<(Amount, bool)>,
}

/// The reservations of a store. Each operation is one step, and bounded by itself.
#[async_trait]
pub(super) trait Ledger: Send + Sync + 'static {
    /// Reserves under the ticket's id, unless that is settled already.
    async fn reserve(&self, ticket: &Ticket, asked: &Asked<'_>) -> Result<Taken, StoreError>;
    /// Gives the reservation up, if it is still held, and counts what was used, if that is not counted yet. Gives what is
    /// used in the window now.
    async fn settle(&self, ticket: &Ticket, used: Amount) -> Result<Amount, StoreError>;
}

/// Reserves in the ledger. What was reserved is given up if nobody waits for the answer any more, or it never comes.
pub(super) async fn reserve(
    ledger: Arc<dyn Ledger>,
    tasks: &TaskTracker,
    asked: &Asked<'_>,
) -> Result<Reserved, StoreError> {
    let ticket = Ticket { id: Uuid::new_v4().to_string(), account: asked.account.clone() };
    let mut hold = LedgerHold { ledger, tasks: tasks.clone(), ticket: Some(ticket.clone()) };
    let asked = Asked { wanted: clamped(asked.wanted), ..*asked };
    let Taken { spent, granted } = hold.ledger.reserve(&ticket, &asked).await?;
    let Some((amount, exhausted)) = granted else {
        // Nothing was reserved.
        hold.ticket = None;
        return Ok(Reserved { spent, grant: None });
    };
    Ok(Reserved { spent, grant: Some(Grant { amount, exhausted, hold: Box::new(hold) }) })
}

fn clamped(amount: Amount) -> Amount {
    Amount { tokens: amount.tokens.min(CALL_MAX), nanodollars: amount.nanodollars.min(CALL_MAX) }
}

struct LedgerHold {
    ledger: Arc<dyn Ledger>,
    tasks: TaskTracker,
    /// Until it is settled.
    ticket: Option<Ticket>,
}

#[async_trait]
impl Hold for LedgerHold {
    async fn settle(&mut self, used: Amount) -> Result<Amount, StoreError> {
        let Some(ticket) = &self.ticket else { return Ok(Amount::default()) };
        let spent = self.ledger.settle(ticket, clamped(used)).await?;
        self.ticket = None;
        Ok(spent)
    }

    fn settle_later(&mut self, used: Amount) {
        let Some(ticket) = self.ticket.take() else { return };
        // There is no runtime any more when the process ends: the lease does.
        let Ok(runtime) = Handle::try_current() else { return };
        if self.tasks.len() >= WAITING_MAX {
            tracing::warn!(agent = %ticket.account.agent, "too many settlements wait for their store; this reservation is held until its lease ends");
            return;
        }
        drop(self.tasks.spawn_on(settle(Arc::clone(&self.ledger), ticket, clamped(used)), &runtime));
    }
}

impl Drop for LedgerHold {
    fn drop(&mut self) {
        self.settle_later(Amount::default());
    }
}

async fn settle(ledger: Arc<dyn Ledger>, ticket: Ticket, used: Amount) {
    let mut waits = RETRIES.into_iter();
    while let Err(error) = ledger.settle(&ticket, used).await {
        let Some(wait) = waits.next() else {
            tracing::warn!(agent = %ticket.account.agent, cause = %error, "what was used could not be counted; its reservation is held until its lease ends");
            return;
        };
        sleep(Duration::from_secs(wait)).await;
    }
}
