//! The behaviour of the in-process queue and, with it, of the consumer runtime.

mod bounds;
mod delivery;
mod failure;
mod ledger;
mod lifecycle;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::queue::{
    Consumer, Delivery, Disposition, Handler, Message, MessageQueue, Producer, Subscription,
    SubscriptionHandle,
};
use infra_core::{Result, async_trait};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{MemoryQueue, MemoryQueueConfig};

/// No wait in these tests is longer, on the paused clock or the real one.
const BOUND: Duration = Duration::from_secs(600);

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn queue_with(change: impl FnOnce(MemoryQueueConfig) -> MemoryQueueConfig) -> MemoryQueue {
    MemoryQueue::with_config(change(MemoryQueueConfig::development())).expect("valid")
}

async fn producer(queue: &MemoryQueue) -> Arc<dyn Producer> {
    queue.producer().await.expect("open")
}

async fn consumer(queue: &MemoryQueue, group: &str) -> Arc<dyn Consumer> {
    queue.consumer(group).await.expect("open")
}

async fn subscribe(
    queue: &MemoryQueue,
    group: &str,
    subscription: Subscription,
    handler: Arc<dyn Handler>,
) -> SubscriptionHandle {
    consumer(queue, group)
        .await
        .subscribe(subscription, handler)
        .await
        .expect("valid")
}

/// A message with a key and a number as its payload.
fn numbered(topic: &str, key: &str, number: u64) -> Message {
    Message::new(topic, number.to_string()).with_key(key.to_owned())
}

fn number_of(delivery: &Delivery) -> u64 {
    std::str::from_utf8(&delivery.message.payload)
        .expect("a number")
        .parse()
        .expect("a number")
}

/// What a recorder is told to answer for a delivery.
type Answer = dyn Fn(&Delivery) -> Result<Disposition> + Send + Sync;

/// Remembers every delivery in its order and answers as told.
struct Recorder {
    deliveries: Mutex<Vec<Delivery>>,
    changed: Notify,
    answer: Box<Answer>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Self::answering(|_| Ok(Disposition::Ack))
    }

    fn answering(answer: impl Fn(&Delivery) -> Result<Disposition> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            deliveries: Mutex::default(),
            changed: Notify::new(),
            answer: Box::new(answer),
        })
    }

    fn all(&self) -> Vec<Delivery> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn numbers(&self) -> Vec<u64> {
        self.all().iter().map(number_of).collect()
    }

    /// The numbers of each key, in the order of their deliveries.
    fn by_key(&self) -> HashMap<Vec<u8>, Vec<u64>> {
        let mut keys: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        for delivery in self.all() {
            let key = delivery.message.key.clone().unwrap_or_default().to_vec();
            keys.entry(key).or_default().push(number_of(&delivery));
        }
        keys
    }

    /// Waits until there are so many deliveries.
    async fn reaches(&self, deliveries: usize) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.all().len() >= deliveries {
                    return;
                }
                changed.await;
            }
        };
        let reached = timeout(BOUND, waiting).await;
        assert!(reached.is_ok(), "{} of {deliveries} deliveries", self.all().len());
    }
}

#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(delivery.clone());
        self.changed.notify_waiters();
        (self.answer)(delivery)
    }
}

/// Waits until a condition holds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(BOUND, waiting).await.is_ok(), "{what}");
}

/// What a group has not settled of a topic.
async fn lag(queue: &MemoryQueue, group: &str, topic: &str) -> u64 {
    let admin = queue.admin().await.expect("open");
    let lag = admin.consumer_lag(group, topic).await.expect("known");
    lag.iter().map(|partition| partition.messages).sum()
}
