//! Consumers and subscriptions with defects.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::queue::{
    BatchHandler, Consumer, Handler, Start, Subscription, SubscriptionHandle, SubscriptionKeeper,
};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use tokio::time::sleep;

use super::Defect;
use super::handling::{BrokenBatches, BrokenHandler};
use super::queue::{Shared, place_of};

#[derive(Debug)]
pub(super) struct BrokenConsumer {
    shared: Arc<Shared>,
    inner: Arc<dyn Consumer>,
    group: Arc<str>,
    closed: AtomicBool,
    last: Mutex<Option<Arc<BrokenKeeper>>>,
}

impl BrokenConsumer {
    pub(super) fn around(shared: Arc<Shared>, inner: Arc<dyn Consumer>, group: Arc<str>) -> Self {
        Self {
            shared,
            inner,
            group,
            closed: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    fn change(&self, mut plan: Subscription) -> Subscription {
        let one_more = |number: NonZeroU32| number.saturating_add(1);
        match self.shared.defect {
            Defect::AllowsOneAttemptMore => plan.max_attempts = one_more(plan.max_attempts),
            Defect::AllowsOneInFlightMore => plan.max_in_flight = one_more(plan.max_in_flight),
            Defect::IgnoresHandlerTimeout => plan.handler_timeout *= 1000,
            Defect::TakesSlowMessagesBack => {
                plan.handler_timeout = plan.handler_timeout.min(Duration::from_secs(60));
            }
            Defect::AlwaysStartsWithLatest => plan.start = Start::Latest,
            Defect::AlwaysStartsWithEarliest => plan.start = Start::Earliest,
            Defect::ConstantBackoff if plan.backoff < plan.max_backoff => plan.max_backoff = plan.backoff,
            Defect::OneDeadLetterSuffix if !plan.dead_letter_suffix.is_empty() => {
                plan.dead_letter_suffix = ".dlq".to_owned();
            }
            Defect::MergesTopics => plan.topics.dedup(),
            _ => {}
        }
        plan
    }

    fn keep(&self, handle: SubscriptionHandle) -> SubscriptionHandle {
        let keeper = Arc::new(BrokenKeeper {
            shared: Arc::clone(&self.shared),
            group: Arc::clone(&self.group),
            handle: Mutex::new(Some(handle)),
        });
        if self.shared.is(Defect::OneSubscriptionOnly) {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(before) = last.replace(Arc::clone(&keeper)) {
                before.abandon();
            }
        }
        SubscriptionHandle::new(keeper)
    }

    fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::closed("the consumer"));
        }
        Ok(())
    }
}

#[async_trait]
impl Consumer for BrokenConsumer {
    async fn subscribe(
        &self,
        subscription: Subscription,
        handler: Arc<dyn Handler>,
    ) -> Result<SubscriptionHandle> {
        self.check()?;
        if self.shared.is(Defect::HandsOverTooEarly) {
            let running = self.shared.notes().running.clone();
            for (_, delivery) in running.into_iter().filter(|(group, _)| *group == self.group) {
                let handler = Arc::clone(&handler);
                tokio::spawn(async move { handler.handle(&delivery).await });
            }
        }
        let handler = Arc::new(BrokenHandler::around(
            Arc::clone(&self.shared),
            handler,
            Arc::clone(&self.group),
        ));
        let handle = self.inner.subscribe(self.change(subscription), handler).await?;
        Ok(self.keep(handle))
    }

    async fn subscribe_batch(
        &self,
        subscription: Subscription,
        max_batch: NonZeroU32,
        max_wait: Duration,
        handler: Arc<dyn BatchHandler>,
    ) -> Result<SubscriptionHandle> {
        self.check()?;
        let more = u32::from(self.shared.is(Defect::LargerBatches));
        let longer = if self.shared.is(Defect::WaitsForFullBatches) {
            250
        } else {
            1
        };
        let handler = Arc::new(BrokenBatches {
            shared: Arc::clone(&self.shared),
            inner: handler,
        });
        let plan = self.change(subscription);
        let most = max_batch.saturating_add(more);
        let handle = self
            .inner
            .subscribe_batch(plan, most, max_wait * longer, handler)
            .await?;
        Ok(self.keep(handle))
    }
}

#[async_trait]
impl Backend for BrokenConsumer {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if self.shared.is(Defect::ShutdownLeavesSubscriptions) {
            self.closed.store(true, Ordering::SeqCst);
            return Ok(());
        }
        self.inner.shutdown(deadline).await
    }
}

/// A subscription; the inner one ends with it.
#[derive(Debug)]
struct BrokenKeeper {
    shared: Arc<Shared>,
    group: Arc<str>,
    handle: Mutex<Option<SubscriptionHandle>>,
}

impl BrokenKeeper {
    fn take(&self) -> Option<SubscriptionHandle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl SubscriptionKeeper for BrokenKeeper {
    async fn drain(&self, deadline: Duration) -> Result<()> {
        let Some(handle) = self.take() else {
            return Ok(());
        };
        let deadline = if self.shared.is(Defect::DrainStopsHandlers) {
            Duration::ZERO
        } else {
            deadline
        };
        match handle.drain(deadline).await {
            Err(error) if self.shared.is(Defect::HidesLateHandlers) && error.kind() == ErrorKind::Timeout => {
                Ok(())
            }
            drained => drained,
        }
    }

    fn abandon(&self) {
        let Some(handle) = self.take() else {
            return;
        };
        match self.shared.defect {
            Defect::StopsLate => {
                tokio::spawn(async move {
                    sleep(Duration::from_secs(10)).await;
                    drop(handle);
                });
            }
            Defect::AcknowledgesWhatIsRunning => {
                let mut notes = self.shared.notes();
                let lost: Vec<_> = notes
                    .running
                    .iter()
                    .filter(|(group, _)| *group == self.group)
                    .map(|(_, delivery)| place_of(delivery))
                    .collect();
                notes.skipped.extend(lost);
            }
            Defect::ForgetsAckOfTheDropped => {
                let last = self.shared.notes().last_acknowledged.take();
                let queue = self.shared.inner.clone();
                if let Some(last) = last {
                    tokio::spawn(async move {
                        use infra_core::queue::MessageQueue as _;
                        queue.producer().await?.send(last.message).await
                    });
                }
            }
            _ => {}
        }
    }

    fn set_max_in_flight(&self, messages: NonZeroU32) {
        if self.shared.is(Defect::IgnoresNewBound) {
            return;
        }
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handle.as_ref() {
            handle.set_max_in_flight(messages);
        }
    }

    fn in_flight(&self) -> usize {
        if self.shared.is(Defect::HidesInFlight) {
            return 0;
        }
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.as_ref().map_or(0, SubscriptionHandle::in_flight)
    }
}
