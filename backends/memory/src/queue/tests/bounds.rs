//! What bounds the queue besides the number of messages: bytes, topics, groups.

use infra_core::ErrorKind;
use infra_core::capability::Limits;
use infra_core::queue::TopicSpec;
use tokio::time::sleep;

use super::*;
use crate::Overflow;

/// Room for a key of 8 bytes with a payload of 64 bytes, and not for twice as much.
fn tight(overflow: Overflow) -> MemoryQueue {
    let limits = Limits::DEFAULT.with_max_key_bytes(8).with_max_value_bytes(64);
    queue_with(|config| {
        config
            .with_limits(limits)
            .with_capacity_bytes(2 * 64 + 8)
            .with_overflow(overflow)
    })
}

fn large(number: u64) -> Message {
    let payload = format!("{number:0>60}");
    Message::new("t", payload).with_key("k")
}

/// A topic that is full of bytes refuses, in those words; what is small still fits.
#[tokio::test(start_paused = true)]
async fn a_topic_full_of_bytes_refuses() {
    let queue = tight(Overflow::Refuse);
    let producer = producer(&queue).await;
    for number in 0..2 {
        producer.send(large(number)).await.expect("room");
    }
    let full = producer
        .send(large(2))
        .await
        .expect_err("122 of 136 bytes are taken");
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    assert!(full.is_retryable() && full.had_no_effect());
    producer.send(numbered("t", "k", 3)).await.expect("2 bytes fit");

    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    recorder.reaches(3).await;
    while lag(&queue, "g", "t").await > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    producer
        .send(large(4))
        .await
        .expect("what was settled makes room");
}

/// A sender that waits for bytes gets them when messages are settled; one that gives up leaves no gap behind.
#[tokio::test(start_paused = true)]
async fn a_topic_full_of_bytes_makes_senders_wait() {
    let queue = tight(Overflow::Wait);
    let producer = producer(&queue).await;
    for number in 0..2 {
        producer.send(large(number)).await.expect("room");
    }
    for _ in 0..3 {
        let given_up = timeout(Duration::from_secs(1), producer.send(large(9))).await;
        assert!(given_up.is_err(), "there is no room");
    }
    let waiting = tokio::spawn({
        let producer = producer.clone();
        async move { producer.send(large(2)).await }
    });
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    waiting.await.expect("no panic").expect("there is room now");
    for number in 3..20 {
        producer.send(large(number)).await.expect("room comes back");
    }
    recorder.reaches(20).await;
    assert_eq!(recorder.numbers(), (0..20).collect::<Vec<_>>());
}

/// There are no more topics than configured, created by hand or on use; a deleted one makes room.
#[tokio::test(start_paused = true)]
async fn topics_are_bounded() {
    let queue = queue_with(|mut config| {
        config.max_topics = 2;
        config
    });
    let (admin, producer) = (queue.admin().await.expect("open"), producer(&queue).await);
    admin.create_topic(TopicSpec::new("one")).await.expect("room");
    producer.send(numbered("two", "k", 0)).await.expect("room");
    let by_hand = admin.create_topic(TopicSpec::new("three")).await;
    let on_use = producer.send(numbered("three", "k", 0)).await.map(drop);
    let by_member = consumer(&queue, "g")
        .await
        .subscribe(Subscription::to(["two", "three"]), Recorder::new())
        .await
        .map(drop);
    for refused in [by_hand, on_use, by_member] {
        assert_eq!(
            refused.expect_err("too many").kind(),
            ErrorKind::ResourceExhausted
        );
    }
    let claim = admin
        .consumer_lag("g", "two")
        .await
        .expect_err("no subscription stands");
    assert_eq!(
        claim.kind(),
        ErrorKind::NotFound,
        "a refused subscription claims no messages"
    );
    producer
        .send(numbered("one", "k", 1))
        .await
        .expect("known topics are used as before");
    assert!(admin.delete_topic("one").await.expect("open"));
    admin
        .create_topic(TopicSpec::new("three"))
        .await
        .expect("room again");
}

/// There are no more groups of a topic than configured; members of a known group join all the same.
#[tokio::test(start_paused = true)]
async fn groups_of_a_topic_are_bounded() {
    let queue = queue_with(|mut config| {
        config.max_groups = 1;
        config
    });
    let recorder = Recorder::new();
    let _one = subscribe(&queue, "one", Subscription::to(["t"]), recorder.clone()).await;
    let _again = subscribe(&queue, "one", Subscription::to(["t"]), recorder.clone()).await;
    let _elsewhere = subscribe(&queue, "two", Subscription::to(["other"]), recorder.clone()).await;
    let refused = consumer(&queue, "two")
        .await
        .subscribe(Subscription::to(["t"]), recorder.clone())
        .await;
    assert_eq!(
        refused.expect_err("too many").kind(),
        ErrorKind::ResourceExhausted
    );
    let half = consumer(&queue, "three")
        .await
        .subscribe(Subscription::to(["fresh", "t"]), recorder.clone())
        .await;
    assert!(half.is_err(), "there is no room in the second topic");
    let claim = queue.broker.find("fresh").expect("created on use").lag("three");
    assert!(claim.is_none(), "a refused subscription claims no messages");
    producer(&queue)
        .await
        .send(numbered("t", "k", 7))
        .await
        .expect("room");
    recorder.reaches(1).await;
    assert_eq!(recorder.numbers(), [7]);
}
