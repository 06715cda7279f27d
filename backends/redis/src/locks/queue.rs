//! The lines of those who wait in this process, one for each lock: only who stands first asks the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::notices::Subscription;

/// The lines of one client.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    lines: StdMutex<HashMap<String, Line>>,
}

#[derive(Debug, Default)]
struct Line {
    standing: usize,
    // Served in the order in which they came.
    first: Arc<Mutex<Known>>,
}

/// What whoever stands first knows of the lock, and leaves to the next one.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Hears when it is given back, since before `held_until` was learnt.
    pub(super) subscription: Option<Subscription>,
    /// How long the present holder has it at most without a renewal.
    pub(super) held_until: Option<Instant>,
}

/// A place in a line, left when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'q> {
    queues: &'q Queues,
    key: &'q str,
    first: Arc<Mutex<Known>>,
}

impl Queues {
    /// A place at the end of the line; it counts from when its [`turn`](Place::turn) is waited for.
    pub(super) fn stand<'q>(&'q self, key: &'q str) -> Place<'q> {
        let mut lines = self.lines();
        let line = lines.entry(key.to_owned()).or_default();
        line.standing += 1;
        Place {
            queues: self,
            key,
            first: Arc::clone(&line.first),
        }
    }

    fn lines(&self) -> StdMutexGuard<'_, HashMap<String, Line>> {
        // The lines are whole after every statement, so that a panic elsewhere does not spoil them.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Whether nobody stands before.
    pub(super) fn turn_now(&self) -> Option<MutexGuard<'_, Known>> {
        self.first.try_lock().ok()
    }

    /// Waits until nobody stands before. Whoever drops the future leaves the line.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Known> {
        self.first.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.queues.lines();
        if let Some(line) = lines.get_mut(self.key) {
            line.standing -= 1;
            if line.standing == 0 {
                lines.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_served_in_order_and_forgotten_when_it_is_empty() {
        let queues = Queues::default();
        let (first, second, other) = (queues.stand("a"), queues.stand("a"), queues.stand("b"));
        let turn = first.turn_now().expect("nobody before");
        assert!(second.turn_now().is_none() && other.turn_now().is_some());
        {
            let mut waiting = std::pin::pin!(second.turn());
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
            drop(turn);
            // Nobody overtakes who waits.
            assert!(first.turn_now().is_none());
            drop(waiting.await);
        }
        drop((first, second));
        assert_eq!(queues.lines().len(), 1);
        drop(other);
        assert!(queues.lines().is_empty());
    }
}
