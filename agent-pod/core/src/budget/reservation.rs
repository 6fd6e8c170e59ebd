//! What was reserved for one call, here and in the store that replicas share.

use super::{Account, Amount, Book, Grant};

/// What was reserved for one call.
pub struct Reservation {
    book: Book,
    account: Account,
    shared: Option<Grant>,
    own: Grant,
    alone: bool,
}

impl Reservation {
    pub(super) fn new(book: Book, account: Account, (shared, own): (Option<Grant>, Grant), alone: bool) -> Self {
        Self { book, account, shared, own, alone }
    }

    fn deciding(&self) -> &Grant {
        self.shared.as_ref().unwrap_or(&self.own)
    }

    /// So much of what was wanted.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.deciding().amount
    }

    /// Whether the budget is used up: the call is only counted.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.deciding().exhausted
    }

    /// Whether this pod counts for itself because the shared store is down.
    #[must_use]
    pub fn alone(&self) -> bool {
        self.alone
    }

    /// Counts what was used. One that is dropped while it waits is to be settled with [`Reservation::settle_later`].
    pub async fn settle(&mut self, used: Amount) {
        self.own.hold.settle_later(used);
        let Some(shared) = &mut self.shared else { return };
        match shared.hold.settle(used).await {
            Ok(spent) => self.book.told(&self.account, spent),
            Err(error) => {
                tracing::warn!(agent = %self.account.agent, cause = %error, "what was used could not be counted; tried again");
                shared.hold.settle_later(used);
            }
        }
    }

    /// The same where nobody can wait for it; after [`Reservation::settle`] it changes nothing.
    pub fn settle_later(&mut self, used: Amount) {
        self.own.hold.settle_later(used);
        if let Some(shared) = &mut self.shared {
            shared.hold.settle_later(used);
        }
    }
}
