//! From a producer to the groups: nothing lost, nothing mixed up, in order, in parallel.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::capability::Capability;
use infra_core::queue::{Disposition, Message, Start, handler_fn};
use infra_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep};

use super::ground::{Gate, Ground, Queues, Seen, bound, either, numbers, plan_for, quiet, text_of};
use crate::conformance::{Failure, Outcome, Premise, check, check_eq, check_error, declares};

/// A hundred messages arrive with payload, key and headers as they were sent, and receipts name the topic.
pub async fn mq_001_messages_arrive_as_they_were_sent(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let mut sent = Vec::new();
    for number in 0..100_u8 {
        let payload = if number == 0 {
            Vec::new()
        } else {
            vec![number, 0, 0xff, 0xfe]
        };
        let mut message = Message::new(ground.topic.as_str(), payload).with_header("x-number", vec![number]);
        if number % 2 == 0 {
            message = message.with_key(vec![number, 0xff]);
        }
        let receipt = ground.producer.send(message.clone()).await?;
        check_eq!(receipt.topic, ground.topic, "the topic of a receipt");
        sent.push(message);
    }
    seen.reach(harness, 100).await?;
    for delivery in seen.all() {
        let number = delivery
            .message
            .headers
            .get("x-number")
            .and_then(|value| value.first());
        let Some(original) = number.and_then(|number| sent.get(usize::from(*number))) else {
            return Err(Failure::broken("a message arrived without its header"));
        };
        check_eq!(delivery.message.topic, original.topic, "the topic");
        check_eq!(delivery.message.payload, original.payload, "the payload");
        check_eq!(delivery.message.key, original.key, "the key");
    }
    Ok(())
}

/// Of what several producers send at the same time to several members nothing is lost.
pub async fn mq_002_concurrent_senders_and_members_lose_nothing(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let other = harness.client().await?;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(ground.join("group", ground.plan(), seen.acking()).await?);
    }
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..4_u32 {
        let queue = if sender % 2 == 0 { &ground.queue } else { &other };
        let producer = queue.producer().await.premise("the queue gives a producer")?;
        let topic = ground.topic.clone();
        senders.spawn(async move {
            for number in sender * 20..sender * 20 + 20 {
                let message =
                    Message::new(topic.as_str(), number.to_string()).with_key(format!("key{}", number % 7));
                producer.send(message).await?;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent?.premise("every message is sent")?;
    }
    seen.until(harness, "every message arrives", || {
        seen.distinct() == numbers(0..80)
    })
    .await
}

/// Messages of one topic are not delivered to another's subscribers, however alike the names.
pub async fn mq_003_topics_are_apart(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let mut members = Vec::new();
    for name in ["orders-new", "orders_new", "orders", "orders_n"] {
        let (topic, seen) = (ground.topic(name).await?, Seen::default());
        let member = ground.join(name, plan_for(&topic), seen.acking()).await?;
        members.push((topic, seen, member));
    }
    for (topic, ..) in &members {
        ground.send(Message::new(topic.as_str(), topic.clone())).await?;
    }
    for (_, seen, _) in &members {
        seen.reach(harness, 1).await?;
    }
    quiet(harness).await;
    for (topic, seen, _) in &members {
        check_eq!(seen.texts(), [topic.as_str()], "what the topic's subscriber got");
    }
    Ok(())
}

/// Every group gets every message, and the members of a group share them, each message with one of them.
pub async fn mq_004_groups_get_everything_and_members_share(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (alone, one, two) = (Seen::default(), Seen::default(), Seen::default());
    let _alone = ground.join("Billing", ground.plan(), alone.acking()).await?;
    let _one = ground.join("billing", ground.plan(), one.acking()).await?;
    let _two = ground.join("billing", ground.plan(), two.acking()).await?;
    ground.send_numbers(0..40).await?;
    harness
        .eventually(bound(harness), "both groups get 40 messages", async || {
            alone.count() >= 40 && one.count() + two.count() >= 40
        })
        .await?;
    quiet(harness).await;
    let mut shared = [one.texts(), two.texts()].concat();
    shared.sort_unstable();
    check_eq!(shared, numbers(0..40), "what two members of a group got together");
    check_eq!(alone.count(), 40, "what the only member of a group got");
    check_eq!(
        alone.distinct(),
        numbers(0..40),
        "what the only member of a group got"
    );
    if ground.has_several_partitions().await? {
        check!(
            one.count() > 0 && two.count() > 0,
            "one of two members got nothing of 40 keys"
        );
    }
    Ok(())
}

/// Messages of one key are handled in the order in which they were sent.
pub async fn mq_010_order_holds_for_each_key(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    if !declares(&*ground.queue, Capability::PerKeyOrder) {
        return Err(Failure::skipped("no order by key is declared"));
    }
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    for number in 0..60_u32 {
        let key = format!("key{}", number % 4);
        ground.send(ground.keyed(&key, &number.to_string())).await?;
    }
    seen.reach(harness, 60).await.premise("everything arrives")?;
    let mut last: HashMap<String, u32> = HashMap::new();
    for delivery in seen.all() {
        let number: u32 = text_of(&delivery).parse().unwrap_or_default();
        let key = String::from_utf8_lossy(delivery.message.key.as_deref().unwrap_or_default()).into_owned();
        let before = last.insert(key.clone(), number);
        check!(
            before.is_none_or(|before| before < number),
            "{number} of {key} came after {before:?}"
        );
    }
    Ok(())
}

/// A key whose handler takes long holds up no other key, also none of its partition.
pub async fn mq_011_a_slow_key_holds_up_no_other(harness: &Queues) -> Outcome {
    let (ground, seen, gate) = (Ground::new(harness).await?, Seen::default(), Gate::default());
    let is_slow = |delivery: &infra_core::queue::Delivery| delivery.message.key.as_deref() == Some(b"slow");
    let _member = ground
        .join("group", ground.plan(), seen.behind(&gate, is_slow))
        .await?;
    ground.send(ground.keyed("slow", "first")).await?;
    ground.send(ground.keyed("slow", "second")).await?;
    seen.reach(harness, 1).await.premise("the slow key begins")?;
    ground.send_numbers(0..60).await?;
    let others = seen
        .until(harness, "60 other keys pass the slow one", || seen.count() == 61)
        .await;
    gate.open();
    others?;
    seen.reach(harness, 62).await
}

/// No more messages are handled at the same time than the subscription allows.
pub async fn mq_012_the_bound_in_flight_is_respected(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (now, most, done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Seen::default(),
    );
    let handler = handler_fn({
        let (now, most, done) = (now, Arc::clone(&most), done.clone());
        move |delivery| {
            let (now, most, done) = (Arc::clone(&now), Arc::clone(&most), done.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(20)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                done.note(&delivery);
                Ok(Disposition::Ack)
            }
        }
    });
    let three = const { std::num::NonZeroU32::new(3).unwrap() };
    let plan = ground.plan().with_max_in_flight(three);
    let _member = ground.join("group", plan, handler).await?;
    ground.send_numbers(0..30).await?;
    done.reach(harness, 30).await.premise("everything is handled")?;
    let most = most.load(Ordering::SeqCst);
    check!(
        most <= 3,
        "{most} messages were handled at the same time; the bound was 3"
    );
    Ok(())
}

/// A group that begins late reads what was sent before, where the backend declares replay; and what is sent afterwards in any case.
pub async fn mq_022_a_late_group_reads_what_was_sent_before(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (early, late) = (Seen::default(), Seen::default());
    let _early = ground.join("early", ground.plan(), early.acking()).await?;
    ground.send_numbers(0..10).await?;
    early.reach(harness, 10).await.premise("the first group reads")?;
    ground.settled("early").await.premise("the first group settles")?;
    let _late = ground.join("late", ground.plan(), late.acking()).await?;
    ground.send_numbers(10..12).await?;
    let first = if declares(&*ground.queue, Capability::Replay) {
        0
    } else {
        10
    };
    late.until(harness, "a late group reads what it should", || {
        late.distinct() == numbers(first..12)
    })
    .await
}

/// A delayed message is not early, where the backend declares delays; elsewhere it is refused.
pub async fn mq_023_a_delayed_message_is_not_early(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let delay = either(harness, Duration::from_secs(20), Duration::from_secs(1));
    let message = ground.message("later").with_delay(delay);
    let begun = Instant::now();
    if !declares(&*ground.queue, Capability::DelayedDelivery) {
        let answer = ground.producer.send(message).await;
        check_error!(answer, ErrorKind::Unsupported, "a delay that is not declared");
        quiet(harness).await;
        check_eq!(seen.count(), 0, "deliveries of a refused message");
        return Ok(());
    }
    ground.producer.send(message).await?;
    ground.send(ground.message("now")).await?;
    seen.reach(harness, 2).await?;
    check_eq!(seen.texts(), ["now", "later"], "the order of arrival");
    let after = seen.times()[1] - begun;
    check!(after >= delay, "delayed by {delay:?}, delivered after {after:?}");
    Ok(())
}

/// A new group that starts with the latest gets only what is sent from then on.
pub async fn mq_029_a_group_can_start_with_the_latest(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (all, latest) = (Seen::default(), Seen::default());
    let _all = ground.join("all", ground.plan(), all.acking()).await?;
    ground.send_numbers(0..5).await?;
    all.reach(harness, 5).await.premise("the first group reads")?;
    let plan = ground.plan().with_start(Start::Latest);
    let _latest = ground.join("latest", plan, latest.acking()).await?;
    ground.send_numbers(5..10).await?;
    latest
        .reach(harness, 5)
        .await
        .premise("what is sent from now on arrives")?;
    quiet(harness).await;
    check_eq!(
        latest.distinct(),
        numbers(5..10),
        "what a group got that started with the latest"
    );
    Ok(())
}

/// Where the broker has partitions, a key's partition is that of the Java client, so that services in several languages agree.
pub async fn mq_065_a_key_belongs_to_one_partition(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let described = ground.admin.describe_topic(&ground.topic).await;
    let info = described
        .premise("the topic is described")?
        .premise("the topic is there")?;
    let count = u32::try_from(info.partitions.len())
        .ok()
        .and_then(std::num::NonZeroU32::new);
    let count = count.premise("the topic has partitions")?;
    for number in 0..20_u32 {
        let key = format!("key{number}");
        let receipt = ground.send(ground.keyed(&key, "text")).await?;
        if let Some(partition) = receipt.partition {
            let expected = infra_core::queue::partition_of(key.as_bytes(), count);
            check_eq!(partition, expected, "the partition of {key}");
        }
    }
    Ok(())
}
