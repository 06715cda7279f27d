//! Dead letters: what they carry, and storing them however long the broker is away.

use std::sync::Arc;

use tokio::time::sleep;

use super::settler::pause_before;
use super::source::{DeliverySource, DeliveryTag};
use crate::ErrorKind;
use crate::queue::{Delivery, Message, names};

/// The message as it goes into the dead-letter topic: content, key and time stamp as they were, its history in headers.
pub(super) fn letter(delivery: &Delivery, suffix: &str, reason: &str) -> Message {
    let mut letter = delivery.message.clone();
    let origin = std::mem::take(&mut letter.topic);
    letter.topic = format!("{origin}{suffix}");
    letter.delay = None;
    letter.headers.set(names::ORIGINAL_TOPIC, origin);
    letter
        .headers
        .set(names::ORIGINAL_GROUP, delivery.group.to_string());
    letter.headers.set(names::ATTEMPT, delivery.attempt.to_string());
    letter.headers.set(names::DEAD_LETTER_REASON, reason.to_owned());
    letter
}

/// Stores a dead letter, trying again until the broker has it; `false` when the queue was closed before.
pub(super) async fn store(source: Arc<dyn DeliverySource>, origin: DeliveryTag, letter: Message) -> bool {
    let mut attempt = 0_u32;
    loop {
        match source.dead_letter(origin, letter.clone()).await {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::Closed => return false,
            Err(error) => {
                tracing::warn!(%error, topic = letter.topic, attempt, "cannot store a dead letter yet; trying again");
                sleep(pause_before(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
}
