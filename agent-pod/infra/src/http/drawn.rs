//! Bodies that servers answer with: drawn on the pool of bytes before they are kept.

use agent_pod_core::byte_pool::weight::{COPIES, of_json};
use agent_pod_core::byte_pool::{BytePool, ByteReservation, PoolError, Priority, RUN_WAIT};

/// A body that comes in pieces, with what is reserved for it.
pub(crate) struct Drawn {
    body: Vec<u8>,
    held: ByteReservation,
    bytes_max: usize,
}

impl Drawn {
    /// A body of at most so many bytes, of which nothing has come yet.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { body: Vec::new(), held: BytePool::of_process().reservation(), bytes_max }
    }

    /// Keeps a piece, as far as there is room. Returns whether there was for all of it.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) async fn keep(&mut self, piece: &[u8]) -> Result<bool, PoolError> {
        let fitting = piece.get(..self.bytes_max - self.body.len()).unwrap_or(piece);
        let total = self.body.len() + fitting.len();
        if total > self.held.bytes() {
            // As a growing list does, so that a large body does not ask for each piece.
            let wanted = total.next_power_of_two().min(self.bytes_max);
            self.held.resize(wanted, Priority::Run, RUN_WAIT).await?;
        }
        self.body.extend_from_slice(fitting);
        Ok(fitting.len() == piece.len())
    }

    /// What has come, with the memory that it takes to parse it.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) async fn whole(mut self) -> Result<Self, PoolError> {
        let needed = self.body.len() + of_json(&self.body);
        self.held.resize(needed, Priority::Run, RUN_WAIT).await?;
        Ok(self)
    }
}

impl std::ops::Deref for Drawn {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body
    }
}

/// What a run has without asking: a run draws that much when it begins.
const FREE_BYTES: usize = 16 * 1024;

/// What something that is put together from pieces takes: an event in a parser, the arguments of a call.
pub(crate) struct Growing(ByteReservation);

impl Growing {
    /// Nothing has come yet.
    pub(crate) fn new() -> Self {
        Self(BytePool::of_process().reservation())
    }

    /// So many bytes have come in all, of which copies are made.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) async fn to(&mut self, bytes: usize) -> Result<(), PoolError> {
        match self.missing(bytes) {
            0 => Ok(()),
            more => self.0.grow(more, Priority::Run, RUN_WAIT).await,
        }
    }

    /// The same where nobody can wait.
    ///
    /// # Errors
    /// When there is no memory for them now.
    pub(crate) fn try_to(&mut self, bytes: usize) -> Result<(), PoolError> {
        match self.missing(bytes) {
            0 => Ok(()),
            more => self.0.try_grow(more, Priority::Run),
        }
    }

    /// It is taken on; something new begins.
    pub(crate) fn taken(&mut self) {
        self.0.shrink_to(0);
    }

    fn missing(&self, bytes: usize) -> usize {
        let wanted = if bytes > FREE_BYTES { COPIES * bytes.next_power_of_two() } else { 0 };
        wanted.saturating_sub(self.0.bytes())
    }
}
