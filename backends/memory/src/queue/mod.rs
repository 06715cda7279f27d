//! The message queue in one process: partitioned logs, consumer groups, delays, retries and dead letters. No I/O.
//!
//! | | |
//! |---|---|
//! | guarantee | at least once; what was settled is not delivered again |
//! | order | per key, among first deliveries; also across members that come and go |
//! | delay | to the millisecond of the runtime's clock, never early |
//! | attempts | counted by the broker, kept when a member dies |
//! | dead letters | stored and settled in one step: exactly once |
//! | bounds | messages and bytes per topic, topics, groups; a full topic makes senders wait or refuses |
//! | durability | none: messages end with the process; `shutdown` lets members finish first |

mod broker;
mod clients;
mod config;
mod delivery;
mod faults;
mod group;
mod log;
mod source;
mod topic;

#[cfg(test)]
mod tests;

pub use config::{MemoryQueueConfig, Overflow};
pub use faults::QueueFaults;

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::config::Validate as _;
use infra_core::queue::runtime::Subscriptions;
use infra_core::queue::{Consumer, MessageQueue, Producer, TopicAdmin};
use infra_core::telemetry::{Meter, NoMeter};
use infra_core::{Backend, Result, async_trait};

use self::broker::Broker;
use self::clients::{Client, MemoryAdmin, MemoryConsumer, MemoryProducer, is_closed};
use crate::BACKEND;

/// A message queue in this process. Clones share one broker.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use infra_core::queue::{Disposition, Message, MessageQueue, Subscription, handler_fn};
/// use infra_memory::MemoryQueue;
///
/// let queue = MemoryQueue::new();
/// let (seen, mut arrived) = tokio::sync::mpsc::channel(1);
/// let subscription = queue
///     .consumer("greeters")
///     .await?
///     .subscribe(
///         Subscription::to(["users"]),
///         handler_fn(move |delivery| {
///             let seen = seen.clone();
///             async move {
///                 seen.send(delivery.message.payload).await.ok();
///                 Ok(Disposition::Ack)
///             }
///         }),
///     )
///     .await?;
///
/// queue.producer().await?.send(Message::new("users", "hello").with_key("user123")).await?;
/// assert_eq!(arrived.recv().await.as_deref(), Some(b"hello".as_slice()));
/// subscription.drain(Duration::from_secs(1)).await?;
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemoryQueue {
    broker: Arc<Broker>,
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryQueue {
    /// An empty queue with the [development](MemoryQueueConfig::development) configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::open(MemoryQueueConfig::development(), Arc::new(NoMeter))
    }

    /// An empty queue.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig), as [`MemoryQueueConfig::validate`].
    pub fn with_config(config: MemoryQueueConfig) -> Result<Self> {
        Self::with_meter(config, Arc::new(NoMeter))
    }

    /// An empty queue whose consumers record into a meter.
    ///
    /// # Errors
    /// As [`MemoryQueue::with_config`].
    pub fn with_meter(config: MemoryQueueConfig, meter: Arc<dyn Meter>) -> Result<Self> {
        config.check()?;
        Ok(Self::open(config, meter))
    }

    fn open(config: MemoryQueueConfig, meter: Arc<dyn Meter>) -> Self {
        Self {
            broker: Arc::new(Broker::new(config, meter)),
        }
    }

    fn client(&self, component: &'static str, operation: &'static str) -> Result<Client> {
        self.broker
            .check()
            .map_err(|error| error.at("queue", BACKEND, operation))?;
        Ok(Client::new(self.broker.clone(), component))
    }
}

#[async_trait]
impl Backend for MemoryQueue {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.broker.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.broker
            .check()
            .map_err(|error| error.at("queue", BACKEND, "health"))
    }

    /// Takes no more messages, lets the members of every group handle what there is, drains their subscriptions and closes
    /// everything. Messages of groups that have no member at the time end with the process.
    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if is_closed(&self.broker) {
            return Ok(());
        }
        self.broker
            .shutdown(deadline)
            .await
            .map_err(|error| error.at("queue", BACKEND, "shutdown"))
    }
}

#[async_trait]
impl MessageQueue for MemoryQueue {
    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        let client = self.client("producer", "producer")?;
        Ok(Arc::new(MemoryProducer(client)))
    }

    async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>> {
        let client = self.client("consumer", "consumer")?;
        self.broker
            .config
            .limits
            .check_key("consumer group", group)
            .map_err(|error| error.at("queue", BACKEND, "consumer"))?;
        Ok(Arc::new(MemoryConsumer {
            client,
            group: group.into(),
            subscriptions: Subscriptions::new(),
        }))
    }

    async fn admin(&self) -> Result<Arc<dyn TopicAdmin>> {
        let client = self.client("topic_admin", "admin")?;
        Ok(Arc::new(MemoryAdmin(client)))
    }
}
