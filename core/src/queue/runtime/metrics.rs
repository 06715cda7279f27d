//! The metrics of a subscription: handles bound once per topic, recorded without look-ups.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::work::Outcome;
use crate::telemetry::{Counter, Descriptor, Histogram, Meter, Unit, UpDownCounter};

/// Messages that this process holds: queued for a handler, being handled, or waiting here for their next attempt.
pub const IN_FLIGHT: Descriptor = Descriptor::new(
    "queue.consumer.in_flight",
    "Messages that consumers of this process hold and have not settled.",
    Unit::Count,
);
/// Handled messages, by `disposition` (`ack`, `retry`, `dead_letter`).
pub const HANDLED: Descriptor = Descriptor::new(
    "queue.consumer.handled",
    "Messages that a handler has answered or failed on, by disposition.",
    Unit::Count,
);
/// How long handlers ran.
pub const DURATION: Descriptor = Descriptor::new(
    "queue.consumer.handler.duration",
    "How long handlers ran.",
    Unit::Seconds,
);
/// Further deliveries that were asked for.
pub const RETRIES: Descriptor = Descriptor::new(
    "queue.consumer.retries",
    "Messages that will be delivered another time.",
    Unit::Count,
);
/// Messages in the dead-letter topic.
pub const DEAD_LETTERS: Descriptor = Descriptor::new(
    "queue.consumer.dead_letters",
    "Messages that were stored in a dead-letter topic.",
    Unit::Count,
);

/// The handles of one topic.
pub(super) struct TopicMetrics {
    in_flight: Arc<dyn UpDownCounter>,
    /// What this subscription has added to the counter, which it shares with others.
    shown: i64,
    ack: Arc<dyn Counter>,
    retry: Arc<dyn Counter>,
    dead_letter: Arc<dyn Counter>,
    duration: Arc<dyn Histogram>,
    retries: Arc<dyn Counter>,
    dead_letters: Arc<dyn Counter>,
}

impl fmt::Debug for TopicMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TopicMetrics")
    }
}

impl TopicMetrics {
    pub(super) fn new(meter: &dyn Meter, topic: &str, group: &str) -> Self {
        let labels = [("topic", topic), ("group", group)];
        let handled = |disposition| {
            meter.counter(
                &HANDLED,
                &[("topic", topic), ("group", group), ("disposition", disposition)],
            )
        };
        Self {
            in_flight: meter.up_down_counter(&IN_FLIGHT, &labels),
            shown: 0,
            ack: handled("ack"),
            retry: handled("retry"),
            dead_letter: handled("dead_letter"),
            duration: meter.histogram(&DURATION, &labels),
            retries: meter.counter(&RETRIES, &labels),
            dead_letters: meter.counter(&DEAD_LETTERS, &labels),
        }
    }

    /// Messages came to be held, or (negative) are held no more.
    pub(super) fn held(&mut self, difference: i64) {
        self.in_flight.add(difference);
        self.shown += difference;
    }

    pub(super) fn handled(&self, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Ack => self.ack.add(1),
            Outcome::Retry { .. } => self.retry.add(1),
            Outcome::DeadLetter { .. } => self.dead_letter.add(1),
        }
        self.duration.record(took.as_secs_f64());
    }

    pub(super) fn retried(&self) {
        self.retries.add(1);
    }

    pub(super) fn dead_lettered(&self) {
        self.dead_letters.add(1);
    }
}

/// However a subscription ends, the shared counter does not keep its messages.
impl Drop for TopicMetrics {
    fn drop(&mut self) {
        if self.shown != 0 {
            self.in_flight.add(-self.shown);
        }
    }
}
