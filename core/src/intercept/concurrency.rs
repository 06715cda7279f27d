//! Limiting how many calls run at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope, State, Waiting};
use super::method::Call;
use crate::error::{Error, ErrorKind};

/// Lets so many calls run at once; further ones queue, in their order of arrival, and the queue is bounded in length and time.
///
/// A call that finds the queue full, or that has waited as long as allowed, fails with
/// [`ErrorKind::ResourceExhausted`] and certainly had no effect. Unless told otherwise as many calls may queue as may run, for
/// one second each.
///
/// The limit is over everything that this interceptor is wrapped around. A call that is cancelled, in the queue or while
/// it runs, gives its place back.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    limit: NonZeroUsize,
    max_queue: usize,
    max_wait: Duration,
    places: Arc<Semaphore>,
    queued: Arc<AtomicUsize>,
}

impl ConcurrencyLimit {
    /// Lets `limit` calls run at once.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        Self {
            limit,
            max_queue: limit.get(),
            max_wait: Duration::from_secs(1),
            places: Arc::new(Semaphore::new(limit.get().min(Semaphore::MAX_PERMITS))),
            queued: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Lets `calls` calls queue, each for at most `wait`. With 0 calls, one too many is refused at once.
    #[must_use]
    pub const fn with_queue(mut self, calls: usize, wait: Duration) -> Self {
        self.max_queue = calls;
        self.max_wait = wait;
        self
    }

    /// How many calls are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.limit.get().saturating_sub(self.places.available_permits())
    }

    /// How many calls are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn queue(&self) -> Result<Waiting, Error> {
        let place = QueuePlace::take(&self.queued, self.max_queue)
            .ok_or_else(|| self.exhausted("the queue is full"))?;
        let places = Arc::clone(&self.places);
        let refusal = self.exhausted("no place came free in time");
        let max_wait = self.max_wait;
        Ok(Box::pin(async move {
            let acquired = timeout(max_wait, places.acquire()).await;
            drop(place);
            match acquired {
                Ok(Ok(permit)) => {
                    // `exit` gives it back.
                    permit.forget();
                    Ok(State::default())
                }
                Ok(Err(_)) => Err(Error::closed("the concurrency limit")),
                Err(_) => Err(refusal),
            }
        }))
    }

    fn exhausted(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "{} calls are running and at most {} may queue for {:?}: {why}; slow down, or raise the concurrency limit",
                self.limit, self.max_queue, self.max_wait
            ),
        )
        .without_effect()
    }
}

/// A place in the queue, given back when it is dropped.
struct QueuePlace(Arc<AtomicUsize>);

impl QueuePlace {
    fn take(queued: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < max).then_some(now + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(queued)))
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Interceptor for ConcurrencyLimit {
    fn name(&self) -> &'static str {
        "concurrency limit"
    }

    fn role(&self) -> Role {
        Role::Limit
    }

    fn repeats(&self) -> bool {
        false
    }

    fn enter(&self, _: &Call<'_>, _: &mut Scope) -> Enter {
        match self.places.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Enter::Proceed
            }
            Err(TryAcquireError::NoPermits) => match self.queue() {
                Ok(waiting) => Enter::Wait(waiting),
                Err(refusal) => Enter::Refuse(refusal),
            },
            Err(TryAcquireError::Closed) => Enter::Refuse(Error::closed("the concurrency limit")),
        }
    }

    fn exit(&self, _: &Call<'_>, _: &mut Scope, _: &Outcome<'_>) -> Exit {
        self.places.add_permits(1);
        Exit::Done
    }
}
