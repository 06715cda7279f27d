//! What the scenarios of queues stand on: a topic of their own, members of groups, and a record of what these were given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::error::Result;
use infra_core::queue::{
    Consumer, Delivery, Disposition, Handler, Message, MessageQueue, Producer, Receipt, Subscription,
    SubscriptionHandle, TopicAdmin, TopicSpec, handler_fn,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::conformance::{Failure, Harness, Outcome, Premise, TimeControl};

/// The harness of this family.
pub(super) type Queues = Harness<dyn MessageQueue>;

/// Longer than any scenario lasts: how long a handler takes that is to be stopped.
pub(super) const FAR: Duration = Duration::from_secs(3600);

/// One of two durations: on a paused clock, and where waiting costs time.
pub(super) fn either(harness: &Queues, paused: Duration, real: Duration) -> Duration {
    match harness.time() {
        TimeControl::Virtual => paused,
        TimeControl::Real => real,
    }
}

/// How long anything that must happen may take.
pub(super) fn bound(harness: &Queues) -> Duration {
    either(harness, Duration::from_secs(120), Duration::from_secs(30))
}

/// How long one handling of a slow handler takes.
pub(super) fn a_while(harness: &Queues) -> Duration {
    either(harness, Duration::from_secs(1), Duration::from_millis(300))
}

/// Lets so much time pass that what must not happen would have happened.
pub(super) async fn quiet(harness: &Queues) {
    let enough = either(harness, Duration::from_secs(30), Duration::from_secs(1));
    harness.pass(enough).await;
}

/// A connected client with a producer, administration and a topic of its own.
pub(super) struct Ground<'h> {
    pub(super) harness: &'h Queues,
    pub(super) queue: Arc<dyn MessageQueue>,
    pub(super) producer: Arc<dyn Producer>,
    pub(super) admin: Arc<dyn TopicAdmin>,
    pub(super) topic: String,
}

/// A running subscription and the consumer that started it.
pub(super) struct Member {
    pub(super) consumer: Arc<dyn Consumer>,
    pub(super) handle: SubscriptionHandle,
}

impl<'h> Ground<'h> {
    pub(super) async fn new(harness: &'h Queues) -> Result<Self, Failure> {
        let queue = harness.client().await?;
        let producer = queue.producer().await.premise("the queue gives a producer")?;
        let admin = queue.admin().await.premise("the queue gives administration")?;
        let topic = harness.name("topic");
        create(&*admin, &topic).await?;
        Ok(Self {
            harness,
            queue,
            producer,
            admin,
            topic,
        })
    }

    /// One more topic.
    pub(super) async fn topic(&self, suffix: &str) -> Result<String, Failure> {
        let topic = self.harness.name(suffix);
        create(&*self.admin, &topic).await?;
        Ok(topic)
    }

    /// A subscription to the topic whose failed messages come back soon.
    pub(super) fn plan(&self) -> Subscription {
        plan_for(&self.topic)
    }

    pub(super) async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>, Failure> {
        let group = self.harness.name(group);
        self.queue
            .consumer(&group)
            .await
            .premise("the queue gives a consumer")
    }

    /// A new member of the group.
    pub(super) async fn join(
        &self,
        group: &str,
        subscription: Subscription,
        handler: Arc<dyn Handler>,
    ) -> Result<Member, Failure> {
        let consumer = self.consumer(group).await?;
        let handle = consumer
            .subscribe(subscription, handler)
            .await
            .premise("a member subscribes")?;
        Ok(Member { consumer, handle })
    }

    /// The topic's dead letters from now on.
    pub(super) async fn letters(&self, suffix: &str) -> Result<(Seen, Member), Failure> {
        let topic = format!("{}{suffix}", self.topic);
        create(&*self.admin, &topic).await?;
        let seen = Seen::default();
        let member = self.join("letters", plan_for(&topic), seen.acking()).await?;
        Ok((seen, member))
    }

    /// A message without a key.
    pub(super) fn message(&self, text: &str) -> Message {
        Message::new(self.topic.as_str(), text.to_owned())
    }

    pub(super) fn keyed(&self, key: &str, text: &str) -> Message {
        self.message(text).with_key(key.to_owned())
    }

    pub(super) async fn send(&self, message: Message) -> Result<Receipt, Failure> {
        self.producer.send(message).await.premise("a message is sent")
    }

    /// Sends the numbers of the range, each under a key of its own.
    pub(super) async fn send_numbers(&self, numbers: std::ops::Range<u32>) -> Outcome {
        for number in numbers {
            self.send(self.keyed(&format!("key{number}"), &number.to_string()))
                .await?;
        }
        Ok(())
    }

    /// Sends a message, again and again while the broker cannot be reached.
    pub(super) async fn send_stubbornly(&self, message: Message) -> Outcome {
        let until = Instant::now() + bound(self.harness);
        loop {
            match self.producer.send(message.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() && Instant::now() < until => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the group has not settled of the topic.
    pub(super) async fn lag(&self, group: &str) -> Result<u64, Failure> {
        let group = self.harness.name(group);
        let lag = self.admin.consumer_lag(&group, &self.topic).await?;
        Ok(lag.iter().map(|partition| partition.messages).sum())
    }

    /// Waits until the group has settled everything.
    pub(super) async fn settled(&self, group: &str) -> Outcome {
        let harness = self.harness;
        harness
            .eventually(bound(harness), "everything is settled", async || {
                matches!(self.lag(group).await, Ok(0))
            })
            .await
    }

    /// Whether the topic has several partitions, which members can share.
    pub(super) async fn has_several_partitions(&self) -> Result<bool, Failure> {
        let described = self.admin.describe_topic(&self.topic).await;
        let info = described.premise("the topic is described")?;
        Ok(info.is_some_and(|info| info.partitions.len() > 1))
    }
}

/// Creates a topic that may be there already.
async fn create(admin: &dyn TopicAdmin, topic: &str) -> Outcome {
    match admin.create_topic(TopicSpec::new(topic)).await {
        Err(error) if error.kind() == infra_core::ErrorKind::AlreadyExists => Ok(()),
        created => created.premise("a topic is created"),
    }
}

/// A subscription whose failed messages come back soon.
pub(super) fn plan_for(topic: &str) -> Subscription {
    let soon = Duration::from_millis(20);
    Subscription::to([topic]).with_backoff(soon, soon)
}

/// What a member, or several, were given: deliveries in the order in which their handling began.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Record>);

#[derive(Debug, Default)]
struct Record {
    deliveries: Mutex<Vec<(Instant, Delivery)>>,
    changed: Notify,
}

impl Seen {
    pub(super) fn note(&self, delivery: &Delivery) {
        self.lock().push((Instant::now(), delivery.clone()));
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Delivery)>> {
        self.0.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, of: impl Fn(&(Instant, Delivery)) -> T) -> Vec<T> {
        self.lock().iter().map(of).collect()
    }

    pub(super) fn all(&self) -> Vec<Delivery> {
        self.read(|(_, delivery)| delivery.clone())
    }

    pub(super) fn times(&self) -> Vec<Instant> {
        self.read(|(at, _)| *at)
    }

    /// The payloads, in order.
    pub(super) fn texts(&self) -> Vec<String> {
        self.read(|(_, delivery)| text_of(delivery))
    }

    /// The payloads, sorted, each once.
    pub(super) fn distinct(&self) -> Vec<String> {
        let mut texts = self.texts();
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Waits until there are so many deliveries.
    pub(super) async fn reach(&self, harness: &Queues, count: usize) -> Outcome {
        let what = format!("{count} deliveries");
        self.until(harness, &what, || self.count() >= count).await
    }

    /// Waits until the deliveries are such that the condition holds.
    pub(super) async fn until(&self, harness: &Queues, what: &str, condition: impl Fn() -> bool) -> Outcome {
        let holds = async {
            loop {
                let changed = self.0.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition() {
                    return;
                }
                changed.await;
            }
        };
        let bound = bound(harness);
        if tokio::time::timeout(bound, holds).await.is_ok() {
            return Ok(());
        }
        let count = self.count();
        Err(Failure::broken(format!(
            "{what}: not within {bound:?}; there were {count} deliveries"
        )))
    }

    /// The only delivery, once it is there.
    pub(super) async fn only(&self, harness: &Queues) -> Result<Delivery, Failure> {
        self.reach(harness, 1).await.premise("the message is delivered")?;
        let mut all = self.all();
        all.pop().premise("there is a delivery")
    }

    /// A handler that notes and acknowledges.
    pub(super) fn acking(&self) -> Arc<dyn Handler> {
        self.answering(|_| Ok(Disposition::Ack))
    }

    /// A handler that notes and answers so.
    pub(super) fn answering(
        &self,
        answer: impl Fn(&Delivery) -> Result<Disposition> + Send + Sync + 'static,
    ) -> Arc<dyn Handler> {
        let seen = self.clone();
        handler_fn(move |delivery| {
            seen.note(&delivery);
            std::future::ready(answer(&delivery))
        })
    }

    /// A handler that notes, takes so long, notes in `done`, and acknowledges.
    pub(super) fn taking(&self, duration: Duration, done: &Self) -> Arc<dyn Handler> {
        let (seen, done) = (self.clone(), done.clone());
        handler_fn(move |delivery| {
            let (seen, done) = (seen.clone(), done.clone());
            async move {
                seen.note(&delivery);
                sleep(duration).await;
                done.note(&delivery);
                Ok(Disposition::Ack)
            }
        })
    }

    /// A handler that notes and acknowledges, but not before the gate is open.
    pub(super) fn behind(&self, gate: &Gate, closed_for: fn(&Delivery) -> bool) -> Arc<dyn Handler> {
        self.answering_behind(gate, closed_for, Disposition::Ack)
    }

    /// A handler that notes and answers so, but not before the gate is open.
    pub(super) fn answering_behind(
        &self,
        gate: &Gate,
        closed_for: fn(&Delivery) -> bool,
        answer: Disposition,
    ) -> Arc<dyn Handler> {
        let (seen, gate) = (self.clone(), gate.clone());
        handler_fn(move |delivery| {
            let (seen, gate, answer) = (seen.clone(), gate.clone(), answer.clone());
            async move {
                seen.note(&delivery);
                while closed_for(&delivery) && !gate.is_open() {
                    sleep(Duration::from_millis(5)).await;
                }
                Ok(answer)
            }
        })
    }
}

/// Holds handlers back until it is opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(super) fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(super) fn text_of(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.payload).into_owned()
}

/// The numbers of the range as texts, sorted as texts.
pub(super) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    let mut numbers: Vec<String> = range.map(|number| number.to_string()).collect();
    numbers.sort_unstable();
    numbers
}
