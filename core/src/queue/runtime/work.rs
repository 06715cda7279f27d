//! Running a handler: under the trace of its message, bounded in time, its answer turned into an outcome.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Instrument as _;

use crate::error::{Error, Result};
use crate::queue::prepare::trace_context_of;
use crate::queue::{BatchHandler, Delivery, Disposition, Handler, Subscription};
use crate::telemetry::{TraceContext, with_trace_context};

/// The longest reason that a dead letter carries, in bytes.
const MAX_REASON_BYTES: usize = 1024;

/// What a subscription does with its messages.
#[derive(Clone)]
#[non_exhaustive]
pub enum Work {
    /// Handles one by one.
    Each(Arc<dyn Handler>),
    /// Handles several together.
    Batch {
        /// The handler.
        handler: Arc<dyn BatchHandler>,
        /// The most messages of a batch.
        max_batch: NonZeroU32,
        /// How long a batch waits to fill.
        max_wait: Duration,
    },
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(_) => f.write_str("Each"),
            Self::Batch {
                max_batch, max_wait, ..
            } => f
                .debug_struct("Batch")
                .field("max_batch", max_batch)
                .field("max_wait", max_wait)
                .finish_non_exhaustive(),
        }
    }
}

/// What handling a message came to.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Ack,
    /// Again, after the handler's own delay or the subscription's back-off.
    Retry {
        after: Option<Duration>,
        /// A delay that the back-off must not fall below.
        at_least: Duration,
        reason: Arc<str>,
    },
    DeadLetter {
        reason: Arc<str>,
    },
}

impl Outcome {
    pub(super) fn failed(reason: impl Into<Arc<str>>) -> Self {
        Self::Retry {
            after: None,
            at_least: Duration::ZERO,
            reason: reason.into(),
        }
    }

    fn of_error(error: &Error) -> Self {
        Self::Retry {
            after: None,
            at_least: error.retry_after().unwrap_or_default(),
            reason: truncated(&error.to_string()).into(),
        }
    }

    fn of(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Ack => Self::Ack,
            Disposition::Retry { after } => Self::Retry {
                after: Some(after),
                at_least: Duration::ZERO,
                reason: "the handler asked for another attempt".into(),
            },
            Disposition::DeadLetter { reason } => Self::DeadLetter {
                reason: truncated(&reason).into(),
            },
        }
    }
}

/// Runs the handler on messages; one outcome for each, in their order. A panic passes through.
pub(super) async fn perform(work: Work, deliveries: Arc<Vec<Delivery>>, limit: Duration) -> Vec<Outcome> {
    let count = deliveries.len();
    let handled = match &work {
        Work::Each(handler) => perform_each(handler.as_ref(), &deliveries, limit).await,
        Work::Batch { handler, .. } => perform_batch(handler.as_ref(), &deliveries, limit).await,
    };
    match handled {
        Ok(dispositions) if dispositions.len() == count => {
            dispositions.into_iter().map(Outcome::of).collect()
        }
        Ok(dispositions) => {
            let wrong = format!(
                "the batch handler gave {} answers for {count} messages",
                dispositions.len()
            );
            vec![Outcome::failed(wrong); count]
        }
        Err(error) => vec![Outcome::of_error(&error); count],
    }
}

async fn perform_each(
    handler: &dyn Handler,
    deliveries: &[Delivery],
    limit: Duration,
) -> Result<Vec<Disposition>> {
    let mut dispositions = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let span = tracing::info_span!(
            "queue.handle",
            otel.kind = "consumer",
            messaging.destination.name = %delivery.message.topic,
            messaging.consumer.group.name = %delivery.group,
            messaging.message.attempt = delivery.attempt.get(),
        );
        let context = trace_context_of(&delivery.message).unwrap_or_else(fresh_trace);
        let handling = timeout(limit, handler.handle(delivery)).instrument(span);
        let disposition = with_trace_context(context, handling)
            .await
            .unwrap_or_else(|_| Err(overdue(limit)))?;
        dispositions.push(disposition);
    }
    Ok(dispositions)
}

async fn perform_batch(
    handler: &dyn BatchHandler,
    deliveries: &[Delivery],
    limit: Duration,
) -> Result<Vec<Disposition>> {
    let Some(first) = deliveries.first() else {
        return Ok(Vec::new());
    };
    let span = tracing::info_span!(
        "queue.handle_batch",
        otel.kind = "consumer",
        messaging.destination.name = %first.message.topic,
        messaging.consumer.group.name = %first.group,
        messaging.batch.message_count = deliveries.len(),
    );
    // A batch mixes traces; it continues the first message's, which is the whole truth for a batch of one.
    let context = trace_context_of(&first.message).unwrap_or_else(fresh_trace);
    let handling = timeout(limit, handler.handle_batch(deliveries)).instrument(span);
    with_trace_context(context, handling)
        .await
        .unwrap_or_else(|_| Err(overdue(limit)))
}

/// A new trace for a message that brought none. Its id only has to be distinct, so that it costs no call to the system for
/// every message.
fn fresh_trace() -> TraceContext {
    TraceContext::from_trace_id(format!("{:032x}", fastrand::u128(..)))
}

fn overdue(limit: Duration) -> Error {
    Error::new(
        crate::ErrorKind::Timeout,
        format!("the handler ran longer than {limit:?} and was stopped"),
    )
}

/// What a panic said, for the dead letter's header.
pub(super) fn panic_reason(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    match said {
        Some(said) => truncated(&format!("the handler panicked: {said}")).to_owned(),
        None => "the handler panicked".to_owned(),
    }
}

fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REASON_BYTES)]
}

/// The delay before the next attempt of a message that failed `attempt` times: the back-off doubles with every attempt up
/// to its maximum, and up to a quarter is added at random so that what failed together does not return together.
pub(super) fn backoff(subscription: &Subscription, attempt: NonZeroU32) -> Duration {
    doubled(subscription.backoff, subscription.max_backoff, attempt.get() - 1)
}

/// `first` doubled `times` times, at most `max`, plus up to a quarter at random.
pub(super) fn doubled(first: Duration, max: Duration, times: u32) -> Duration {
    let delay = first
        .saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
        .min(max);
    delay.saturating_add(delay.mul_f64(fastrand::f64() / 4.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_maximum() {
        let first = Duration::from_millis(100);
        let max = Duration::from_secs(1);
        for (times, least) in [
            (0, 100),
            (1, 200),
            (3, 800),
            (4, 1000),
            (31, 1000),
            (32, 1000),
            (u32::MAX, 1000),
        ] {
            let delay = doubled(first, max, times);
            let least = Duration::from_millis(least);
            assert!(delay >= least && delay <= least + least / 4, "{times}: {delay:?}");
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let reason = truncated(&"é".repeat(600)).to_owned();
        assert_eq!(reason.len(), MAX_REASON_BYTES);
        assert!(reason.chars().all(|c| c == 'é'));
    }
}
