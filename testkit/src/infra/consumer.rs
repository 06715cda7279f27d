//! A consumer whose deliveries and settlements are calls, so that the recorder sees them and faults can hit them.
//!
//! What a broker gives to a handler is no call of anybody's, so it is made one: the handler is called through the stack
//! as `consumer.handle`, and its answer goes back as `consumer.ack`, `consumer.retry` or `consumer.dead_letter`; the
//! subject is the topic. One source of faults then serves both directions of a queue. What only a broker can do (the
//! same message twice, two of one key in another order) stays with [`ServerFaults`](super::ServerFaults).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::intercept::{Proxy, Stack};
use infra_core::queue::{
    BatchHandler, Consumer, Delivery, Disposition, Handler, Subscription, SubscriptionHandle,
};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait, intercept};

/// What a consumer's runtime does with one member's messages.
#[intercept(component = "consumer")]
#[async_trait]
trait Deliveries: Send + Sync {
    /// The handler may take as long as its subscription allows.
    #[call(waits)]
    async fn handle(&self, topic: &str, deliveries: &[Delivery]) -> Result<Vec<Disposition>>;
    async fn ack(&self, topic: &str, reached: &AtomicBool) -> Result<()>;
    async fn retry(&self, topic: &str, reached: &AtomicBool) -> Result<()>;
    async fn dead_letter(&self, topic: &str, reached: &AtomicBool) -> Result<()>;
}

/// The business code at the end of the stack; the settlements only note that they came that far.
struct Business(Arc<dyn BatchHandler>);

#[async_trait]
impl Deliveries for Business {
    async fn handle(&self, _: &str, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        self.0.handle_batch(deliveries).await
    }

    async fn ack(&self, _: &str, reached: &AtomicBool) -> Result<()> {
        reached.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn retry(&self, _: &str, reached: &AtomicBool) -> Result<()> {
        reached.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn dead_letter(&self, _: &str, reached: &AtomicBool) -> Result<()> {
        reached.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// A handler of single messages, seen as one of batches of one.
struct Single(Arc<dyn Handler>);

#[async_trait]
impl BatchHandler for Single {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        let mut answers = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            answers.push(self.0.handle(delivery).await?);
        }
        Ok(answers)
    }
}

/// What the consumer's runtime is given in place of the handler.
struct Intercepted(Arc<Proxy<dyn Deliveries>>);

impl Intercepted {
    fn new(stack: &Stack, handler: Arc<dyn BatchHandler>) -> Arc<Self> {
        let business: Arc<dyn Deliveries> = Arc::new(Business(handler));
        Arc::new(Self(stack.wrap_named("memory", business)))
    }

    /// Has the answer settled. An error makes the runtime deliver the message again, as one does that was not settled; a
    /// settlement that arrived and of which only the reply was lost stands.
    async fn settle(&self, delivery: &Delivery, answer: &Disposition) -> Result<()> {
        let (topic, reached) = (delivery.message.topic.as_str(), AtomicBool::new(false));
        let settled = match answer {
            Disposition::Retry { .. } => self.0.retry(topic, &reached).await,
            Disposition::DeadLetter { .. } => self.0.dead_letter(topic, &reached).await,
            _ => self.0.ack(topic, &reached).await,
        };
        if reached.into_inner() { Ok(()) } else { settled }
    }
}

#[async_trait]
impl BatchHandler for Intercepted {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        let topic = deliveries
            .first()
            .map_or("", |delivery| delivery.message.topic.as_str());
        let answers = self.0.handle(topic, deliveries).await?;
        for (delivery, answer) in deliveries.iter().zip(&answers) {
            self.settle(delivery, answer).await?;
        }
        Ok(answers)
    }
}

#[async_trait]
impl Handler for Intercepted {
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        let mut answers = self.handle_batch(std::slice::from_ref(delivery)).await?;
        answers.pop().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "the handler gave no answer for the one message that it had",
            )
        })
    }
}

/// A member of a group, whose handlers are called through a stack.
#[derive(Debug)]
pub(super) struct TestConsumer {
    inner: Arc<dyn Consumer>,
    stack: Stack,
}

impl TestConsumer {
    pub(super) fn new(inner: Arc<dyn Consumer>, stack: Stack) -> Self {
        Self { inner, stack }
    }
}

#[async_trait]
impl Backend for TestConsumer {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Consumer for TestConsumer {
    async fn subscribe(
        &self,
        subscription: Subscription,
        handler: Arc<dyn Handler>,
    ) -> Result<SubscriptionHandle> {
        let handler = Intercepted::new(&self.stack, Arc::new(Single(handler)));
        self.inner.subscribe(subscription, handler).await
    }

    async fn subscribe_batch(
        &self,
        subscription: Subscription,
        max_batch: NonZeroU32,
        max_wait: Duration,
        handler: Arc<dyn BatchHandler>,
    ) -> Result<SubscriptionHandle> {
        let handler = Intercepted::new(&self.stack, handler);
        self.inner
            .subscribe_batch(subscription, max_batch, max_wait, handler)
            .await
    }
}
