//! What follows when a handler has ended: settling, retrying, dead letters.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::dead_letter::{letter, store};
use super::dispatcher::{Dispatcher, Finished, Job, Ticket};
use super::lanes::Held;
use super::source::Redelivery;
use super::work::{Outcome, backoff, panic_reason};
use crate::queue::Delivery;

impl Dispatcher {
    /// A task has ended: by itself, by a panic, or because it was stopped.
    pub(super) fn joined(&mut self, joined: Result<(Id, Finished), JoinError>) {
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        let finished = joined.map(|(_, finished)| finished);
        match running.job {
            Job::Handling {
                deliveries,
                held,
                started,
            } => self.handled(deliveries, &held, started, finished),
            Job::Storing(held) => self.stored(&held, matches!(finished, Ok(Finished::Stored(true)))),
        }
    }

    fn handled(
        &mut self,
        deliveries: Arc<Vec<Delivery>>,
        tickets: &[Ticket],
        started: Instant,
        finished: Result<Finished, JoinError>,
    ) {
        let now = Instant::now();
        self.handling -= tickets.len();
        self.in_tasks -= tickets.len();
        let outcomes = match finished {
            Ok(Finished::Handled(outcomes)) => Some(outcomes),
            Ok(Finished::Stored(_)) => None,
            Err(error) => error.try_into_panic().ok().map(|panic| {
                let reason: Arc<str> = panic_reason(panic.as_ref()).into();
                tracing::error!(messages = tickets.len(), "a message handler panicked");
                vec![Outcome::failed(reason); tickets.len()]
            }),
        };
        // The task is gone and has dropped its own reference, so that this is not a copy.
        let deliveries = Arc::try_unwrap(deliveries).unwrap_or_else(|shared| shared.as_ref().clone());
        let held = deliveries
            .into_iter()
            .zip(tickets)
            .map(|(delivery, ticket)| Held {
                delivery,
                tag: ticket.tag,
                topic: ticket.topic,
            });
        match outcomes {
            Some(outcomes) => {
                let took = now.saturating_duration_since(started);
                for (held, outcome) in held.zip(outcomes) {
                    self.release(&held);
                    self.conclude(held, outcome, took, now);
                }
            }
            None => held.for_each(|held| {
                self.release(&held);
                self.give_back(&held);
            }),
        }
    }

    fn release(&mut self, held: &Held) {
        if let Some(key) = held.lane() {
            self.lanes.release(key);
        }
    }

    fn conclude(&mut self, held: Held, outcome: Outcome, took: Duration, now: Instant) {
        self.topics[held.topic].metrics.handled(&outcome, took);
        match outcome {
            Outcome::Ack => {
                self.settler.done(&held, now);
                self.no_longer_held(&held);
            }
            Outcome::DeadLetter { reason } => self.dead_letter(held, &reason),
            Outcome::Retry { reason, .. } if held.delivery.attempt >= self.subscription.max_attempts => {
                self.dead_letter(held, &reason);
            }
            Outcome::Retry { after, at_least, .. } => {
                let usual = backoff(&self.subscription, held.delivery.attempt);
                self.retry(held, after.unwrap_or(usual).max(at_least), now);
            }
        }
    }

    fn retry(&mut self, mut held: Held, after: Duration, now: Instant) {
        self.topics[held.topic].metrics.retried();
        if self.redelivery == Redelivery::Broker {
            self.settler.redeliver(&held, after);
            self.no_longer_held(&held);
            return;
        }
        if self.stop_by.is_some() || self.is_revoked(&held) {
            self.give_back(&held);
            return;
        }
        let next = held.delivery.attempt.get().saturating_add(1);
        held.delivery.attempt = NonZeroU32::MIN.saturating_add(next - 1);
        self.waited += 1;
        let due = now.checked_add(after).unwrap_or(now + FAR);
        self.waiting.insert((due, self.waited), held);
    }

    /// Begins to store a dead letter; the message stays unsettled until that is done.
    pub(super) fn dead_letter(&mut self, held: Held, reason: &str) {
        tracing::warn!(
            topic = held.delivery.message.topic,
            group = %held.delivery.group,
            attempts = held.delivery.attempt.get(),
            partition = held.delivery.partition,
            offset = held.delivery.offset,
            "giving a message up; it goes to the dead-letter topic"
        );
        let letter = letter(&held.delivery, &self.subscription.dead_letter_suffix, reason);
        let storing = store(self.source.clone(), held.tag, letter);
        self.in_tasks += 1;
        self.spawn(Job::Storing(Box::new(held)), async move {
            Finished::Stored(storing.await)
        });
    }

    fn stored(&mut self, held: &Held, stored: bool) {
        self.in_tasks -= 1;
        if !stored {
            self.give_back(held);
            return;
        }
        self.topics[held.topic].metrics.dead_lettered();
        self.settler.done(held, Instant::now());
        self.no_longer_held(held);
    }

    pub(super) fn give_back(&mut self, held: &Held) {
        self.settler.give_back(held);
        self.no_longer_held(held);
    }

    fn no_longer_held(&mut self, held: &Held) {
        self.topics[held.topic].metrics.held(-1);
    }
}

/// A delay that does not fit the clock is as good as a year.
const FAR: Duration = Duration::from_secs(366 * 24 * 3600);
