//! Members that come and go, drains, shutdown, cancellation.

use infra_core::queue::{TopicSpec, handler_fn};
use infra_core::{Backend, ErrorKind};
use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A handler that takes a while, then records.
fn slow(recorder: &Arc<Recorder>, takes: Duration) -> Arc<dyn Handler> {
    let recorder = recorder.clone();
    handler_fn(move |delivery| {
        let recorder = recorder.clone();
        async move {
            sleep(takes).await;
            recorder.handle(&delivery).await
        }
    })
}

async fn send(queue: &MemoryQueue, numbers: std::ops::Range<u64>) {
    let producer = producer(queue).await;
    for number in numbers {
        let message = numbered("t", &format!("k{}", number % 10), number);
        producer.send(message).await.expect("room");
    }
}

/// MQ-013: a drain lets running handlers finish and settles them; what was only fetched goes back uncounted.
#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_runs_and_returns_the_rest() {
    let queue = MemoryQueue::new();
    let first = Recorder::new();
    let subscription = Subscription::to(["t"]).with_max_in_flight(count(64));
    let subscribed = subscribe(&queue, "g", subscription, slow(&first, SECOND)).await;
    send(&queue, 0..40).await;
    sleep(SECOND / 2).await;
    let begun = Instant::now();
    subscribed.drain(SECOND * 10).await.expect("in time");
    assert!(begun.elapsed() < SECOND, "it waits for the running ones only");
    let done = first.all().len();
    assert_eq!(done, 10, "one of each key");
    assert_eq!(lag(&queue, "g", "t").await, 30);

    let second = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), second.clone()).await;
    second.reaches(30).await;
    assert!(second.all().iter().all(|delivery| delivery.attempt.get() == 1));
    let mut all: Vec<u64> = first.numbers().into_iter().chain(second.numbers()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
}

/// A drain ends at its deadline, says how many handlers it stopped, and their messages are delivered again.
#[tokio::test(start_paused = true)]
async fn a_drain_stops_at_its_deadline() {
    let queue = MemoryQueue::new();
    let never = Recorder::new();
    let subscribed = subscribe(&queue, "g", Subscription::to(["t"]), slow(&never, SECOND * 100)).await;
    send(&queue, 0..5).await;
    sleep(SECOND).await;
    let begun = Instant::now();
    let late = subscribed.drain(SECOND * 3).await.expect_err("too slow");
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert!(late.message().starts_with("5 messages"), "{late}");
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert!(never.all().is_empty());
    let other = Recorder::new();
    let _other = subscribe(&queue, "g", Subscription::to(["t"]), other.clone()).await;
    other.reaches(5).await;
}

/// MQ-015: dropping the handle stops deliveries; a later member gets the rest, each once.
#[tokio::test(start_paused = true)]
async fn a_dropped_subscription_gives_everything_back() {
    let queue = MemoryQueue::new();
    let first = Recorder::new();
    let subscribed = subscribe(&queue, "g", Subscription::to(["t"]), slow(&first, SECOND)).await;
    send(&queue, 0..30).await;
    sleep(SECOND * 3 / 2).await;
    drop(subscribed);
    sleep(SECOND * 10).await;
    let done = first.all().len();
    assert_eq!(done, 10);
    assert_eq!(
        lag(&queue, "g", "t").await,
        20,
        "an idle group keeps its position"
    );
    let second = Recorder::new();
    let _second = subscribe(&queue, "g", Subscription::to(["t"]), second.clone()).await;
    second.reaches(20).await;
}

/// Members that join and leave share the work; order per key holds across them.
#[tokio::test(start_paused = true)]
async fn a_second_member_takes_half_and_order_holds() {
    let queue = MemoryQueue::new();
    let both = Recorder::new();
    let one = subscribe(&queue, "g", Subscription::to(["t"]), slow(&both, SECOND / 10)).await;
    send(&queue, 0..200).await;
    sleep(SECOND / 2).await;
    let two = subscribe(&queue, "g", Subscription::to(["t"]), slow(&both, SECOND / 10)).await;
    sleep(SECOND).await;
    assert!(one.in_flight() > 0 && two.in_flight() > 0);
    one.drain(SECOND).await.expect("in time");
    both.reaches(200).await;
    assert_eq!(both.all().len(), 200);
    for (key, numbers) in both.by_key() {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

/// A slow handler of a partition that moves is stopped at the rebalance timeout, and nobody handles a message at the
/// same time as somebody else.
#[tokio::test(start_paused = true)]
async fn a_rebalance_does_not_wait_for_ever() {
    let queue = queue_with(|config| {
        config
            .with_partitions(count(2))
            .with_rebalance_timeout(SECOND * 5)
    });
    let never = Recorder::new();
    let _stuck = subscribe(&queue, "g", Subscription::to(["t"]), slow(&never, SECOND * 100)).await;
    send(&queue, 0..10).await;
    sleep(SECOND).await;
    let other = Recorder::new();
    let begun = Instant::now();
    let _other = subscribe(&queue, "g", Subscription::to(["t"]), other.clone()).await;
    other.reaches(1).await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert!(
        other.all().iter().all(|delivery| delivery.attempt.get() == 1),
        "the stop does not count"
    );
}

/// MQ-014: after shutdown everything answers `Closed`, and shutting down again is fine.
#[tokio::test(start_paused = true)]
async fn shutdown_finishes_the_backlog_and_closes_everything() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::new();
    let subscription = Subscription::to(["t"]).with_max_in_flight(count(4));
    let subscribed = subscribe(&queue, "g", subscription, slow(&recorder, SECOND)).await;
    send(&queue, 0..40).await;
    let (producer, consumer) = (producer(&queue).await, consumer(&queue, "g").await);
    let admin = queue.admin().await.expect("open");
    producer
        .send(numbered("t", "k0", 40).with_delay(SECOND * 5))
        .await
        .expect("room");
    let shutting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.shutdown(SECOND * 60).await }
    });
    sleep(SECOND).await;
    let refused = producer.send(numbered("t", "k", 0)).await.expect_err("closing");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    shutting.await.expect("no panic").expect("in time");
    assert_eq!(recorder.all().len(), 41, "what was accepted is handled");
    queue.shutdown(SECOND).await.expect("again");
    assert_eq!(subscribed.in_flight(), 0);
    let closed = [
        producer.send(numbered("t", "k", 0)).await.map(drop),
        producer.flush(SECOND).await,
        consumer
            .subscribe(Subscription::to(["t"]), recorder)
            .await
            .map(drop),
        admin.list_topics().await.map(drop),
        queue.health().await,
        queue.producer().await.map(drop),
    ];
    for result in closed {
        assert_eq!(result.expect_err("closed").kind(), ErrorKind::Closed);
    }
    subscribed.drain(SECOND).await.expect("it has ended");
}

/// A shutdown that cannot finish in time says what is left.
#[tokio::test(start_paused = true)]
async fn shutdown_says_what_is_left() {
    let queue = MemoryQueue::new();
    let _stuck = subscribe(
        &queue,
        "g",
        Subscription::to(["t"]),
        slow(&Recorder::new(), SECOND * 100),
    )
    .await;
    send(&queue, 0..3).await;
    let delayed = numbered("t", "k", 3).with_delay(SECOND * 3600);
    producer(&queue).await.send(delayed).await.expect("room");
    let begun = Instant::now();
    let late = queue.shutdown(SECOND * 2).await.expect_err("too slow");
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < SECOND * 3);

    let queue = MemoryQueue::new();
    let _idle = subscribe(&queue, "g", Subscription::to(["t"]), Recorder::new()).await;
    let delayed = numbered("t", "k", 3).with_delay(SECOND * 3600);
    producer(&queue).await.send(delayed).await.expect("room");
    let begun = Instant::now();
    let late = queue.shutdown(SECOND * 2).await.expect_err("not due");
    assert!(late.message().contains("1 delayed"), "{late}");
    assert!(begun.elapsed() < SECOND, "it does not wait for what cannot come");
}

/// MQ-016: a send that waits for room can be given up; the message is then not sent.
#[tokio::test(start_paused = true)]
async fn a_send_that_waits_can_be_cancelled() {
    let queue = queue_with(|config| config.with_capacity_messages(2));
    let producer = producer(&queue).await;
    send(&queue, 0..2).await;
    let given_up = timeout(SECOND, producer.send(numbered("t", "k", 9))).await;
    assert!(given_up.is_err(), "there is no room");
    let waiting = tokio::spawn(async move { producer.send(numbered("t", "k", 2)).await });
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    waiting.await.expect("no panic").expect("there is room now");
    recorder.reaches(3).await;
    sleep(SECOND).await;
    let mut numbers = recorder.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
}

/// Bounds: a full topic refuses when told so; what no group asks for is dropped after the retention time, and only that.
#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_bounded() {
    let queue = queue_with(|config| {
        config
            .with_capacity_messages(10)
            .with_overflow(crate::Overflow::Refuse)
            .with_retention(SECOND * 60)
    });
    send(&queue, 0..10).await;
    let producer = producer(&queue).await;
    let full = producer.send(numbered("t", "k", 10)).await.expect_err("full");
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    assert!(full.is_retryable() && full.had_no_effect());
    sleep(SECOND * 61).await;
    send(&queue, 10..20).await;
    let recorder = Recorder::new();
    let subscribed = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    recorder.reaches(10).await;
    assert!(recorder.numbers().iter().all(|number| *number >= 10));
    subscribed.drain(SECOND).await.expect("in time");

    send(&queue, 20..30).await;
    sleep(SECOND * 3600).await;
    let full = producer
        .send(numbered("t", "k", 30))
        .await
        .expect_err("the group has a claim");
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(lag(&queue, "g", "t").await, 10);
}

/// With `Wait`, room that the retention time makes is given to whoever waits.
#[tokio::test(start_paused = true)]
async fn waiting_senders_get_the_room_of_what_expires() {
    let queue = queue_with(|config| config.with_capacity_messages(1).with_retention(SECOND * 60));
    send(&queue, 0..1).await;
    let begun = Instant::now();
    send(&queue, 1..2).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}

/// Topics can be administered; a subscription follows a topic that is deleted and created again.
#[tokio::test(start_paused = true)]
async fn topics_are_administered() {
    let queue = queue_with(|config| config.without_auto_create());
    let admin = queue.admin().await.expect("open");
    let spec = || TopicSpec::new("t").with_partitions(count(3));
    admin.create_topic(spec()).await.expect("new");
    let twice = admin.create_topic(spec()).await.expect_err("exists");
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    let many = TopicSpec::new("many").with_partitions(count(u32::MAX));
    let refused = admin.create_topic(many).await.expect_err("too many");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(admin.list_topics().await.expect("open"), ["t"]);

    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    send(&queue, 0..30).await;
    recorder.reaches(30).await;
    let info = admin.describe_topic("t").await.expect("open").expect("there");
    assert_eq!(info.partitions.len(), 3);
    let total: u64 = info
        .partitions
        .iter()
        .map(|partition| partition.next_offset)
        .sum();
    assert_eq!(total, 30);
    let unknown = admin
        .consumer_lag("nobody", "t")
        .await
        .expect_err("no such group");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);

    assert!(admin.delete_topic("t").await.expect("open"));
    assert!(!admin.delete_topic("t").await.expect("open"));
    assert!(admin.describe_topic("t").await.expect("open").is_none());
    let gone = producer(&queue)
        .await
        .send(numbered("t", "k", 0))
        .await
        .expect_err("gone");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    admin.create_topic(spec()).await.expect("new again");
    send(&queue, 30..40).await;
    recorder.reaches(40).await;
}

/// A consumer's own shutdown drains its subscriptions and no others.
#[tokio::test(start_paused = true)]
async fn a_consumer_is_shut_down_alone() {
    let queue = MemoryQueue::new();
    let (mine, other) = (Recorder::new(), Recorder::new());
    let consumer = consumer(&queue, "mine").await;
    let subscribed = consumer
        .subscribe(Subscription::to(["t"]), mine.clone())
        .await
        .expect("valid");
    let _other = subscribe(&queue, "other", Subscription::to(["t"]), other.clone()).await;
    send(&queue, 0..5).await;
    mine.reaches(5).await;
    consumer.shutdown(SECOND).await.expect("idle");
    send(&queue, 5..10).await;
    other.reaches(10).await;
    assert_eq!((mine.all().len(), subscribed.in_flight()), (5, 0));
}

/// Nothing of a subscription is left when it has ended: no task, no member.
#[tokio::test(start_paused = true)]
async fn nothing_leaks() {
    let queue = MemoryQueue::new();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..20 {
        let recorder = Recorder::new();
        let subscribed = subscribe(&queue, "g", Subscription::to(["t"]), slow(&recorder, SECOND * 50)).await;
        send(&queue, round * 5..round * 5 + 5).await;
        sleep(SECOND).await;
        assert!(tasks() > before);
        drop(subscribed);
    }
    eventually("all tasks end", || tasks() == before).await;
    let group = queue.broker.find("t").expect("there");
    assert!(!group.lock().groups["g"].is_live());
}

/// What a subscription cannot mean is refused before anything happens.
#[tokio::test(start_paused = true)]
async fn bad_subscriptions_are_refused() {
    let queue = MemoryQueue::new();
    let consumer = consumer(&queue, "g").await;
    let good = || Subscription::to(["t"]);
    let bad = [
        Subscription::to(Vec::<String>::new()),
        Subscription::to([""]),
        Subscription::to(["t", "t"]),
        good().with_dead_letter_suffix(""),
        good().with_backoff(SECOND, Duration::ZERO),
        good().with_handler_timeout(Duration::ZERO),
    ];
    for subscription in bad {
        let refused = consumer.subscribe(subscription.clone(), Recorder::new()).await;
        let kind = refused.expect_err("must be refused").kind();
        assert_eq!(kind, ErrorKind::InvalidArgument, "{subscription:?}");
    }
    assert!(queue.consumer("").await.is_err());
    assert!(queue.broker.topic_names().is_empty());
}
