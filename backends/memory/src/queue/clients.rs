//! What the queue gives out: producers, members of groups, administration.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::queue::runtime::{ConsumerRuntime, Subscriptions, Work};
use infra_core::queue::{
    BatchHandler, Consumer, ConsumerLag, DeliveryFuture, Handler, Message, Producer, Receipt, Subscription,
    SubscriptionHandle, TopicAdmin, TopicInfo, TopicSpec, prepare,
};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};

use super::broker::{Broker, Phase};
use super::source::MemorySource;
use super::topic::not_found;
use crate::BACKEND;

/// One client of the broker, which can be shut down without the others.
#[derive(Debug)]
pub(super) struct Client {
    broker: Arc<Broker>,
    component: &'static str,
    closed: AtomicBool,
}

impl Client {
    pub(super) fn new(broker: Arc<Broker>, component: &'static str) -> Self {
        Self {
            broker,
            component,
            closed: AtomicBool::new(false),
        }
    }

    fn open(&self) -> Result<&Arc<Broker>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed(self.component));
        }
        self.broker.check()?;
        Ok(&self.broker)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn at(&self, operation: &'static str) -> impl Fn(Error) -> Error + use<> {
        let component = self.component;
        move |error| error.at(component, BACKEND, operation)
    }
}

/// Sends into the log directly: what is accepted is stored.
#[derive(Debug)]
pub(super) struct MemoryProducer(pub(super) Client);

impl MemoryProducer {
    async fn accept(&self, message: Message) -> Result<Receipt> {
        let broker = self.0.open()?;
        let message = prepare(message, &broker.capabilities)?;
        broker.accept(message).await
    }
}

#[async_trait]
impl Producer for MemoryProducer {
    async fn send(&self, message: Message) -> Result<Receipt> {
        self.accept(message).await.map_err(self.0.at("send"))
    }

    async fn enqueue(&self, message: Message) -> Result<DeliveryFuture> {
        let receipt = self.accept(message).await.map_err(self.0.at("enqueue"))?;
        Ok(DeliveryFuture::new(std::future::ready(Ok(receipt))))
    }

    async fn send_batch(&self, messages: Vec<Message>) -> Result<Vec<Result<Receipt>>> {
        self.0.open().map_err(self.0.at("send_batch"))?;
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            receipts.push(self.accept(message).await.map_err(self.0.at("send_batch")));
        }
        Ok(receipts)
    }

    async fn flush(&self, _: Duration) -> Result<()> {
        // What was accepted is in the log already.
        self.0.open().map(drop).map_err(self.0.at("flush"))
    }
}

/// A member-to-be of a consumer group; every subscription is a member of its own.
#[derive(Debug)]
pub(super) struct MemoryConsumer {
    pub(super) client: Client,
    pub(super) group: Arc<str>,
    pub(super) subscriptions: Subscriptions,
}

impl MemoryConsumer {
    fn start(&self, subscription: Subscription, work: Work) -> Result<SubscriptionHandle> {
        let broker = self.client.open()?;
        subscription.validate(&broker.config.limits)?;
        let source = MemorySource::join(
            broker.clone(),
            self.group.clone(),
            &subscription.topics,
            subscription.start,
        )?;
        let running = ConsumerRuntime::new(self.group.clone(), subscription)
            .with_meter(broker.meter.clone())
            .start(source, work);
        self.subscriptions.add(&running);
        broker.subscriptions.add(&running);
        Ok(running.handle())
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn subscribe(
        &self,
        subscription: Subscription,
        handler: Arc<dyn Handler>,
    ) -> Result<SubscriptionHandle> {
        self.start(subscription, Work::Each(handler))
            .map_err(self.client.at("subscribe"))
    }

    async fn subscribe_batch(
        &self,
        subscription: Subscription,
        max_batch: NonZeroU32,
        max_wait: Duration,
        handler: Arc<dyn BatchHandler>,
    ) -> Result<SubscriptionHandle> {
        let work = Work::Batch {
            handler,
            max_batch,
            max_wait,
        };
        self.start(subscription, work)
            .map_err(self.client.at("subscribe_batch"))
    }
}

/// Administration of the broker's topics.
#[derive(Debug)]
pub(super) struct MemoryAdmin(pub(super) Client);

#[async_trait]
impl TopicAdmin for MemoryAdmin {
    async fn create_topic(&self, topic: TopicSpec) -> Result<()> {
        let create = || {
            let broker = self.0.open()?;
            broker.config.limits.check_key("topic", &topic.name)?;
            broker.create(&topic)
        };
        create().map(drop).map_err(self.0.at("create_topic"))
    }

    async fn delete_topic(&self, topic: &str) -> Result<bool> {
        let broker = self.0.open().map_err(self.0.at("delete_topic"))?;
        Ok(broker.delete(topic))
    }

    async fn list_topics(&self) -> Result<Vec<String>> {
        let broker = self.0.open().map_err(self.0.at("list_topics"))?;
        Ok(broker.topic_names())
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicInfo>> {
        let broker = self.0.open().map_err(self.0.at("describe_topic"))?;
        Ok(broker.find(topic).map(|topic| topic.describe()))
    }

    async fn consumer_lag(&self, group: &str, topic: &str) -> Result<Vec<ConsumerLag>> {
        let lag = || {
            let broker = self.0.open()?;
            let found = broker.find(topic).ok_or_else(|| not_found(topic))?;
            found.lag(group).ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("no consumer of group {group:?} has subscribed to topic {topic:?} yet"),
                )
            })
        };
        lag().map_err(self.0.at("consumer_lag"))
    }
}

macro_rules! client_backend {
    ($type:ty, $($client:tt).+, |$this:ident, $deadline:ident| $finish:expr) => {
        #[async_trait]
        impl Backend for $type {
            fn backend(&self) -> &'static str {
                BACKEND
            }

            fn capabilities(&self) -> &Capabilities {
                &self.$($client).+.broker.capabilities
            }

            async fn health(&self) -> Result<()> {
                let client = &self.$($client).+;
                client.open().map(drop).map_err(client.at("health"))
            }

            async fn shutdown(&self, $deadline: Duration) -> Result<()> {
                let $this = self;
                let client = &self.$($client).+;
                client.close();
                $finish.map_err(client.at("shutdown"))
            }
        }
    };
}

client_backend!(MemoryProducer, 0, |_this, _deadline| Ok(()));
client_backend!(MemoryAdmin, 0, |_this, _deadline| Ok(()));
client_backend!(MemoryConsumer, client, |this, deadline| this
    .subscriptions
    .drain_all(deadline)
    .await);

/// Whether the queue was closed for good.
pub(super) fn is_closed(broker: &Broker) -> bool {
    broker.status.borrow().phase == Phase::Closed
}
