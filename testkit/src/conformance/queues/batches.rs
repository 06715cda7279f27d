//! Handlers of batches.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use infra_core::async_trait;
use infra_core::capability::Capability;
use infra_core::error::Result;
use infra_core::queue::{BatchHandler, Consumer, Delivery, Disposition, SubscriptionHandle};

use super::ground::{Ground, Queues, Seen, numbers, quiet, text_of};
use crate::conformance::{Failure, Outcome, Premise, check, check_eq, declares};

/// A batch handler by a function of what was seen before and the batch.
struct Batches<F> {
    seen: Seen,
    sizes: Seen,
    answer: F,
}

#[async_trait]
impl<F> BatchHandler for Batches<F>
where
    F: Fn(&Seen, &[Delivery]) -> Vec<Disposition> + Send + Sync + 'static,
{
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        for delivery in deliveries {
            self.seen.note(delivery);
        }
        let mut size = deliveries.first().cloned();
        if let Some(size) = &mut size {
            size.message.payload = deliveries.len().to_string().into();
            self.sizes.note(size);
        }
        Ok((self.answer)(&self.seen, deliveries))
    }
}

/// A member that handles batches; the consumer is kept because it may own the connection.
struct BatchMember {
    _consumer: Arc<dyn Consumer>,
    _handle: SubscriptionHandle,
    seen: Seen,
    sizes: Seen,
}

async fn join<F>(ground: &Ground<'_>, most: u32, wait: Duration, answer: F) -> Result<BatchMember, Failure>
where
    F: Fn(&Seen, &[Delivery]) -> Vec<Disposition> + Send + Sync + 'static,
{
    let (seen, sizes) = (Seen::default(), Seen::default());
    let handler = Batches {
        seen: seen.clone(),
        sizes: sizes.clone(),
        answer,
    };
    let consumer = ground.consumer("group").await?;
    let most = NonZeroU32::MIN.saturating_add(most - 1);
    let handle = consumer
        .subscribe_batch(ground.plan(), most, wait, Arc::new(handler))
        .await
        .premise("a member subscribes")?;
    Ok(BatchMember {
        _consumer: consumer,
        _handle: handle,
        seen,
        sizes,
    })
}

fn ack_all(_: &Seen, deliveries: &[Delivery]) -> Vec<Disposition> {
    vec![Disposition::Ack; deliveries.len()]
}

const SOON: Duration = Duration::from_millis(100);

/// Batches hold no more messages than was asked for, and together all of them.
pub async fn mq_034_a_batch_is_no_larger_than_asked(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let member = join(&ground, 4, SOON, ack_all).await?;
    ground.send_numbers(0..30).await?;
    member
        .seen
        .reach(harness, 30)
        .await
        .premise("everything is handled")?;
    check_eq!(member.seen.distinct(), numbers(0..30), "what the batches held");
    for size in member.sizes.texts() {
        check!(
            size.parse().is_ok_and(|size: u32| (1..=4).contains(&size)),
            "a batch held {size} messages; 4 were allowed"
        );
    }
    Ok(())
}

/// The answers of a batch are for each message by itself: one that is to be retried comes again, its neighbours do not.
pub async fn mq_035_a_batch_is_answered_message_by_message(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let member = join(&ground, 10, SOON, |seen, deliveries| {
        let answer = |delivery: &Delivery| {
            let text = text_of(delivery);
            let before = seen.texts().iter().filter(|known| **known == text).count();
            match text.as_str() {
                "3" | "7" if before == 1 => Disposition::Retry { after: SOON },
                _ => Disposition::Ack,
            }
        };
        deliveries.iter().map(answer).collect()
    })
    .await?;
    ground.send_numbers(0..10).await?;
    member.seen.reach(harness, 12).await?;
    quiet(harness).await;
    let mut texts = member.seen.texts();
    texts.sort_unstable();
    let mut expected = [numbers(0..10), vec!["3".to_owned(), "7".to_owned()]].concat();
    expected.sort_unstable();
    check_eq!(texts, expected, "the deliveries");
    Ok(())
}

/// A batch handler that gives a wrong number of answers has failed for the whole batch.
pub async fn mq_036_a_wrong_number_of_answers_is_a_retry(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let member = join(&ground, 10, SOON, |seen, deliveries| {
        if seen.count() == deliveries.len() {
            // The first batch.
            return Vec::new();
        }
        ack_all(seen, deliveries)
    })
    .await?;
    ground.send(ground.message("text")).await?;
    member.seen.reach(harness, 2).await?;
    quiet(harness).await;
    check_eq!(member.seen.texts(), ["text", "text"], "the deliveries");
    Ok(())
}

/// A batch that does not fill is handled all the same, after the longest wait.
pub async fn mq_037_a_batch_does_not_wait_for_ever_to_fill(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let member = join(&ground, 50, SOON * 5, ack_all).await?;
    ground.send_numbers(0..3).await?;
    member
        .seen
        .until(harness, "a batch of 3 is handled", || {
            member.seen.distinct() == numbers(0..3)
        })
        .await
}

/// Within a batch, and from one to the next, messages of one key keep their order.
pub async fn mq_073_batches_keep_the_order_of_a_key(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    if !declares(&*ground.queue, Capability::PerKeyOrder) {
        return Err(Failure::skipped("no order by key is declared"));
    }
    let member = join(&ground, 4, SOON, ack_all).await?;
    for number in 0..9_u32 {
        ground.send(ground.keyed("key", &number.to_string())).await?;
    }
    member
        .seen
        .reach(harness, 9)
        .await
        .premise("everything is handled")?;
    let expected: Vec<String> = (0..9).map(|number: u32| number.to_string()).collect();
    check_eq!(member.seen.texts(), expected, "the order of one key");
    Ok(())
}
