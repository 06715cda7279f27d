//! Consumers, handlers, and what a handler answers.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::Message;
use super::prepare::check_topic;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::capability::Limits;
use crate::config::{HotReload, Problems, Validate};
use crate::error::{Error, Result};

/// What a handler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// Done with it.
    Ack,
    /// Deliver it again, not before this delay. Counts as an attempt.
    Retry {
        /// The least delay.
        after: Duration,
    },
    /// Put it into the dead-letter topic now.
    DeadLetter {
        /// Why; becomes a header.
        reason: String,
    },
}

/// A message that is being handled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The consumer group.
    pub group: Arc<str>,
    /// Which delivery this is, from 1. The broker's count survives a restart of the consumer where it keeps one.
    pub attempt: NonZeroU32,
    /// The partition, where the broker has partitions.
    pub partition: Option<u32>,
    /// The position in the partition, where the broker has one.
    pub offset: Option<u64>,
    /// When the broker took the message, where it says so.
    pub sent_at: Option<SystemTime>,
}

impl Delivery {
    /// A first delivery, for backends and tests.
    #[must_use]
    pub fn new(message: Message, group: impl Into<Arc<str>>) -> Self {
        Self {
            message,
            group: group.into(),
            attempt: NonZeroU32::MIN,
            partition: None,
            offset: None,
            sent_at: None,
        }
    }

    /// The same delivery with its attempt number.
    #[must_use]
    pub fn with_attempt(mut self, attempt: NonZeroU32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The same delivery with its place in the log.
    #[must_use]
    pub fn with_position(mut self, partition: u32, offset: u64) -> Self {
        self.partition = Some(partition);
        self.offset = Some(offset);
        self
    }
}

/// Handles messages, one at a time per key, many at a time across keys.
///
/// An `Err`, a panic and running beyond the handler timeout count as [`Disposition::Retry`] with the subscription's
/// back-off (or with the delay that the error asks for, if it is longer). The handler's future runs under the trace context
/// of the message, or a fresh one, inside a `tracing` span.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles a message.
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition>;
}

crate::assert_object_safe!(Handler);

/// Handles several messages at once; they belong to distinct keys or come in the order of their key.
#[async_trait]
pub trait BatchHandler: Send + Sync + 'static {
    /// Handles messages and answers for each, in their order. An `Err`, a panic or a wrong number of answers counts as a
    /// retry of all of them.
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>>;
}

crate::assert_object_safe!(BatchHandler);

/// Makes a [`Handler`] of an async closure.
///
/// ```
/// use infra_core::queue::{Disposition, handler_fn};
///
/// let handler = handler_fn(|delivery| async move {
///     tracing::info!(topic = delivery.message.topic, "a message came");
///     Ok(Disposition::Ack)
/// });
/// # let _: std::sync::Arc<dyn infra_core::queue::Handler> = handler;
/// ```
#[must_use]
pub fn handler_fn<F, R>(function: F) -> Arc<dyn Handler>
where
    F: Fn(Delivery) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Disposition>> + Send + 'static,
{
    Arc::new(FunctionHandler(function))
}

struct FunctionHandler<F>(F);

#[async_trait]
impl<F, R> Handler for FunctionHandler<F>
where
    F: Fn(Delivery) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Disposition>> + Send + 'static,
{
    async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        (self.0)(delivery.clone()).await
    }
}

/// Where a group begins that has no position yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Start {
    /// With the oldest message that the broker has.
    #[default]
    Earliest,
    /// With messages sent from now on.
    Latest,
}

/// What a consumer subscribes to, and how it works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The topics.
    pub topics: Vec<String>,
    /// Where a new group begins. Default: the oldest message.
    pub start: Start,
    /// The most messages that this member holds at the same time, in handlers and fetched ahead for them. Those that wait
    /// for their next attempt do not count. Default: 64.
    pub max_in_flight: NonZeroU32,
    /// After so many failed deliveries a message goes to the dead-letter topic. Default: 5.
    pub max_attempts: NonZeroU32,
    /// The delay before the second delivery of a failed message; it doubles up to `max_backoff`, and up to a quarter is
    /// added at random. Default: 100 ms.
    pub backoff: Duration,
    /// The longest delay between deliveries of a failed message. Default: 30 s.
    pub max_backoff: Duration,
    /// A handler that runs longer has failed (its future is dropped). Default: 5 min.
    pub handler_timeout: Duration,
    /// The suffix of the dead-letter topic. Default: `.dlq`.
    pub dead_letter_suffix: String,
}

impl Subscription {
    /// Subscribes to these topics with the defaults.
    #[must_use]
    pub fn to<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self {
            topics: topics.into_iter().map(Into::into).collect(),
            start: Start::Earliest,
            max_in_flight: const { NonZeroU32::new(64).unwrap() },
            max_attempts: const { NonZeroU32::new(5).unwrap() },
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
            handler_timeout: Duration::from_secs(300),
            dead_letter_suffix: ".dlq".to_owned(),
        }
    }

    /// Sets where a new group begins.
    #[must_use]
    pub fn with_start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets how many messages are handled at the same time.
    #[must_use]
    pub fn with_max_in_flight(mut self, messages: NonZeroU32) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Sets after how many failed deliveries a message is given up.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the delays between deliveries of a failed message.
    #[must_use]
    pub fn with_backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = first;
        self.max_backoff = max;
        self
    }

    /// Sets how long a handler may run.
    #[must_use]
    pub fn with_handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// Sets what is appended to a topic's name to get its dead-letter topic.
    #[must_use]
    pub fn with_dead_letter_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.dead_letter_suffix = suffix.into();
        self
    }

    /// Refuses what no broker could do; every backend calls this before it subscribes.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for no topic, a bad one or the same one twice, for a
    /// dead-letter suffix that is empty (a dead letter would come back) or too long, for a longest back-off below the
    /// first, and for a handler that may not run at all.
    pub fn validate(&self, limits: &Limits) -> Result<()> {
        if self.topics.is_empty() {
            return Err(Error::invalid_argument(
                "the subscription names no topic; give at least one",
            ));
        }
        for (index, topic) in self.topics.iter().enumerate() {
            check_topic(topic, limits)?;
            check_topic(&format!("{topic}{}", self.dead_letter_suffix), limits)
                .map_err(|error| error.context("the name of the dead-letter topic"))?;
            if self.topics[..index].contains(topic) {
                return Err(Error::invalid_argument(format!(
                    "the subscription names topic {topic:?} twice; name it once"
                )));
            }
        }
        if self.dead_letter_suffix.is_empty() {
            return Err(Error::invalid_argument(
                "the dead-letter suffix is empty, so that dead letters would be delivered again; use \".dlq\"",
            ));
        }
        if self.max_backoff < self.backoff {
            return Err(Error::invalid_argument(format!(
                "the longest back-off ({:?}) is shorter than the first ({:?})",
                self.max_backoff, self.backoff
            )));
        }
        if self.handler_timeout.is_zero() {
            return Err(Error::invalid_argument(
                "the handler timeout is zero; give the handler some time",
            ));
        }
        Ok(())
    }
}

/// A member of a consumer group.
///
/// # Contract
/// - Every group gets every message of its topics; the members of a group share them.
/// - Messages of one key are handled one after the other, in order among first deliveries; keys do not wait for each other,
///   and a message that waits for its next attempt holds up nothing.
/// - A message is settled only after it was acknowledged or is safely in the dead-letter topic; what was not settled is
///   delivered again after a crash.
/// - In-flight messages are bounded; fetching pauses at the bound.
#[crate::intercept(component = "consumer")]
#[async_trait]
pub trait Consumer: Backend {
    /// Starts handling; returns as soon as the subscription stands.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for no topic or a bad one.
    async fn subscribe(
        &self,
        subscription: Subscription,
        handler: Arc<dyn Handler>,
    ) -> Result<SubscriptionHandle>;

    /// Starts handling in batches of at most `max_batch` messages, waiting at most `max_wait` for a batch to fill.
    ///
    /// # Errors
    /// As [`Consumer::subscribe`].
    async fn subscribe_batch(
        &self,
        subscription: Subscription,
        max_batch: NonZeroU32,
        max_wait: Duration,
        handler: Arc<dyn BatchHandler>,
    ) -> Result<SubscriptionHandle>;
}

crate::assert_object_safe!(Consumer);

/// What the consumer runtime does for one subscription.
#[async_trait]
pub trait SubscriptionKeeper: fmt::Debug + Send + Sync + 'static {
    /// Stops fetching, lets running handlers finish until the deadline, settles what they answered.
    async fn drain(&self, deadline: Duration) -> Result<()>;

    /// Stops at once, without blocking; unsettled messages go back to the group.
    fn abandon(&self);

    /// Changes how many messages are handled at the same time.
    fn set_max_in_flight(&self, messages: NonZeroU32);

    /// How many messages are being handled or wait for their next attempt here.
    fn in_flight(&self) -> usize;
}

/// How much a subscription does at the same time: the part of it that may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Concurrency {
    /// The most messages that this member holds at the same time; at most 65 535.
    pub max_in_flight: NonZeroU32,
}

impl Concurrency {
    /// So many messages at the same time.
    #[must_use]
    pub const fn new(max_in_flight: NonZeroU32) -> Self {
        Self { max_in_flight }
    }
}

impl Validate for Concurrency {
    /// Finds more messages than a broker can be asked to send ahead.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.max_in_flight.get() <= u32::from(u16::MAX),
            "max_in_flight",
            "must be at most 65535",
        );
    }
}

/// A running subscription. Dropping it stops at once; unsettled messages go back to the group.
#[derive(Debug)]
pub struct SubscriptionHandle {
    keeper: Arc<dyn SubscriptionKeeper>,
}

impl SubscriptionHandle {
    /// Wraps what runs the subscription, for the runtime.
    #[must_use]
    pub fn new(keeper: Arc<dyn SubscriptionKeeper>) -> Self {
        Self { keeper }
    }

    /// Stops fetching and lets running handlers finish.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) says how many handlers were still running at the deadline; they were stopped,
    /// and their messages are delivered again.
    ///
    /// # Cancellation
    /// Dropping the future stops the subscription at once, as dropping the handle does.
    pub async fn drain(self, deadline: Duration) -> Result<()> {
        // `drop` abandons what is left, however this future ends.
        self.keeper.drain(deadline).await
    }

    /// Changes how many messages are handled at the same time; takes effect at once.
    pub fn set_max_in_flight(&self, messages: NonZeroU32) {
        self.keeper.set_max_in_flight(messages);
    }

    /// How much is done at the same time as a hot-reloaded value, to follow a key of the config centre, by custom
    /// `consumers/{group}.json`: `{"max_in_flight": 32}`. Its default is what the subscription began with.
    ///
    /// No message is dropped or delivered again for a change: more are fetched at once, or none until there is room. It ends with
    /// the subscription, and does not keep it running.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use infra_core::Result;
    /// # use infra_core::config::Following;
    /// # use infra_core::coordination::ConfigCenter;
    /// # use infra_core::queue::{Concurrency, Consumer, Handler, Subscription, SubscriptionHandle};
    /// # async fn start(
    /// #     consumer: &dyn Consumer,
    /// #     handler: Arc<dyn Handler>,
    /// #     config_center: Arc<dyn ConfigCenter>,
    /// # ) -> Result<(SubscriptionHandle, Following)> {
    /// let subscription = Subscription::to(["orders"]);
    /// let default = Concurrency::new(subscription.max_in_flight);
    /// let handle = consumer.subscribe(subscription, handler).await?;
    /// let following = handle
    ///     .hot_reload(default)?
    ///     .follow(config_center, "consumers/billing.json")
    ///     .await?;
    /// # Ok((handle, following))
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for a default that is not valid.
    pub fn hot_reload(&self, default: Concurrency) -> Result<HotReload<Concurrency>> {
        let keeper = Arc::downgrade(&self.keeper);
        HotReload::applying(default, move |concurrency: &Concurrency| {
            if let Some(keeper) = keeper.upgrade() {
                keeper.set_max_in_flight(concurrency.max_in_flight);
            }
            Ok(())
        })
    }

    /// How many messages are being handled or wait for their next attempt here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.keeper.in_flight()
    }
}

impl Drop for SubscriptionHandle {
    fn drop(&mut self) {
        self.keeper.abandon();
    }
}
