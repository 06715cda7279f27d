//! Publishing, subscribing, groups, order, delays, replay.

use std::collections::BTreeSet;

use infra_core::ErrorKind;
use infra_core::capability::Capability;
use infra_core::queue::{Start, names, trace_context_of};
use infra_core::telemetry::{current_trace_id, with_trace_id};
use infra_core::{Backend, Error};
use tokio::time::Instant;

use super::*;

/// MQ-001: a hundred messages arrive as they were sent.
#[tokio::test(start_paused = true)]
async fn messages_arrive_with_payload_key_and_headers() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    let producer = producer(&queue).await;
    for number in 0..100 {
        let message = numbered("t", "k", number).with_header("X-Odd", vec![0xff, 0x00]);
        let receipt = producer.send(message).await.expect("room");
        assert_eq!(receipt.offset, Some(number), "one key: one partition");
    }
    recorder.reaches(100).await;
    let all = recorder.all();
    assert_eq!(recorder.numbers(), (0..100).collect::<Vec<_>>());
    for delivery in &all {
        assert_eq!(delivery.message.topic, "t");
        assert_eq!(delivery.message.key.as_deref(), Some(b"k".as_slice()));
        assert_eq!(
            delivery.message.headers.get("X-Odd").map(|value| &value[..]),
            Some([0xff_u8, 0].as_slice())
        );
        assert_eq!(delivery.attempt.get(), 1);
        assert!(delivery.message.timestamp.is_some() && delivery.sent_at.is_some());
    }
}

/// MQ-002: several senders and several members lose nothing.
#[tokio::test(start_paused = true)]
async fn concurrent_senders_and_members_lose_nothing() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::new();
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await);
    }
    let producer = producer(&queue).await;
    let senders = (0..4_u64).map(|sender| {
        let producer = producer.clone();
        tokio::spawn(async move {
            for number in 0..250 {
                let message = Message::new("t", (sender * 250 + number).to_string());
                producer.send(message).await.expect("room");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    recorder.reaches(1000).await;
    let numbers: BTreeSet<u64> = recorder.numbers().into_iter().collect();
    assert_eq!(numbers, (0..1000).collect());
    eventually("everything is settled", || {
        members.iter().all(|member| member.in_flight() == 0)
    })
    .await;
    assert_eq!(lag(&queue, "g", "t").await, 0);
}

/// MQ-003, MQ-004: topics are apart, every group gets everything, members share.
#[tokio::test(start_paused = true)]
async fn groups_each_get_all_and_topics_are_apart() {
    let queue = MemoryQueue::new();
    let (billing, audit_a, audit_b) = (Recorder::new(), Recorder::new(), Recorder::new());
    let _billing = subscribe(&queue, "billing", Subscription::to(["orders"]), billing.clone()).await;
    let both = || Subscription::to(["orders", "refunds"]);
    let _audit_a = subscribe(&queue, "audit", both(), audit_a.clone()).await;
    let _audit_b = subscribe(&queue, "audit", both(), audit_b.clone()).await;
    let producer = producer(&queue).await;
    for number in 0..200 {
        let topic = if number % 2 == 0 { "orders" } else { "refunds" };
        let message = numbered(topic, &format!("k{number}"), number);
        producer.send(message).await.expect("room");
    }
    billing.reaches(100).await;
    eventually("the audit members share", || {
        audit_a.all().len() + audit_b.all().len() == 200
    })
    .await;
    assert!(billing.numbers().iter().all(|number| number % 2 == 0));
    assert!(audit_a.all().len() > 20 && audit_b.all().len() > 20);
    let all: BTreeSet<u64> = audit_a.numbers().into_iter().chain(audit_b.numbers()).collect();
    assert_eq!(all.len(), 200);
}

/// MQ-010, MQ-011: order per key; a slow key holds up nobody else, although it could fill the window.
#[tokio::test(start_paused = true)]
async fn a_slow_key_holds_up_no_other() {
    let queue = queue_with(|config| config.with_partitions(count(4)));
    let recorder = Recorder::new();
    let inner = recorder.clone();
    let handler = infra_core::queue::handler_fn(move |delivery| {
        let inner = inner.clone();
        async move {
            if delivery.message.key.as_deref() == Some(b"slow".as_slice()) {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            inner.handle(&delivery).await
        }
    });
    let producer = producer(&queue).await;
    for number in 0..100 {
        producer.send(numbered("t", "slow", number)).await.expect("room");
    }
    let mut fast = 0;
    for key in 0..20 {
        for number in 0..10 {
            let message = numbered("t", &format!("fast{key}"), number);
            let slow_partition = infra_core::queue::partition_of(b"slow", count(4));
            let receipt = producer.send(message).await.expect("room");
            fast += usize::from(receipt.partition != Some(slow_partition));
        }
    }
    let begun = Instant::now();
    let subscription = Subscription::to(["t"]).with_max_in_flight(count(16));
    let _subscription = subscribe(&queue, "g", subscription, handler).await;
    recorder.reaches(fast).await;
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "no slow message is done yet"
    );
    recorder.reaches(300).await;
    for (key, numbers) in recorder.by_key() {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

/// MQ-012: never more in flight than asked for; the bound can be changed while it runs.
#[tokio::test(start_paused = true)]
async fn the_window_is_respected_and_can_change() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let queue = MemoryQueue::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let handler = infra_core::queue::handler_fn(move |_| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            let at_once = running.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(at_once, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Disposition::Ack)
        }
    });
    let producer = producer(&queue).await;
    for number in 0..60_u64 {
        producer
            .send(Message::new("t", number.to_string()))
            .await
            .expect("room");
    }
    let subscription = Subscription::to(["t"]).with_max_in_flight(count(3));
    let subscription = subscribe(&queue, "g", subscription, handler).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(subscription.in_flight(), 3);
    subscription.set_max_in_flight(count(7));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(most.load(Ordering::SeqCst), 7);
    subscription.set_max_in_flight(count(2));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(now.load(Ordering::SeqCst), 2);
}

/// MQ-023: a delayed message is not early, and comes.
#[tokio::test(start_paused = true)]
async fn a_delayed_message_is_not_early() {
    let queue = MemoryQueue::new();
    assert!(queue.capabilities().has(Capability::DelayedDelivery));
    let begun = Instant::now();
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    let producer = producer(&queue).await;
    for (number, seconds) in [(2, 20), (1, 10)] {
        let delayed = numbered("t", "k", number).with_delay(Duration::from_secs(seconds));
        let receipt = producer.send(delayed).await.expect("room");
        assert_eq!(receipt.offset, None, "it has no place yet");
    }
    producer.send(numbered("t", "k", 0)).await.expect("room");
    recorder.reaches(1).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    recorder.reaches(2).await;
    assert!(begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() < Duration::from_secs(11));
    recorder.reaches(3).await;
    assert!(begun.elapsed() >= Duration::from_secs(20) && begun.elapsed() < Duration::from_secs(21));
    assert_eq!(recorder.numbers(), [0, 1, 2]);
}

/// MQ-022: a group that comes late reads what is kept; one that wants only new messages does not.
#[tokio::test(start_paused = true)]
async fn a_late_group_replays_what_is_kept() {
    let queue = queue_with(|config| config.with_replay_messages(50));
    assert!(queue.capabilities().has(Capability::Replay));
    let producer = producer(&queue).await;
    let first = Recorder::new();
    let _first = subscribe(&queue, "first", Subscription::to(["t"]), first.clone()).await;
    for number in 0..80 {
        producer.send(numbered("t", "k", number)).await.expect("room");
    }
    first.reaches(80).await;
    while lag(&queue, "first", "t").await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (late, latest) = (Recorder::new(), Recorder::new());
    let _late = subscribe(&queue, "late", Subscription::to(["t"]), late.clone()).await;
    let subscription = Subscription::to(["t"]).with_start(Start::Latest);
    let _latest = subscribe(&queue, "latest", subscription, latest.clone()).await;
    producer.send(numbered("t", "k", 80)).await.expect("room");
    late.reaches(51).await;
    latest.reaches(1).await;
    assert_eq!(late.numbers(), (30..=80).collect::<Vec<_>>());
    assert_eq!(latest.numbers(), [80]);

    let forgetful = queue_with(|config| config.with_replay_messages(0));
    assert!(!forgetful.capabilities().has(Capability::Replay));
}

/// The trace of the sender is the trace of the handler.
#[tokio::test(start_paused = true)]
async fn the_handler_runs_under_the_trace_of_the_message() {
    let queue = MemoryQueue::new();
    let traces = Arc::new(Mutex::new(Vec::new()));
    let seen = traces.clone();
    let handler = infra_core::queue::handler_fn(move |delivery| {
        let seen = seen.clone();
        async move {
            let context = trace_context_of(&delivery.message).map(|context| context.trace_id().to_owned());
            seen.lock().unwrap().push((current_trace_id(), context));
            Ok(Disposition::Ack)
        }
    });
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), handler).await;
    let producer = producer(&queue).await;
    let message = numbered("t", "k", 1);
    with_trace_id("abc", producer.send(message.clone()))
        .await
        .expect("room");
    producer.send(message.clone()).await.expect("room");
    assert!(
        message.headers.get(names::TRACE_ID).is_none(),
        "the caller's message is as it was"
    );
    eventually("both handled", || traces.lock().unwrap().len() == 2).await;
    let traces = traces.lock().unwrap().clone();
    assert_eq!(traces[0], (Some("abc".to_owned()), Some("abc".to_owned())));
    assert!(
        traces[1].0.is_some() && traces[1].1.is_none(),
        "a fresh trace: {traces:?}"
    );
}

/// MQ-017, MQ-018, MQ-019, MQ-025: what cannot be sent is refused by name, the rest is sent.
#[tokio::test(start_paused = true)]
async fn bad_messages_are_refused_one_by_one() {
    let queue = queue_with(|config| config.without_auto_create());
    let admin = queue.admin().await.expect("open");
    admin
        .create_topic(infra_core::queue::TopicSpec::new("t"))
        .await
        .expect("new");
    let producer = producer(&queue).await;
    let large = vec![0_u8; queue.capabilities().limits().max_value_bytes + 1];
    let results = producer
        .send_batch(vec![
            numbered("t", "k", 0),
            Message::new("t", large),
            Message::new("missing", "p"),
            numbered("t", "k", 1).with_header("häder with spaces/\u{1F980}", "v"),
        ])
        .await
        .expect("some are accepted");
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(Error::kind))
        .collect();
    let invalid = Some(ErrorKind::InvalidArgument);
    assert_eq!(kinds, [None, invalid, Some(ErrorKind::NotFound), None]);
    let missing = consumer(&queue, "g")
        .await
        .subscribe(Subscription::to(["t", "missing"]), Recorder::new())
        .await
        .expect_err("no such topic");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    recorder.reaches(2).await;
    let odd = recorder.all()[1]
        .message
        .headers
        .get_str("häder with spaces/\u{1F980}")
        .map(str::to_owned);
    assert_eq!(odd.as_deref(), Some("v"));
}
