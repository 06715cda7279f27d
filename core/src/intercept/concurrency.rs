//! Limiting how many calls run at once.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
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
    max_queue: usize,
    max_wait: Duration,
    places: Arc<Places>,
}

impl ConcurrencyLimit {
    /// Lets `limit` calls run at once.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        Self {
            max_queue: limit.get(),
            max_wait: Duration::from_secs(1),
            places: Arc::new(Places {
                limit: limit.get(),
                running: AtomicUsize::new(0),
                queued: AtomicUsize::new(0),
                freed: Notify::new(),
            }),
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
        self.places.running.load(Ordering::Relaxed)
    }

    /// How many calls are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.places.queued.load(Ordering::Relaxed)
    }

    fn queue(&self) -> Result<Waiting, Error> {
        let queued =
            Queued::join(&self.places, self.max_queue).ok_or_else(|| self.exhausted("the queue is full"))?;
        let refusal = self.exhausted("no place came free in time");
        let max_wait = self.max_wait;
        Ok(Box::pin(async move {
            match timeout(max_wait, queued.place()).await {
                // `exit` gives it back.
                Ok(()) => Ok(State::default()),
                Err(_) => Err(refusal),
            }
        }))
    }

    fn exhausted(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "{} calls are running and at most {} may queue for {:?}: {why}; slow down, or raise the concurrency limit",
                self.places.limit, self.max_queue, self.max_wait
            ),
        )
        .without_effect()
    }
}

/// The places of running calls, and those who wait for one.
///
/// A semaphore would do the same; this one takes no lock while nobody queues. It rests on two orders of sequentially
/// consistent operations: who joins the queue counts itself first and looks for a place then; who frees a place frees it
/// first and looks for a queue then. So one of the two always sees the other.
#[derive(Debug)]
struct Places {
    limit: usize,
    running: AtomicUsize,
    queued: AtomicUsize,
    freed: Notify,
}

impl Places {
    /// Takes a place, unless there is none or others have been waiting for it.
    fn try_take(&self) -> bool {
        self.queued.load(Ordering::SeqCst) == 0 && self.take()
    }

    fn take(&self) -> bool {
        self.running
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |running| {
                (running < self.limit).then_some(running + 1)
            })
            .is_ok()
    }

    fn free(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.queued.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

/// Being in the queue, until dropped.
struct Queued(Arc<Places>);

impl Queued {
    fn join(places: &Arc<Places>, max: usize) -> Option<Self> {
        places
            .queued
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |queued| {
                (queued < max).then_some(queued + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(places)))
    }

    /// Waits for a place and takes it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; a notice that had already come goes to the next one.
    async fn place(self) {
        let mut freed = pin!(self.0.freed.notified());
        loop {
            // Listen before looking, so that a place that comes free in between is not missed.
            freed.as_mut().enable();
            if self.0.take() {
                return;
            }
            freed.as_mut().await;
            freed.set(self.0.freed.notified());
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
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
        if self.places.try_take() {
            return Enter::Proceed;
        }
        match self.queue() {
            Ok(waiting) => Enter::Wait(waiting),
            Err(refusal) => Enter::Refuse(refusal),
        }
    }

    fn exit(&self, _: &Call<'_>, _: &mut Scope, _: &Outcome<'_>) -> Exit {
        self.places.free();
        Exit::Done
    }
}
