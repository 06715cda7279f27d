//! A queue that does one thing wrong, on command.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::queue::{
    BatchHandler, Consumer, ConsumerLag, Delivery, DeliveryFuture, Disposition, Handler, Message,
    MessageQueue, Producer, Receipt, Subscription, SubscriptionHandle, TopicAdmin, TopicInfo, TopicSpec,
};
use infra_core::{Backend, Result, async_trait};
use infra_memory::MemoryQueue;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    LosesAMessage,
    SwapsMessages,
    AcknowledgesFailures,
    AcknowledgesBeforeTheHandler,
    ForgetsAttempts,
    DeliversTwice,
    DropsDeadLetters,
    CommitsTooMuch,
}

/// The whole of it: every face of the queue holds the same parts.
#[derive(Debug, Clone)]
pub(crate) struct Twisted {
    queue: MemoryQueue,
    twist: Twist,
    producer: Option<Arc<dyn Producer>>,
    consumer: Option<Arc<dyn Consumer>>,
    admin: Option<Arc<dyn TopicAdmin>>,
    held: Arc<Mutex<Option<Message>>>,
}

impl Twisted {
    pub(crate) fn new(twist: Twist) -> Self {
        Self {
            queue: MemoryQueue::new(),
            twist,
            producer: None,
            consumer: None,
            admin: None,
            held: Arc::default(),
        }
    }

    fn producer(&self) -> &dyn Producer {
        self.producer.as_deref().expect("made by the queue")
    }

    fn admin(&self) -> &dyn TopicAdmin {
        self.admin.as_deref().expect("made by the queue")
    }
}

#[async_trait]
impl Backend for Twisted {
    fn backend(&self) -> &'static str {
        "twisted"
    }

    fn capabilities(&self) -> &Capabilities {
        self.queue.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.queue.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.queue.shutdown(deadline).await
    }
}

#[async_trait]
impl MessageQueue for Twisted {
    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        Ok(Arc::new(Self {
            producer: Some(self.queue.producer().await?),
            ..self.clone()
        }))
    }

    async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>> {
        Ok(Arc::new(Self {
            consumer: Some(self.queue.consumer(group).await?),
            ..self.clone()
        }))
    }

    async fn admin(&self) -> Result<Arc<dyn TopicAdmin>> {
        Ok(Arc::new(Self {
            admin: Some(self.queue.admin().await?),
            ..self.clone()
        }))
    }
}

#[async_trait]
impl Producer for Twisted {
    async fn send(&self, message: Message) -> Result<Receipt> {
        let receipt = Receipt::new(message.topic.clone(), None, None);
        match (self.twist, &*message.payload) {
            (Twist::LosesAMessage, b"1") => return Ok(receipt),
            (Twist::SwapsMessages, b"0") => {
                *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
                return Ok(receipt);
            }
            _ => {}
        }
        let receipt = self.producer().send(message).await?;
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(held) = held.filter(|held| held.topic == receipt.topic) {
            self.producer().send(held).await?;
        }
        Ok(receipt)
    }

    async fn enqueue(&self, message: Message) -> Result<DeliveryFuture> {
        self.producer().enqueue(message).await
    }

    async fn send_batch(&self, messages: Vec<Message>) -> Result<Vec<Result<Receipt>>> {
        self.producer().send_batch(messages).await
    }

    async fn flush(&self, deadline: Duration) -> Result<()> {
        self.producer().flush(deadline).await
    }
}

/// A handler between the queue and the real one.
struct Between {
    twist: Twist,
    real: Arc<dyn Handler>,
}

#[async_trait]
impl Handler for Between {
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        let mut shown = delivery.clone();
        if self.twist == Twist::ForgetsAttempts {
            shown.attempt = NonZeroU32::MIN;
        }
        if self.twist == Twist::AcknowledgesBeforeTheHandler {
            let real = self.real.clone();
            tokio::spawn(async move { real.handle(&shown).await });
            return Ok(Disposition::Ack);
        }
        let answer = self.real.handle(&shown).await;
        match (self.twist, answer) {
            (Twist::AcknowledgesFailures, Err(_)) => Ok(Disposition::Ack),
            (Twist::DropsDeadLetters, Ok(Disposition::DeadLetter { .. })) => Ok(Disposition::Ack),
            (Twist::DeliversTwice, Ok(Disposition::Ack)) => self.real.handle(&shown).await,
            (_, answer) => answer,
        }
    }
}

#[async_trait]
impl Consumer for Twisted {
    async fn subscribe(
        &self,
        subscription: Subscription,
        handler: Arc<dyn Handler>,
    ) -> Result<SubscriptionHandle> {
        let dead = subscription.topics.iter().any(|topic| topic.ends_with(".dlq"));
        let between: Arc<dyn Handler> = Arc::new(Between {
            twist: self.twist,
            real: handler.clone(),
        });
        let handler = if dead { handler } else { between };
        let consumer = self.consumer.as_deref().expect("made by the queue");
        consumer.subscribe(subscription, handler).await
    }

    async fn subscribe_batch(
        &self,
        subscription: Subscription,
        max_batch: NonZeroU32,
        max_wait: Duration,
        handler: Arc<dyn BatchHandler>,
    ) -> Result<SubscriptionHandle> {
        let consumer = self.consumer.as_deref().expect("made by the queue");
        consumer
            .subscribe_batch(subscription, max_batch, max_wait, handler)
            .await
    }
}

#[async_trait]
impl TopicAdmin for Twisted {
    async fn create_topic(&self, topic: TopicSpec) -> Result<()> {
        self.admin().create_topic(topic).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<bool> {
        self.admin().delete_topic(topic).await
    }

    async fn list_topics(&self) -> Result<Vec<String>> {
        self.admin().list_topics().await
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicInfo>> {
        self.admin().describe_topic(topic).await
    }

    async fn consumer_lag(&self, group: &str, topic: &str) -> Result<Vec<ConsumerLag>> {
        let mut lag = self.admin().consumer_lag(group, topic).await?;
        if self.twist == Twist::CommitsTooMuch {
            for partition in &mut lag {
                partition.messages = partition.messages.saturating_sub(1);
            }
        }
        Ok(lag)
    }
}
