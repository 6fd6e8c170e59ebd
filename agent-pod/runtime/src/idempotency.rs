//! Calls that come twice are carried out once: the answer is kept under the caller's key, and given again.
//!
//! Kept in the pod's memory, within bounds of time and size. Failures are not kept: a call that failed may be tried again
//! under its key, and so may one whose caller went away.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_core::access::Caller;
use agent_pod_core::agent::Executed;
use agent_pod_core::byte_pool::{BytePool, RunBytes};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{RunAnswer, Status, TurnEvent};
use agent_pod_core::service::{IdempotencyKey, Run};
use futures::{StreamExt as _, stream};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// Kept answers may take this share of the pool's capacity beside it; the ones least used of late go first.
const KEPT_SHARE: usize = 8;

/// What a kept answer takes in memory for each byte of its JSON: the names of fields are not there, the objects are.
const JSON_COPIES: usize = 2;

/// How often a kept answer is there while it is given again: as objects, and as the text that goes out.
const REPLAYED: usize = 2;

/// What a kept answer takes beside its JSON: the key, the scope, and its place in the cache.
const ENTRY_BYTES: usize = 1024;

/// The most callers that wait for the answer to one key; each holds what it has sent meanwhile. A client that repeats
/// itself waits for one, at most for a few.
const WAITING_MAX: usize = 8;

/// Where a key has come: keys of runs and of tools' calls are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// A run.
    Run,
    /// A call of a tool outside a run.
    Tool,
}

/// Whose key, at which agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Where it has come.
    pub door: Door,
    /// `namespace/name` of the agent.
    pub agent: String,
    /// The caller; absent where nobody is asked who they are.
    pub caller: Option<Caller>,
}

type Key = (Scope, String);
type Fingerprint = [u8; 32];

/// The calls under keys: under way, and answered.
#[derive(Clone)]
pub struct Idempotency(Arc<Inner>);

struct Inner {
    under_way: Mutex<HashMap<Key, UnderWay>>,
    answered: Cache<Key, (Fingerprint, Kept)>,
}

/// What a call has ended with.
#[derive(Clone)]
enum Kept {
    Run(Arc<RunAnswer>),
    Tool(Arc<Executed>),
}

/// A call that is being carried out.
struct UnderWay {
    fingerprint: Fingerprint,
    ended: watch::Receiver<()>,
    /// Held by each who waits for it.
    seats: Arc<()>,
}

impl Kept {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let length = match self {
            Self::Run(answer) => JSON_COPIES * json_length(answer),
            Self::Tool(executed) => executed.outcome.result.len(),
        };
        length + ENTRY_BYTES
    }
}

/// What is to be done with a call.
enum Claim {
    /// Carry it out.
    CarryOut(Claimed),
    /// Wait until the one under way has ended.
    Wait(watch::Receiver<()>, Arc<()>),
    /// Give the answer again.
    Replay(Kept),
}

/// What is to be done with a call, once none of its key is under way.
enum Settled {
    /// Carry it out.
    Mine(Claimed),
    /// Give this again.
    Kept(Kept),
}

/// The right to carry out the call of a key; given back when it is dropped.
struct Claimed {
    calls: Idempotency,
    key: Key,
    fingerprint: Fingerprint,
    /// Dropped with the claim, which those who wait for it notice.
    _ended: watch::Sender<()>,
}

impl Default for Idempotency {
    fn default() -> Self {
        let weigh = |_: &Key, (_, kept): &(Fingerprint, Kept)| u32::try_from(kept.bytes()).unwrap_or(u32::MAX);
        let answered = Cache::builder()
            .max_capacity(u64::try_from(BytePool::of_process().capacity() / KEPT_SHARE).unwrap_or(u64::MAX))
            .weigher(weigh)
            .time_to_live(KEPT_FOR)
            // The usual policy would rather keep what is read often than take in what is new.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self(Arc::new(Inner { under_way: Mutex::default(), answered }))
    }
}

impl Idempotency {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, UnderWay>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a call out, or gives the answer of the one that came before.
    ///
    /// # Errors
    /// `idempotency_mismatch` when the key has come with another body; `idempotency_in_progress` when the call under
    /// way has not ended by `deadline`, or too many wait for it already; as `begin`.
    pub async fn once<F: Future<Output = Result<Run, RunError>>>(
        &self,
        scope: Scope,
        key: IdempotencyKey,
        (deadline, bytes): (Instant, RunBytes),
        begin: impl FnOnce() -> F,
    ) -> Result<Run, RunError> {
        match self.settled(scope, key, deadline).await? {
            Settled::Mine(claimed) => Ok(claimed.follow(begin().await?)),
            Settled::Kept(kept) => {
                // Whoever reads it slowly holds copies of it as long.
                bytes.draw(REPLAYED * kept.bytes()).await?;
                match kept {
                    Kept::Run(answer) => Ok(replay(&answer)),
                    Kept::Tool(_) => Err(mismatch()),
                }
            }
        }
    }

    /// The same for a call of a tool outside a run. One that fails is not kept.
    ///
    /// # Errors
    /// As [`Self::once`].
    pub async fn once_executed<F: Future<Output = Result<Executed, RunError>>>(
        &self,
        scope: Scope,
        key: IdempotencyKey,
        (deadline, bytes): (Instant, RunBytes),
        call: impl FnOnce() -> F,
    ) -> Result<Executed, RunError> {
        match self.settled(scope, key, deadline).await? {
            Settled::Mine(claimed) => {
                let executed = call().await?;
                if executed.outcome.ok {
                    claimed.keep(Kept::Tool(Arc::new(executed.clone())));
                }
                Ok(executed)
            }
            Settled::Kept(kept) => {
                bytes.draw(REPLAYED * kept.bytes()).await?;
                match kept {
                    Kept::Tool(executed) => Ok(Executed::clone(&executed)),
                    Kept::Run(_) => Err(mismatch()),
                }
            }
        }
    }

    /// Waits for a call of the same key that is under way.
    async fn settled(&self, scope: Scope, key: IdempotencyKey, deadline: Instant) -> Result<Settled, RunError> {
        let IdempotencyKey { key, fingerprint } = key;
        let key = (scope, key);
        loop {
            match self.claim(&key, fingerprint)? {
                Claim::CarryOut(claimed) => return Ok(Settled::Mine(claimed)),
                Claim::Replay(kept) => return Ok(Settled::Kept(kept)),
                Claim::Wait(mut under_way, _seat) => {
                    // It never changes; an error says that its sender has gone.
                    if timeout_at(deadline, under_way.changed()).await.is_err() {
                        return Err(in_progress());
                    }
                }
            }
        }
    }

    fn claim(&self, key: &Key, given: Fingerprint) -> Result<Claim, RunError> {
        // Held throughout: a call is under way, or answered, or neither, and never in between.
        let mut under_way = self.under_way();
        let (known, claim) = match (self.0.answered.get(key), under_way.get(key)) {
            (Some((known, answer)), _) => (known, Claim::Replay(answer)),
            (None, Some(UnderWay { fingerprint, ended, seats })) => {
                if *fingerprint == given && Arc::strong_count(seats) > WAITING_MAX {
                    return Err(in_progress());
                }
                (*fingerprint, Claim::Wait(ended.clone(), Arc::clone(seats)))
            }
            (None, None) => {
                let (ended, receiver) = watch::channel(());
                let of = UnderWay { fingerprint: given, ended: receiver, seats: Arc::default() };
                under_way.insert(key.clone(), of);
                let claimed = Claimed { calls: self.clone(), key: key.clone(), fingerprint: given, _ended: ended };
                (given, Claim::CarryOut(claimed))
            }
        };
        if known == given { Ok(claim) } else { Err(mismatch()) }
    }
}

impl Claimed {
    fn keep(&self, kept: Kept) {
        self.calls.0.answered.insert(self.key.clone(), (self.fingerprint, kept));
        // It makes room when it gets to it, which for large answers has to be now.
        self.calls.0.answered.run_pending_tasks();
    }

    /// The same run; its answer is kept before anybody reads it.
    fn follow(self, run: Run) -> Run {
        let Run { run_id, events, desk } = run;
        let events = events.map(move |event| {
            if let TurnEvent::Done(answer) = &event {
                self.keep(Kept::Run(Arc::new(RunAnswer::clone(answer))));
            }
            event
        });
        Run { run_id, events: events.boxed(), desk }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.calls.under_way().remove(&self.key);
    }
}

/// How long the answer is as JSON, which is never made: answers may be large.
fn json_length(answer: &RunAnswer) -> usize {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // What has no JSON is not kept for long: it weighs as much as there is.
    serde_json::to_writer(&mut length, answer).map_or(usize::MAX / (2 * JSON_COPIES), |()| length.0)
}

/// The events of a run that is over: what a reader needs to have the same answer.
fn replay(answer: &RunAnswer) -> Run {
    let status = Status {
        status: "processing",
        agent: answer.agent.clone(),
        run_id: answer.run_id.clone(),
        session_id: answer.session_id.clone(),
    };
    let token = (!answer.answer.is_empty()).then(|| TurnEvent::Token(answer.answer.clone()));
    let events =
        [TurnEvent::Status(status)].into_iter().chain(token).chain([TurnEvent::Done(Box::new(answer.clone()))]);
    Run {
        run_id: answer.run_id.clone(),
        events: stream::iter(events.collect::<Vec<_>>()).boxed(),
        desk: Arc::default(),
    }
}

fn mismatch() -> RunError {
    let message = "this Idempotency-Key has come before with another body; make a new key for each call";
    RunError::new(ErrorCode::IdempotencyMismatch, message)
}

fn in_progress() -> RunError {
    let message = "the call of this Idempotency-Key is still under way; ask again for its answer";
    RunError::new(ErrorCode::IdempotencyInProgress, message).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
