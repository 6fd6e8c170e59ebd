//! What every write of the leader has to pass: it is open only for as long as nobody else may lead.

use http::Method;
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::service_fn;

/// A write was refused, or given up, because this replica may not lead any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica leads no more, so it writes nothing")]
pub struct Closed;

/// Opens and closes a fence; closed at first, and when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Keeper(watch::Sender<Option<Instant>>);

impl Keeper {
    pub(super) fn open_until(&self, deadline: Instant) {
        self.0.send_replace(Some(deadline));
    }

    pub(super) fn close(&self) {
        self.0.send_replace(None);
    }

    pub(super) fn fence(&self) -> Fence {
        Fence(self.0.subscribe())
    }
}

/// Lets writes pass while this replica leads for certain.
#[derive(Clone, Debug)]
pub struct Fence(watch::Receiver<Option<Instant>>);

impl Fence {
    /// The same client, but its writes pass this fence. What only reads passes always.
    #[must_use]
    pub fn around(&self, client: &Client) -> Client {
        let (fence, inner) = (self.clone(), client.clone());
        let guarded = service_fn(move |request: http::Request<Body>| {
            let (fence, inner) = (fence.clone(), inner.clone());
            async move {
                let reads = matches!(*request.method(), Method::GET | Method::HEAD);
                let sent = inner.send(request);
                if reads { sent.await } else { fence.pass(sent).await }
            }
        });
        Client::new(guarded, client.default_namespace()).with_valid_until(*client.valid_until())
    }

    async fn pass<T>(self, write: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        tokio::select! {
            // In this order: nothing is begun behind a closed fence.
            biased;
            () = self.closed() => Err(kube::Error::Service(Box::new(Closed))),
            written = write => written,
        }
    }

    /// Waits until nobody may pass any more; a renewal in between makes it later.
    async fn closed(mut self) {
        loop {
            let Some(deadline) = *self.0.borrow_and_update() else { return };
            // Not by the timer alone: it may be late in a process that has been standing still.
            if Instant::now() >= deadline {
                return;
            }
            tokio::select! {
                () = sleep_until(deadline) => {}
                renewed = self.0.changed() => {
                    if renewed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
