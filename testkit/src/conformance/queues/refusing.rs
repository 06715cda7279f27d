//! What a queue refuses, before any I/O, and what its errors say.

use std::error::Error as _;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::queue::{MAX_HEADER_NAME_BYTES, Message, Subscription};

use super::ground::{Ground, Queues, Seen, bound, quiet};
use crate::conformance::{Outcome, Premise, check, check_eq, check_error, limits};

/// A payload and a key as large as allowed pass; one byte more is refused before anything is sent.
pub async fn mq_018_what_is_too_large_is_refused(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let limits = limits(&*ground.queue);
    let payload = |bytes| Message::new(ground.topic.as_str(), vec![b'p'; bytes]);
    ground.producer.send(payload(limits.max_value_bytes)).await?;
    let key = |bytes| ground.message("text").with_key(vec![b'k'; bytes]);
    ground.producer.send(key(limits.max_key_bytes)).await?;
    let long = "t".repeat(limits.max_key_bytes + 1);
    let refused = [
        ("payload", payload(limits.max_value_bytes + 1)),
        ("key", key(limits.max_key_bytes + 1)),
        ("topic", Message::new(long, "text")),
        (
            "headers",
            ground
                .message("text")
                .with_header("x", vec![b'h'; limits.max_value_bytes + 1]),
        ),
    ];
    for (what, message) in refused {
        let answer = ground.producer.send(message).await;
        let error = check_error!(answer, ErrorKind::InvalidArgument, "too large a {what}");
        check!(
            !error.is_retryable(),
            "a {what} that is too large is not worth a repetition: {error}"
        );
    }
    seen.reach(harness, 2).await?;
    quiet(harness).await;
    check_eq!(seen.count(), 2, "what arrived of large messages");
    Ok(())
}

/// A topic that does not exist is created on use, or answered with NotFound at once.
pub async fn mq_019_a_missing_topic_is_created_or_not_found(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (missing, other) = (harness.name("nowhere"), harness.name("nobody"));
    let sending = ground.producer.send(Message::new(missing.as_str(), "text"));
    let sent = harness
        .within(bound(harness), "a send to a missing topic", sending)
        .await?;
    let consumer = ground.consumer("group").await?;
    let subscribing = consumer.subscribe(Subscription::to([other.as_str()]), Seen::default().acking());
    let subscribed = harness
        .within(bound(harness), "a subscription to a missing topic", subscribing)
        .await?;
    for (topic, error) in [(&missing, sent.err()), (&other, subscribed.err())] {
        let exists = ground
            .admin
            .describe_topic(topic)
            .await
            .premise("a topic is described")?
            .is_some();
        let Some(error) = error else {
            check!(
                exists,
                "the use of a missing topic succeeded and did not create it"
            );
            continue;
        };
        check_eq!(
            error.kind(),
            ErrorKind::NotFound,
            "the use of a missing topic: {error}"
        );
    }
    Ok(())
}

/// A subscription that no broker could serve is refused before anything happens.
pub async fn mq_057_bad_subscriptions_are_refused(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let consumer = ground.consumer("group").await?;
    let topic = ground.topic.as_str();
    let limits = limits(&*ground.queue);
    let long = "t".repeat(limits.max_key_bytes + 1);
    let bad = [
        ("no topic", Subscription::to(Vec::<String>::new())),
        ("an empty topic", Subscription::to([""])),
        ("a topic twice", Subscription::to([topic, topic])),
        ("a line break in a topic", Subscription::to(["a\nb"])),
        ("too long a topic", Subscription::to([long.as_str()])),
        ("no dead-letter suffix", ground.plan().with_dead_letter_suffix("")),
        (
            "a longest back-off below the first",
            ground
                .plan()
                .with_backoff(Duration::from_secs(2), Duration::from_secs(1)),
        ),
        (
            "no time for the handler",
            ground.plan().with_handler_timeout(Duration::ZERO),
        ),
    ];
    for (what, subscription) in bad {
        let answer = consumer.subscribe(subscription, Seen::default().acking()).await;
        check_error!(answer, ErrorKind::InvalidArgument, "{what}");
    }
    for group in ["", long.as_str()] {
        let answer = match ground.queue.consumer(group).await {
            Ok(consumer) => consumer
                .subscribe(ground.plan(), Seen::default().acking())
                .await
                .map(drop),
            Err(error) => Err(error),
        };
        check_error!(
            answer,
            ErrorKind::InvalidArgument,
            "a group of {} bytes",
            group.len()
        );
    }
    Ok(())
}

/// A message that no broker could keep as it is, is refused before anything is sent.
pub async fn mq_058_bad_messages_are_refused(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let bad = [
        ("an empty topic", Message::new("", "text")),
        ("a line break in the topic", Message::new("a\nb", "text")),
        ("an empty key", ground.keyed("", "text")),
        (
            "a header without a name",
            ground.message("text").with_header("", "v"),
        ),
        (
            "too long a header name",
            ground
                .message("text")
                .with_header("n".repeat(MAX_HEADER_NAME_BYTES + 1), "v"),
        ),
    ];
    for (what, message) in bad {
        let answer = ground.producer.send(message.clone()).await;
        check_error!(answer, ErrorKind::InvalidArgument, "{what}, sent");
        let answer = match ground.producer.enqueue(message).await {
            Ok(fate) => fate.await.map(drop),
            Err(error) => Err(error),
        };
        check_error!(answer, ErrorKind::InvalidArgument, "{what}, accepted");
    }
    Ok(())
}

/// An error about a message shows neither its payload nor its key nor the values of its headers.
pub async fn mq_059_errors_show_nothing_of_a_message(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let limits = limits(&*ground.queue);
    let filler = "-".repeat(limits.max_value_bytes);
    let whole = ground
        .keyed("k-secret", &format!("p-secret{filler}"))
        .with_header("x-token", "h-secret");
    let key = ground.keyed(&format!("k-secret{filler}"), "p-secret");
    let header = ground
        .keyed("k-secret", "p-secret")
        .with_header("x-token", format!("h-secret{filler}"));
    for message in [whole, key, header] {
        let answer = ground.producer.send(message).await;
        let error = answer.err().premise("what is too large is refused")?;
        let mut shown = format!("{error} {error:?}");
        let mut source = error.source();
        while let Some(cause) = source {
            shown.push_str(&format!(" {cause} {cause:?}"));
            source = cause.source();
        }
        check!(
            !shown.contains("secret"),
            "an error shows what the message holds: {shown}"
        );
    }
    Ok(())
}
