//! What a broker's driver implements so that the consumer runtime can work for it.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::Result;
use crate::queue::{Delivery, Message};

/// The driver's own name for a message that it handed out; the runtime only gives it back.
///
/// It is wide enough for a channel's epoch and its delivery tag, or for a topic, a partition and an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag(pub u128);

/// A message that the driver hands to the runtime.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// The message; `attempt` is the broker's count where it keeps one, else 1.
    pub delivery: Delivery,
    /// The driver's name for it.
    pub tag: DeliveryTag,
}

impl Received {
    /// Puts the two together.
    #[must_use]
    pub fn new(delivery: Delivery, tag: DeliveryTag) -> Self {
        Self { delivery, tag }
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: u32,
}

impl TopicPartition {
    /// Names a partition.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

/// A position in a log to be stored for the group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// Where.
    pub partition: TopicPartition,
    /// The offset of the next message that the group has to read.
    pub next_offset: u64,
}

impl Position {
    /// Puts a position together.
    #[must_use]
    pub fn new(partition: TopicPartition, next_offset: u64) -> Self {
        Self {
            partition,
            next_offset,
        }
    }
}

/// How a broker is told that a message is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acknowledgement {
    /// One by one (AMQP, this process): the runtime sends [`Settlement::Each`].
    Each,
    /// By a position in each partition's log (Kafka): the runtime sends [`Settlement::Log`], never past an unfinished
    /// message. Every delivery must then have a partition and an offset.
    Log {
        /// How long a position waits at most before it is stored; it is stored at once at a drain and at a rebalance.
        interval: Duration,
    },
}

/// Who keeps a message while it waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redelivery {
    /// The broker: the runtime sends [`Verdict::Redeliver`] and forgets the message. Needs [`Acknowledgement::Each`].
    Broker,
    /// The runtime, in this process; the message stays unsettled meanwhile.
    Consumer,
}

/// What the runtime must know of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceTraits {
    /// How messages are acknowledged.
    pub acknowledgement: Acknowledgement,
    /// Who keeps waiting messages.
    pub redelivery: Redelivery,
}

impl SourceTraits {
    /// Messages are acknowledged one by one.
    #[must_use]
    pub const fn each(redelivery: Redelivery) -> Self {
        Self {
            acknowledgement: Acknowledgement::Each,
            redelivery,
        }
    }

    /// Positions in logs are stored at this interval; waiting messages are kept by the runtime.
    #[must_use]
    pub const fn log(interval: Duration) -> Self {
        Self {
            acknowledgement: Acknowledgement::Log { interval },
            redelivery: Redelivery::Consumer,
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Done with.
    Done,
    /// Deliver it again, not before this delay; the broker counts the attempt.
    Redeliver {
        /// The least delay.
        after: Duration,
    },
    /// It goes back to the group as if this delivery had not been; the attempt does not count.
    Return,
}

/// What the broker is to be told.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Settlement<'a> {
    /// Of a source with [`Acknowledgement::Each`].
    Each(&'a [(DeliveryTag, Verdict)]),
    /// Of a source with [`Acknowledgement::Log`].
    Log(&'a [Position]),
}

/// The broker takes partitions away from this member.
///
/// The runtime lets running handlers finish until the deadline and settles what they answered; then it completes the
/// revocation, which calls the driver's closure. Dropping completes it too.
pub struct Revocation {
    partitions: Vec<TopicPartition>,
    deadline: Instant,
    on_complete: Option<Box<dyn FnOnce() + Send>>,
}

impl Revocation {
    /// Announces that partitions are taken away. `on_complete` is called exactly once, when the runtime is done with
    /// them; it must not block.
    #[must_use]
    pub fn new(
        partitions: Vec<TopicPartition>,
        deadline: Instant,
        on_complete: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self {
            partitions,
            deadline,
            on_complete: Some(Box::new(on_complete)),
        }
    }

    /// The partitions.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// When handlers that still run are stopped.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Says that nothing of these partitions is held any more.
    pub fn complete(self) {
        drop(self);
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        if let Some(on_complete) = self.on_complete.take() {
            on_complete();
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation")
            .field("partitions", &self.partitions)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// One member of a consumer group at a broker: where the runtime gets messages from and settles them.
///
/// The driver reconnects by itself; meanwhile its methods return retryable errors, and the runtime calls again with a
/// growing delay. [`Closed`](crate::ErrorKind::Closed) ends the subscription.
///
/// # Contract
/// - A message that was handed out and neither settled nor given back is handed out again, to this member or another,
///   when this one is closed, dropped or lost.
/// - Between [`DeliverySource::revocation`] and its completion nothing of the revoked partitions is handed out, and
///   nobody else gets messages of them that this member still holds.
/// - A driver that must be polled to stay in its group polls in a task of its own: the runtime stops calling
///   [`DeliverySource::receive`] for as long as its window is full.
#[async_trait]
pub trait DeliverySource: fmt::Debug + Send + Sync + 'static {
    /// How this source is to be treated; never changes.
    fn traits(&self) -> SourceTraits;

    /// Waits for messages and hands out between one and `max` of them.
    ///
    /// # Cancellation
    /// Cancel-safe: a message is either returned or not handed out.
    ///
    /// # Errors
    /// Anything; the runtime tries again, except after [`Closed`](crate::ErrorKind::Closed).
    async fn receive(&self, max: NonZeroUsize) -> Result<Vec<Received>>;

    /// Waits until the broker takes partitions away; never resolves where it does not. Always being polled.
    ///
    /// # Cancellation
    /// Cancel-safe.
    async fn revocation(&self) -> Revocation;

    /// Tells the broker what became of messages. A tag or a partition that this member has lost is ignored, as is a
    /// message that was settled already.
    ///
    /// # Errors
    /// Anything; the runtime repeats the whole settlement until it succeeds, except after
    /// [`Closed`](crate::ErrorKind::Closed).
    async fn settle(&self, settlement: Settlement<'_>) -> Result<()>;

    /// Stores a dead letter; `Ok` means that the broker has it. Where the broker can, `origin` is settled in the same
    /// transaction; the runtime settles it afterwards in any case.
    ///
    /// # Errors
    /// Anything; the runtime repeats it until it succeeds, except after [`Closed`](crate::ErrorKind::Closed).
    async fn dead_letter(&self, origin: DeliveryTag, letter: Message) -> Result<()>;

    /// Hands out nothing of these partitions until they are resumed. Does nothing where there are none.
    fn pause(&self, partitions: &[TopicPartition]);

    /// Takes a pause back.
    fn resume(&self, partitions: &[TopicPartition]);

    /// Says how many messages the runtime is going to hold, for brokers that push (a prefetch count).
    fn set_window(&self, messages: NonZeroU32);

    /// Leaves the group; everything unsettled goes back to it. Called once, at the end.
    ///
    /// # Errors
    /// What the broker answered; the subscription ends all the same.
    async fn close(&self) -> Result<()>;
}

crate::assert_object_safe!(DeliverySource);
