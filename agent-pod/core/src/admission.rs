//! Overload: how many runs of an agent go on at a time, how many wait, and who comes next.
//!
//! Waiting runs stand in a lane of their caller's namespace, and lanes take turns: a namespace that sends a thousand runs
//! delays its own, not those of others. When the queue is full, the longest lane gives up its newest run for a lane that is
//! shorter by more than one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::{ErrorCode, RunError};

/// When a caller that was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a pod takes on of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateSettings {
    /// Runs at the same time.
    pub runs_max: u32,
    /// Runs that wait.
    pub queued_max: u32,
    /// How long a run waits.
    pub wait_max: Duration,
}

/// Lets runs in. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    settings: GateSettings,
    running: u32,
    /// The lanes with somebody in them; the first is the next one to be served.
    lanes: VecDeque<Lane>,
}

#[derive(Debug)]
struct Lane {
    name: String,
    waiting: VecDeque<oneshot::Sender<Admitted>>,
}

/// What a waiting run is told.
type Admitted = Result<Place, RunError>;

/// A place among the runs; given to the next one when it is dropped.
#[derive(Debug)]
pub struct Place(Option<Gate>);

/// A run that waits; leaves the queue when it is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    receiver: Option<oneshot::Receiver<Admitted>>,
}

impl Gate {
    /// A gate that nobody has gone through.
    #[must_use]
    pub fn new(settings: GateSettings) -> Self {
        Self(Arc::new(Mutex::new(Inner { settings, running: 0, lanes: VecDeque::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes other settings from now on. More room lets in those that wait.
    pub fn configure(&self, settings: GateSettings) {
        self.lock().settings = settings;
        self.serve_next();
    }

    /// Runs under way.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.lock().running
    }

    /// Runs that wait.
    #[must_use]
    pub fn queued(&self) -> u32 {
        u32::try_from(self.lock().queued()).unwrap_or(u32::MAX)
    }

    /// Lets a run in, at once or after a wait in the lane of this name, but not after `deadline`.
    ///
    /// # Errors
    /// `overloaded` when there is no room in the queue or no place in time; `deadline_exceeded`.
    pub async fn enter(&self, lane: &str, deadline: Instant) -> Result<Place, RunError> {
        let (mut waiting, end) = {
            let mut inner = self.lock();
            // Those that wait already come first.
            if inner.running < inner.settings.runs_max && inner.lanes.is_empty() {
                inner.running += 1;
                return Ok(Place(Some(self.clone())));
            }
            let receiver = inner.queue(lane)?;
            let end = Instant::now() + inner.settings.wait_max;
            (Waiting { gate: self, receiver: Some(receiver) }, end)
        };
        let Some(receiver) = waiting.receiver.as_mut() else { return Err(overloaded("")) };
        match timeout_at(end.min(deadline), receiver).await {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(_gone)) => Err(overloaded("the queue was given up")),
            Err(_) if deadline < end => Err(crate::model::failures::deadline_exceeded()),
            Err(_) => Err(overloaded("no run of this agent has ended in time")),
        }
    }

    fn give_back(&self) {
        let mut inner = self.lock();
        inner.running = inner.running.saturating_sub(1);
    }

    /// Gives free places to those that wait.
    fn serve_next(&self) {
        loop {
            let next = {
                let mut inner = self.lock();
                if inner.running >= inner.settings.runs_max {
                    return;
                }
                let Some(next) = inner.next() else { return };
                inner.running += 1;
                next
            };
            // One that has gone away meanwhile gives its place back: it is dropped here, after the lock.
            if let Err(Ok(place)) = next.send(Ok(Place(Some(self.clone())))) {
                place.forget();
            }
        }
    }
}

impl Inner {
    fn queue(&mut self, name: &str) -> Result<oneshot::Receiver<Admitted>, RunError> {
        if self.queued() >= usize::try_from(self.settings.queued_max).unwrap_or(usize::MAX) {
            self.make_room(name)?;
        }
        let (sender, receiver) = oneshot::channel();
        match self.lanes.iter_mut().find(|lane| lane.name == name) {
            Some(lane) => lane.waiting.push_back(sender),
            None => self.lanes.push_back(Lane { name: name.to_owned(), waiting: [sender].into() }),
        }
        Ok(receiver)
    }

    fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    /// Turns the newest run of the longest lane away, if the lane of this name is shorter by more than one.
    fn make_room(&mut self, name: &str) -> Result<(), RunError> {
        self.forget_gone();
        let own = self.lanes.iter().find(|lane| lane.name == name).map_or(0, |lane| lane.waiting.len());
        let longest = self.lanes.iter_mut().max_by_key(|lane| lane.waiting.len());
        match longest.filter(|lane| lane.waiting.len() > own + 1).and_then(|lane| lane.waiting.pop_back()) {
            Some(newest) => {
                drop(newest.send(Err(overloaded("callers of other namespaces wait as well"))));
                Ok(())
            }
            None => Err(overloaded("as many runs wait as the queue holds")),
        }
    }

    /// The next one to be served; its lane goes to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Admitted>> {
        self.forget_gone();
        let mut lane = self.lanes.pop_front()?;
        let next = lane.waiting.pop_front();
        if !lane.waiting.is_empty() {
            self.lanes.push_back(lane);
        }
        next
    }

    fn forget_gone(&mut self) {
        self.lanes.retain_mut(|lane| {
            lane.waiting.retain(|sender| !sender.is_closed());
            !lane.waiting.is_empty()
        });
    }
}

impl Place {
    /// Gives the place back without serving the next one: whoever calls does that.
    fn forget(mut self) {
        if let Some(gate) = self.0.take() {
            gate.give_back();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.give_back();
            gate.serve_next();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The place may have come in the same moment; it is dropped with the receiver, outside of the lock.
        drop(self.receiver.take());
        self.gate.lock().forget_gone();
    }
}

fn overloaded(why: &str) -> RunError {
    RunError::new(
        ErrorCode::Overloaded,
        format!("this pod has as many runs of this agent as it takes on ({why}); try again in a second"),
    )
    .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests;
