//! The count of one pod, in its memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::{Account, Amount, Asked, BudgetStore, Grant, Hold, Reserved};
use crate::memory::StoreError;

/// The count of one pod. Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pages: Mutex<HashMap<Account, Page>>,
    /// Told when something is given back.
    settled: Notify,
}

/// One agent and window.
#[derive(Clone, Copy, Debug, Default)]
struct Page {
    /// What this pod has used.
    spent: Amount,
    /// What it has reserved.
    held: Amount,
    /// How many reservations there are: a page with some is kept.
    holds: usize,
    /// What all replicas have used, as a shared store has last told.
    told: Amount,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Page>> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves at once.
    #[must_use]
    pub fn take(&self, asked: &Asked<'_>) -> Reserved {
        let mut pages = self.lock();
        // Windows that are over are forgotten when the next one begins.
        let over = |account: &Account| account.window.end_ms() <= asked.account.window.start_ms;
        pages.retain(|account, page| page.holds > 0 || !over(account));
        let page = pages.entry(asked.account.clone()).or_default();
        let spent = page.spent;
        let (amount, exhausted) = asked.maximums.left(page.spent.plus(page.held), asked.wanted);
        if exhausted && !asked.forced {
            return Reserved { spent, grant: None };
        }
        page.held = page.held.plus(amount);
        page.holds += 1;
        let hold = BookHold { book: self.clone(), account: asked.account.clone(), amount: Some(amount) };
        Reserved { spent, grant: Some(Grant { amount, exhausted, hold: Box::new(hold) }) }
    }

    /// What was used in the window, as far as is known here.
    #[must_use]
    pub fn spent(&self, account: &Account) -> Amount {
        self.lock().get(account).map_or_else(Amount::default, |page| page.spent.max(page.told))
    }

    /// Notes what all replicas together have used. It never falls within a window.
    pub(super) fn told(&self, account: &Account, spent: Amount) {
        let mut pages = self.lock();
        let page = pages.entry(account.clone()).or_default();
        page.told = page.told.max(spent);
    }

    /// Until something that was reserved here is given back, whosever it was.
    pub(super) fn settled(&self) -> Notified<'_> {
        self.0.settled.notified()
    }

    /// What is reserved, for tests.
    #[must_use]
    pub fn held(&self, account: &Account) -> Amount {
        self.lock().get(account).map_or_else(Amount::default, |page| page.held)
    }
}

#[async_trait]
impl BudgetStore for Book {
    async fn reserve(&self, asked: &Asked<'_>) -> Result<Reserved, StoreError> {
        Ok(self.take(asked))
    }
}

struct BookHold {
    book: Book,
    account: Account,
    /// Until it is settled.
    amount: Option<Amount>,
}

#[async_trait]
impl Hold for BookHold {
    async fn settle(&mut self, used: Amount) -> Result<Amount, StoreError> {
        self.settle_later(used);
        Ok(self.book.lock().get(&self.account).map_or_else(Amount::default, |page| page.spent))
    }

    fn settle_later(&mut self, used: Amount) {
        let Some(amount) = self.amount.take() else { return };
        if let Some(page) = self.book.lock().get_mut(&self.account) {
            page.held = page.held.less(amount);
            page.holds = page.holds.saturating_sub(1);
            page.spent = page.spent.plus(used);
        }
        self.book.0.settled.notify_waiters();
    }
}

impl Drop for BookHold {
    fn drop(&mut self) {
        self.settle_later(Amount::default());
    }
}
