//! Administration of topics.

use infra_core::ErrorKind;
use infra_core::queue::TopicSpec;

use super::ground::{Gate, Ground, Queues, Seen, bound};
use crate::conformance::{Outcome, Premise, check, check_eq, check_error};

/// A topic that exists is not created again.
pub async fn mq_051_a_topic_is_created_once(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let again = ground
        .admin
        .create_topic(TopicSpec::new(ground.topic.as_str()))
        .await;
    check_error!(again, ErrorKind::AlreadyExists, "a topic that exists");
    let unnamed = ground.admin.create_topic(TopicSpec::new("")).await;
    check_error!(unnamed, ErrorKind::InvalidArgument, "a topic without a name");
    Ok(())
}

/// The names of all topics come in order.
pub async fn mq_052_topics_are_listed_in_order(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let mut ours = vec![ground.topic.clone()];
    for suffix in ["list_c", "list_a", "list_b"] {
        ours.push(ground.topic(suffix).await?);
    }
    ours.sort_unstable();
    let listed = async || ground.admin.list_topics().await.unwrap_or_default();
    let known = async || {
        let all = listed().await;
        ours.iter().all(|topic| all.contains(topic))
    };
    harness
        .eventually(bound(harness), "new topics are listed", known)
        .await?;
    let all = ground.admin.list_topics().await?;
    check!(all.is_sorted(), "the list is not in order: {all:?}");
    let found: Vec<&String> = all.iter().filter(|topic| ours.contains(topic)).collect();
    check_eq!(found.len(), ours.len(), "our topics in the list");
    Ok(())
}

/// A topic is described by its partitions, in order, with the offset that the next message gets; an unknown one is absent.
pub async fn mq_053_a_topic_is_described(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let unknown = ground.admin.describe_topic(&harness.name("unknown")).await?;
    check!(unknown.is_none(), "an unknown topic is described: {unknown:?}");
    let mut last = None;
    for number in 0..10_u32 {
        let receipt = ground.send(ground.keyed("key", &number.to_string())).await?;
        last = last.max(receipt.offset);
    }
    let described = ground.admin.describe_topic(&ground.topic).await?;
    let info = described.premise("the topic is there")?;
    check_eq!(info.name, ground.topic, "the name");
    let partitions: Vec<u32> = info.partitions.iter().map(|info| info.partition).collect();
    let count = u32::try_from(partitions.len()).unwrap_or_default();
    check!(count > 0, "a topic without a partition");
    check_eq!(partitions, (0..count).collect::<Vec<_>>(), "the partitions");
    let next = info.partitions.iter().map(|info| info.next_offset).max();
    check!(
        last.is_none() || last < next,
        "offset {last:?} was given out; the next one is said to be {next:?}"
    );
    Ok(())
}

/// A topic is deleted once; then it is neither listed nor described.
pub async fn mq_054_a_topic_is_deleted_once(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let topic = ground.topic("deleted").await?;
    check!(
        ground.admin.delete_topic(&topic).await?,
        "a topic that was there was not deleted"
    );
    let gone = async || {
        let described = ground.admin.describe_topic(&topic).await;
        let listed = ground.admin.list_topics().await.unwrap_or_default();
        matches!(described, Ok(None)) && !listed.contains(&topic)
    };
    harness
        .eventually(bound(harness), "a deleted topic is gone", gone)
        .await?;
    check!(
        !ground.admin.delete_topic(&topic).await?,
        "a topic that was not there was deleted"
    );
    Ok(())
}

/// The lag of a group counts what it has not settled, also what its handlers work on.
pub async fn mq_055_lag_counts_what_is_not_settled(harness: &Queues) -> Outcome {
    let (ground, seen, gate) = (Ground::new(harness).await?, Seen::default(), Gate::default());
    let member = ground
        .join("group", ground.plan(), seen.behind(&gate, |_| true))
        .await?;
    ground.send_numbers(0..5).await?;
    seen.reach(harness, 5).await.premise("handling begins")?;
    let lag = ground.lag("group").await?;
    gate.open();
    check_eq!(lag, 5, "the lag while 5 messages are handled");
    ground.settled("group").await?;
    member
        .handle
        .drain(bound(harness))
        .await
        .premise("the member leaves")?;
    ground.send_numbers(5..8).await?;
    check_eq!(
        ground.lag("group").await?,
        3,
        "the lag of a group without members"
    );
    Ok(())
}

/// The lag of a group or a topic that nobody knows is NotFound.
pub async fn mq_056_the_lag_of_strangers_is_not_found(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let stranger = harness.name("stranger");
    let answer = ground.admin.consumer_lag(&stranger, &ground.topic).await;
    check_error!(answer, ErrorKind::NotFound, "the lag of an unknown group");
    let answer = ground
        .admin
        .consumer_lag(&stranger, &harness.name("unknown"))
        .await;
    check_error!(answer, ErrorKind::NotFound, "the lag in an unknown topic");
    Ok(())
}

/// Administration that is shut down is closed, and the queue is not.
pub async fn mq_070_administration_is_shut_down_alone(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    ground.admin.shutdown(bound(harness)).await?;
    ground.admin.shutdown(bound(harness)).await?;
    let answer = ground.admin.describe_topic(&ground.topic).await;
    check_error!(
        answer,
        ErrorKind::Closed,
        "a description after the administration's shutdown"
    );
    let another = ground.queue.admin().await?;
    another.describe_topic(&ground.topic).await?;
    Ok(())
}

/// A topic gets the partitions that were asked for, where the broker has partitions at all.
pub async fn mq_072_a_topic_gets_its_partitions(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let name = harness.name("three");
    let three = const { std::num::NonZeroU32::new(3).unwrap() };
    let spec = TopicSpec::new(name.as_str()).with_partitions(three);
    if let Err(error) = ground.admin.create_topic(spec).await {
        check_eq!(
            error.kind(),
            ErrorKind::Unsupported,
            "a refusal of partitions: {error}"
        );
        return Ok(());
    }
    let described = ground.admin.describe_topic(&name).await?;
    let count = described.premise("the topic is there")?.partitions.len();
    check_eq!(count, 3, "the partitions of a topic that asked for 3");
    Ok(())
}
