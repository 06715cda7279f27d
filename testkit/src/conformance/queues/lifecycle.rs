//! Shutdown, lost connections, what is declared.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::capability::Capability;
use tokio::time::sleep;

use super::ground::{FAR, Ground, Queues, Seen, a_while, bound, numbers};
use crate::conformance::{Disturbance, Outcome, Premise, check, check_eq, check_error};

/// A queue that is shut down lets running handlers finish; a second shutdown is fine.
pub async fn mq_013_shutdown_finishes_and_can_be_repeated(harness: &Queues) -> Outcome {
    let (ground, begun, done) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let slow = begun.taking(a_while(harness), &done);
    let _member = ground.join("group", ground.plan(), slow).await?;
    ground.send(ground.message("text")).await?;
    begun.reach(harness, 1).await.premise("handling begins")?;
    ground.queue.shutdown(bound(harness)).await?;
    check_eq!(
        done.count(),
        1,
        "handlers that had finished when the shutdown ended"
    );
    ground.queue.shutdown(bound(harness)).await?;
    Ok(())
}

/// After shutdown everything that the queue gave out, and the queue itself, answers Closed.
pub async fn mq_014_a_queue_that_was_shut_down_is_closed(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let consumer = ground.consumer("group").await?;
    ground
        .queue
        .shutdown(bound(harness))
        .await
        .premise("the queue is shut down")?;
    let (producer, admin) = (&ground.producer, &ground.admin);
    let answers = [
        ("send", producer.send(ground.message("text")).await.map(drop)),
        (
            "enqueue",
            producer.enqueue(ground.message("text")).await.map(drop),
        ),
        (
            "send_batch",
            producer.send_batch(vec![ground.message("text")]).await.map(drop),
        ),
        ("flush", producer.flush(Duration::from_secs(1)).await),
        (
            "subscribe",
            consumer
                .subscribe(ground.plan(), Seen::default().acking())
                .await
                .map(drop),
        ),
        ("list_topics", admin.list_topics().await.map(drop)),
        (
            "describe_topic",
            admin.describe_topic(&ground.topic).await.map(drop),
        ),
        ("delete_topic", admin.delete_topic(&ground.topic).await.map(drop)),
        (
            "consumer_lag",
            admin.consumer_lag("group", &ground.topic).await.map(drop),
        ),
        ("health", ground.queue.health().await),
        ("producer", ground.queue.producer().await.map(drop)),
        ("consumer", ground.queue.consumer("group").await.map(drop)),
        ("admin", ground.queue.admin().await.map(drop)),
    ];
    for (what, answer) in answers {
        let kind = answer.err().map(|error| error.kind());
        check_eq!(kind, Some(ErrorKind::Closed), "{what} after shutdown");
    }
    Ok(())
}

/// While the broker is restarted nothing is lost that it had confirmed; duplicates are allowed.
pub async fn mq_020_a_restart_of_the_broker_loses_nothing(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    for number in 0..40_u32 {
        if number == 10 {
            harness.disturb(Disturbance::Restart).await?;
        }
        let message = ground.keyed(&format!("key{}", number % 5), &number.to_string());
        ground
            .send_stubbornly(message)
            .await
            .premise("the broker confirms")?;
    }
    harness
        .eventually(
            bound(harness),
            "everything that was confirmed arrives",
            async || seen.distinct() == numbers(0..40),
        )
        .await
}

/// A client whose connection broke connects again by itself: its subscriptions stand and its producer sends.
pub async fn mq_021_subscriptions_survive_a_lost_connection(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    ground.send(ground.message("before")).await?;
    seen.reach(harness, 1).await.premise("the subscription works")?;
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    sleep(Duration::from_millis(300)).await;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    ground.send_stubbornly(ground.message("after")).await?;
    seen.until(harness, "the subscription works again", || {
        seen.distinct() == ["after", "before"]
    })
    .await
}

/// Health says when the broker cannot be reached, as something that may pass, and when it can be reached again.
pub async fn mq_060_health_tells_whether_the_broker_is_there(harness: &Queues) -> Outcome {
    let queue = harness.client().await?;
    queue.health().await?;
    harness.disturb(Disturbance::GoAway).await?;
    let answer = harness.within(bound(harness), "health", queue.health()).await?;
    let back = harness.disturb(Disturbance::ComeBack).await;
    let error = answer.err();
    check!(
        error.as_ref().is_some_and(infra_core::Error::is_retryable),
        "health of a broker that is away: {error:?}"
    );
    back?;
    let healthy = async || queue.health().await.is_ok();
    harness
        .eventually(bound(harness), "the broker is healthy again", healthy)
        .await
}

/// Nothing is declared that the contract has no operation for.
pub async fn mq_067_nothing_is_declared_that_cannot_be_asked_for(harness: &Queues) -> Outcome {
    let queue = harness.client().await?;
    let known = [
        Capability::Durable,
        Capability::PerKeyOrder,
        Capability::DelayedDelivery,
        Capability::Replay,
        Capability::ProducerDeduplication,
    ];
    let unknown: Vec<Capability> = queue
        .capabilities()
        .iter()
        .filter(|declared| !known.contains(declared))
        .collect();
    check!(
        unknown.is_empty(),
        "a queue declares {unknown:?}, for which there is no operation and no proof"
    );
    Ok(())
}

/// A queue whose handlers do not end in time is shut down at the deadline, says so, and is closed.
pub async fn mq_071_shutdown_ends_at_its_deadline(harness: &Queues) -> Outcome {
    let (ground, begun) = (Ground::new(harness).await?, Seen::default());
    let endless = begun.taking(FAR, &Seen::default());
    let _member = ground.join("group", ground.plan(), endless).await?;
    ground.send(ground.message("endless")).await?;
    begun.reach(harness, 1).await.premise("handling begins")?;
    let shutdown = ground.queue.shutdown(Duration::from_secs(1));
    let answer = harness
        .within(Duration::from_secs(20), "a shutdown within a second", shutdown)
        .await?;
    check_error!(
        answer,
        ErrorKind::Timeout,
        "a shutdown with a handler that does not end"
    );
    check_error!(ground.queue.health().await, ErrorKind::Closed, "health after it");
    Ok(())
}

/// A member whose session the broker has forgotten joins again by itself, and what it held is not lost.
pub async fn mq_074_members_survive_the_loss_of_their_session(harness: &Queues) -> Outcome {
    let (ground, begun, done) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let slow = begun.taking(a_while(harness), &done);
    let _member = ground.join("group", ground.plan(), slow).await?;
    ground.send_numbers(0..5).await?;
    begun.reach(harness, 1).await.premise("handling begins")?;
    harness.disturb(Disturbance::LoseSessions).await?;
    ground.send_stubbornly(ground.message("5")).await?;
    done.until(harness, "what was sent before and after is handled", || {
        done.distinct() == numbers(0..6)
    })
    .await?;
    ground.settled("group").await
}
