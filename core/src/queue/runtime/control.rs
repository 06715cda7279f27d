//! The outside of a running subscription: draining it, abandoning it, changing its window.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::queue::{SubscriptionHandle, SubscriptionKeeper};

/// What the outside wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) max_in_flight: NonZeroU32,
    /// `Some` once it is to end: when handlers that still run are stopped.
    pub(super) stop_by: Option<Instant>,
}

/// How it ended: the number of handlers that had to be stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) stopped: usize,
}

/// A running subscription, seen from outside. When the last reference is dropped it stops at once.
#[derive(Debug)]
pub struct RunningSubscription {
    wish: watch::Sender<Wish>,
    ended: watch::Receiver<Option<Ended>>,
    in_flight: Arc<AtomicUsize>,
}

impl RunningSubscription {
    pub(super) fn new(
        wish: watch::Sender<Wish>,
        ended: watch::Receiver<Option<Ended>>,
        in_flight: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            wish,
            ended,
            in_flight,
        }
    }

    /// The handle for the subscriber.
    #[must_use]
    pub fn handle(self: Arc<Self>) -> SubscriptionHandle {
        SubscriptionHandle::new(self)
    }

    /// Whether it has ended, by a drain, by being abandoned, or because the queue was closed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    fn stop_by(&self, deadline: Instant) {
        self.wish.send_modify(|wish| {
            wish.stop_by = Some(wish.stop_by.map_or(deadline, |earlier| earlier.min(deadline)));
        });
    }
}

#[async_trait]
impl SubscriptionKeeper for RunningSubscription {
    async fn drain(&self, deadline: Duration) -> Result<()> {
        let now = Instant::now();
        self.stop_by(now.checked_add(deadline).unwrap_or(now + FAR));
        let mut ended = self.ended.clone();
        let stopped = match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.map_or(0, |ended| ended.stopped),
            // The task is gone with its runtime; there is nothing left to wait for.
            Err(_) => 0,
        };
        if stopped == 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "{stopped} messages were still being handled after {deadline:?}; their handlers were stopped and the \
                 messages are delivered again"
            ),
        ))
    }

    fn abandon(&self) {
        self.stop_by(Instant::now());
    }

    fn set_max_in_flight(&self, messages: NonZeroU32) {
        self.wish.send_modify(|wish| wish.max_in_flight = messages);
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// A deadline that does not fit the clock is as good as a year.
const FAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// The subscriptions that a consumer or a queue has started, for its shutdown. It keeps none of them alive.
#[derive(Debug, Default)]
pub struct Subscriptions {
    running: Mutex<Vec<Weak<RunningSubscription>>>,
}

impl Subscriptions {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, and forgets those that have ended.
    pub fn add(&self, subscription: &Arc<RunningSubscription>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|weak| weak.upgrade().is_some_and(|running| !running.has_ended()));
        running.push(Arc::downgrade(subscription));
    }

    /// Drains all of them at the same time.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout), the first one's, when handlers were still running at the deadline.
    ///
    /// # Cancellation
    /// The drains go on by themselves until the deadline.
    pub async fn drain_all(&self, deadline: Duration) -> Result<()> {
        let running: Vec<_> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.drain(..).filter_map(|weak| weak.upgrade()).collect()
        };
        join_all(running.iter().map(|subscription| subscription.drain(deadline)))
            .await
            .into_iter()
            .collect()
    }
}
