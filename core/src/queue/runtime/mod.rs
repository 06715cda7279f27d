//! The consumer runtime: what makes the [`Consumer`](super::Consumer) contract true, written once for every broker.
//!
//! A driver implements [`DeliverySource`]; [`ConsumerRuntime`] does the rest: order by key, parallel handling across keys,
//! bounded windows with back-pressure, retries with back-off, dead letters, settlement, rebalances and drains.
//!
//! One task per subscription owns all of its state, so that there is nothing to lock. Handlers run in tasks of their own;
//! a panic ends only its own task. What happens to a message:
//!
//! | the handler | then |
//! |---|---|
//! | answers `Ack` | it is settled |
//! | answers `Retry { after }` | it is delivered again after exactly that delay or later |
//! | fails, panics or runs too long | it is delivered again after the back-off, which doubles with every attempt |
//! | has failed `max_attempts` times, or answers `DeadLetter` | it is stored in the dead-letter topic, then settled |
//! | is stopped by a drain, a rebalance or a dropped handle | it goes back to the group; the attempt does not count |
//!
//! A message is settled only after it was acknowledged or its dead letter is stored, however long the broker is away.
//! This module does I/O only through the source.

mod conclude;
mod control;
mod dead_letter;
mod dispatcher;
mod intake;
mod lanes;
mod metrics;
mod rebalance;
mod settler;
mod source;
mod watermark;
mod work;

pub use control::{RunningSubscription, Subscriptions};
pub use metrics::{DEAD_LETTERS, DURATION, HANDLED, IN_FLIGHT, RETRIES};
pub use source::{
    Acknowledgement, DeliverySource, DeliveryTag, Position, Received, Redelivery, Revocation, Settlement,
    SourceTraits, TopicPartition, Verdict,
};
pub use watermark::Watermark;
pub use work::Work;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::watch;

use self::control::Wish;
use self::dispatcher::Dispatcher;
use super::Subscription;
use crate::telemetry::{Meter, NoMeter};

/// Starts subscriptions for a driver.
///
/// ```no_run
/// # use std::sync::Arc;
/// use infra_core::queue::{Handler, Subscription, SubscriptionHandle};
/// use infra_core::queue::runtime::{ConsumerRuntime, DeliverySource, Work};
///
/// # fn subscribe(source: Arc<dyn DeliverySource>, handler: Arc<dyn Handler>) -> SubscriptionHandle {
/// ConsumerRuntime::new("billing", Subscription::to(["orders"]))
///     .start(source, Work::Each(handler))
///     .handle()
/// # }
/// ```
#[derive(Debug)]
pub struct ConsumerRuntime {
    group: Arc<str>,
    subscription: Subscription,
    meter: Arc<dyn Meter>,
}

impl ConsumerRuntime {
    /// For a subscription that was [validated](Subscription::validate), of this group.
    #[must_use]
    pub fn new(group: impl Into<Arc<str>>, subscription: Subscription) -> Self {
        Self {
            group: group.into(),
            subscription,
            meter: Arc::new(NoMeter),
        }
    }

    /// Records into a meter. Default: nowhere.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Starts the subscription's task; must be called on a tokio runtime.
    ///
    /// The task ends by itself soon after the last reference to what is returned is dropped: it stops the handlers and gives
    /// back what is unsettled.
    #[must_use]
    pub fn start(self, source: Arc<dyn DeliverySource>, work: Work) -> Arc<RunningSubscription> {
        let (wish, wishes) = watch::channel(Wish {
            max_in_flight: self.subscription.max_in_flight,
            stop_by: None,
        });
        let (end, ended) = watch::channel(None);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let running = RunningSubscription::new(wish, ended, in_flight.clone());
        let dispatcher = Dispatcher::new(self, source, work, wishes, in_flight);
        tokio::spawn(async move {
            let outcome = dispatcher.run().await;
            end.send_replace(Some(outcome));
        });
        Arc::new(running)
    }
}
