//! The cases of the queue: producers, subscriptions, administration.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::queue::{
    BatchHandler, Delivery, Disposition, Handler, Message, MessageQueue, Producer, ProducerExt, Subscription,
    SubscriptionHandle, TopicAdmin, TopicSpec,
};
use infra_core::{ErrorKind, Result, async_trait};
use tokio::time::sleep;

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome};
use crate::time::eventually;
use crate::unique;

/// How long a handler works.
const MOMENT: Duration = Duration::from_millis(20);

/// No message takes longer.
const BOUND: Duration = Duration::from_secs(60);

/// A queue with a topic that holds one message, and one that nobody reads.
#[derive(Debug)]
pub struct QueueGround {
    route: Route,
    bare: Arc<dyn MessageQueue>,
    producer: Arc<dyn Producer>,
    admin: Arc<dyn TopicAdmin>,
    bare_admin: Arc<dyn TopicAdmin>,
    topic: String,
}

impl QueueGround {
    /// Makes a topic in `bare`, whose clients will be called over `route`.
    ///
    /// # Errors
    /// The backend's.
    pub async fn new(bare: Arc<dyn MessageQueue>, route: Route) -> Result<Self, Failure> {
        let (producer, admin) = (bare.producer().await?, bare.admin().await?);
        let topic = unique("cancel");
        admin.create_topic(TopicSpec::new(&topic)).await?;
        producer.send(Message::new(&topic, "0").with_key("k")).await?;
        Ok(Self {
            producer: route.stack().wrap(producer),
            admin: route.stack().wrap(admin.clone()),
            bare_admin: admin,
            route,
            bare,
            topic,
        })
    }

    fn message(&self) -> Message {
        Message::new(&self.topic, "1").with_key("k")
    }

    fn subscription(&self) -> Subscription {
        Subscription::to([self.topic.as_str()]).with_backoff(MOMENT / 4, MOMENT)
    }

    async fn subscribe(&self, handler: Arc<Counting>) -> Result<SubscriptionHandle> {
        let consumer = self.bare.consumer("workers").await?;
        consumer.subscribe(self.subscription(), handler).await
    }

    /// Sends one message and waits until the group has settled everything: if a member that was given up still held a partition, this
    /// would not end.
    async fn work_off(&self, batches: bool) -> Outcome {
        let counting = Arc::new(Counting::default());
        let consumer = self.bare.consumer("workers").await?;
        let subscribed = if batches {
            let two = NonZeroU32::MIN.saturating_add(1);
            consumer
                .subscribe_batch(self.subscription(), two, MOMENT, counting.clone())
                .await?
        } else {
            consumer.subscribe(self.subscription(), counting.clone()).await?
        };
        let sent = self.bare.producer().await?.send(self.message()).await?;
        let settled = eventually(BOUND, async || {
            let lag = self.bare_admin.consumer_lag("workers", &sent.topic).await;
            lag.is_ok_and(|lag| lag.iter().all(|partition| partition.messages == 0))
        })
        .await;
        check!(
            settled,
            "the group did not settle its messages: somebody holds them"
        );
        drop(subscribed);
        Ok(())
    }

    /// Drains while a handler is at work.
    async fn drain(&self) -> Outcome {
        let counting = Arc::new(Counting::default());
        let subscribed = self.subscribe(counting.clone()).await?;
        self.bare.producer().await?.send(self.message()).await?;
        eventually(BOUND, || std::future::ready(counting.begun() > 0)).await;
        subscribed.drain(BOUND).await?;
        check!(
            counting.begun() == counting.ended(),
            "a drain left handlers at work"
        );
        Ok(())
    }

    /// The clients close while they have something to do.
    async fn shut_clients_down(&self) -> Outcome {
        let counting = Arc::new(Counting::default());
        let consumer = self.bare.consumer("workers").await?;
        let _subscribed = consumer.subscribe(self.subscription(), counting).await?;
        let producer = self.bare.producer().await?;
        producer.send(self.message()).await?;
        producer.shutdown(BOUND).await?;
        consumer.shutdown(BOUND).await?;
        Ok(())
    }

    async fn create_topic(&self) -> Outcome {
        let answer = self
            .admin
            .create_topic(TopicSpec::new(format!("{}new", self.topic)))
            .await;
        match answer {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Works for a moment and counts.
#[derive(Debug, Default)]
struct Counting {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Counting {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    async fn work(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        sleep(MOMENT).await;
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, _: &Delivery) -> Result<Disposition> {
        self.work().await;
        Ok(Disposition::Ack)
    }
}

#[async_trait]
impl BatchHandler for Counting {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        self.work().await;
        Ok(vec![Disposition::Ack; deliveries.len()])
    }
}

impl Ground for QueueGround {
    /// The topics of this ground. What is in them is not: at least once is all that is promised of a send that was given up.
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async move {
            let topics = self.bare_admin.list_topics().await?;
            let ours = topics.iter().filter_map(|topic| topic.strip_prefix(&self.topic));
            let mut ours: Vec<_> = ours.collect();
            ours.sort_unstable();
            Ok(format!("topics {ours:?}"))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move { self.bare.shutdown(Duration::from_secs(5)).await })
    }
}

/// Every operation of the queue.
#[must_use]
pub fn cases() -> Vec<Case<QueueGround>> {
    let mut all = producers();
    all.extend(consumers());
    all.extend(administration());
    all
}

fn producers() -> Vec<Case<QueueGround>> {
    cases![
        "MessageQueue::producer" => |g| g.bare.producer().await?,
        "Producer::send" => |g| g.producer.send(g.message()).await?,
        "Producer::enqueue" => |g| g.producer.enqueue(g.message()).await?.await?,
        "Producer::send_batch" => |g| g.producer.send_batch(vec![g.message(), g.message()]).await?,
        "Producer::flush" => |g| g.producer.flush(BOUND).await?,
        "ProducerExt::send_detached" => |g| g.producer.send_detached(g.message(), |_| ()).await?,
        "Backend::health (of a queue)" => |g| g.bare.health().await?,
    ]
}

fn consumers() -> Vec<Case<QueueGround>> {
    cases![
        "MessageQueue::consumer" => |g| g.bare.consumer("workers").await?,
        "Consumer::subscribe" => |g| g.work_off(false).await?,
        "Consumer::subscribe_batch" => |g| g.work_off(true).await?,
        "SubscriptionHandle::drain" => |g| g.drain().await?,
        "Backend::shutdown (of a producer and a consumer)" => |g| g.shut_clients_down().await?,
    ]
}

fn administration() -> Vec<Case<QueueGround>> {
    cases![
        "MessageQueue::admin" => |g| g.bare.admin().await?,
        "TopicAdmin::create_topic" => |g| g.create_topic().await?,
        "TopicAdmin::delete_topic" => |g| g.admin.delete_topic(&g.topic).await?,
        "TopicAdmin::list_topics" => |g| g.admin.list_topics().await?,
        "TopicAdmin::describe_topic" => |g| g.admin.describe_topic(&g.topic).await?,
        "TopicAdmin::consumer_lag" => |g| {
            match g.admin.consumer_lag("nobody", &g.topic).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        },
    ]
}
