//! What defects do between the broker and the handler.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::queue::{BatchHandler, Delivery, Disposition, Handler, names};
use infra_core::{Backend, Error, Result, async_trait};
use tokio::time::sleep;

use super::Defect;
use super::queue::{Shared, place_of};

const FAR: Duration = Duration::from_secs(3600);

type Turns = Mutex<HashMap<Option<u32>, Arc<tokio::sync::Mutex<()>>>>;

pub(super) struct BrokenHandler {
    shared: Arc<Shared>,
    inner: Arc<dyn Handler>,
    group: Arc<str>,
    turns: Turns,
}

impl BrokenHandler {
    pub(super) fn around(shared: Arc<Shared>, inner: Arc<dyn Handler>, group: Arc<str>) -> Self {
        Self {
            shared,
            inner,
            group,
            turns: Mutex::default(),
        }
    }

    fn turn(&self, partition: Option<u32>) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(partition).or_default())
    }

    /// What the handler gets to see; `None` for what it does not.
    async fn change(&self, delivery: &Delivery) -> Option<Delivery> {
        let mut delivery = delivery.clone();
        let shared = &self.shared;
        shared.backlog.fetch_sub(1, Ordering::SeqCst);
        if shared.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let skipped = shared.notes().skipped.remove(&place_of(&delivery));
        if shared.loses_next.swap(false, Ordering::SeqCst) || skipped {
            return None;
        }
        match shared.defect {
            Defect::CountsNoAttempts => delivery.attempt = NonZeroU32::MIN,
            Defect::ForgetsReason => delivery.message.headers.remove(names::DEAD_LETTER_REASON),
            _ => {}
        }
        Some(delivery)
    }

    async fn call(&self, delivery: &Delivery) -> Result<Disposition> {
        let _turn = if self.shared.is(Defect::HandlesPartitionsInTurn) {
            Some(self.turn(delivery.partition).lock_owned().await)
        } else {
            None
        };
        let _running = Running::new(&self.shared, &self.group, delivery);
        if !self.shared.is(Defect::AcknowledgesPanics) {
            return self.inner.handle(delivery).await;
        }
        let handling = AssertUnwindSafe(async { self.inner.handle(delivery).await });
        handling.catch_unwind().await.unwrap_or(Ok(Disposition::Ack))
    }

    async fn is_away(&self) -> bool {
        self.shared
            .inner
            .health()
            .await
            .is_err_and(|error| error.is_retryable())
    }

    fn acknowledged(&self, delivery: &Delivery) {
        let mut notes = self.shared.notes();
        let again = !notes
            .acknowledged
            .insert((Arc::clone(&self.group), place_of(delivery)));
        notes.last_acknowledged = Some(delivery.clone());
        if again && self.shared.is(Defect::SecondAckCountsForTheNext) {
            self.shared.loses_next.store(true, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Handler for BrokenHandler {
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        let Some(shown) = self.change(delivery).await else {
            return Ok(Disposition::Ack);
        };
        let answer = self.call(&shown).await;
        match (self.shared.defect, answer) {
            (Defect::HalvesDelays, Ok(Disposition::Retry { after })) => {
                Ok(Disposition::Retry { after: after / 2 })
            }
            (Defect::WaitsInTheHandler, Ok(Disposition::Retry { after })) => {
                sleep(after).await;
                Ok(Disposition::Retry {
                    after: Duration::ZERO,
                })
            }
            (Defect::ForgetsAdvice, Err(error)) => Err(Error::new(error.kind(), error.message().to_owned())),
            (Defect::GivesUpOnLetters, Ok(Disposition::DeadLetter { .. })) if self.is_away().await => {
                Ok(Disposition::Ack)
            }
            (Defect::ForgetsAcksWhileAway, Ok(Disposition::Ack)) if self.is_away().await => {
                Ok(Disposition::Retry { after: FAR })
            }
            (_, Ok(Disposition::Ack)) => {
                self.acknowledged(delivery);
                Ok(Disposition::Ack)
            }
            (_, answer) => answer,
        }
    }
}

/// A delivery that is with a handler, noted for as long.
struct Running<'a>(&'a Shared, Arc<str>, &'a Delivery);

impl<'a> Running<'a> {
    fn new(shared: &'a Shared, group: &Arc<str>, delivery: &'a Delivery) -> Self {
        shared.notes().running.push((Arc::clone(group), delivery.clone()));
        Self(shared, Arc::clone(group), delivery)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let place = place_of(self.2);
        let mut notes = self.0.notes();
        notes
            .running
            .retain(|(group, delivery)| *group != self.1 || place_of(delivery) != place);
    }
}

pub(super) struct BrokenBatches {
    pub(super) shared: Arc<Shared>,
    pub(super) inner: Arc<dyn BatchHandler>,
}

#[async_trait]
impl BatchHandler for BrokenBatches {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        let mut deliveries = deliveries.to_vec();
        let backwards = self.shared.is(Defect::BatchesBackwards);
        if backwards {
            deliveries.reverse();
        }
        let mut answers = self.inner.handle_batch(&deliveries).await?;
        if backwards {
            answers.reverse();
        }
        if self.shared.is(Defect::FillsUpAnswers) {
            answers.resize(deliveries.len(), Disposition::Ack);
        }
        let retry = answers
            .iter()
            .find(|answer| matches!(answer, Disposition::Retry { .. }));
        if self.shared.is(Defect::RetriesWholeBatches)
            && let Some(retry) = retry.cloned()
        {
            answers.fill(retry);
        }
        Ok(answers)
    }
}
