//! Retries, dead letters, panics, timeouts, lost brokers.

use std::sync::atomic::{AtomicUsize, Ordering};

use infra_core::queue::{handler_fn, names};
use infra_core::{Backend, Error, ErrorKind, Retry};
use tokio::time::{Instant, sleep};

use super::*;

/// A subscription whose retries are quick.
fn impatient() -> Subscription {
    Subscription::to(["t"])
        .with_backoff(Duration::from_millis(100), Duration::from_secs(1))
        .with_max_attempts(count(4))
}

/// The letters in a dead-letter topic.
async fn letters(queue: &MemoryQueue, expected: usize) -> Vec<Delivery> {
    let recorder = Recorder::new();
    let _subscription = subscribe(queue, "letters", Subscription::to(["t.dlq"]), recorder.clone()).await;
    recorder.reaches(expected).await;
    // Whatever would come beyond the expected ones has the time to come.
    sleep(Duration::from_secs(60)).await;
    recorder.all()
}

/// MQ-005, MQ-006: a failing message is delivered again, at growing distances, then becomes one dead letter.
#[tokio::test(start_paused = true)]
async fn a_poison_message_becomes_exactly_one_dead_letter() {
    let queue = MemoryQueue::new();
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let recorder = Recorder::answering(move |_| {
        seen.lock().unwrap().push(Instant::now());
        Err(Error::new(ErrorKind::Unavailable, "no such luck"))
    });
    let _subscription = subscribe(&queue, "g", impatient(), recorder.clone()).await;
    let producer = producer(&queue).await;
    let sent = numbered("t", "k", 7).with_header("X-Own", "kept");
    producer.send(sent).await.expect("room");
    let letters = letters(&queue, 1).await;

    let attempts: Vec<u32> = recorder
        .all()
        .iter()
        .map(|delivery| delivery.attempt.get())
        .collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    let times = times.lock().unwrap().clone();
    for (pair, least) in times.windows(2).zip([100, 200, 400]) {
        let (gap, least) = (pair[1] - pair[0], Duration::from_millis(least));
        assert!(
            gap >= least && gap <= least * 5 / 4 + Duration::from_millis(5),
            "{gap:?}"
        );
    }
    assert_eq!(letters.len(), 1);
    let letter = &letters[0].message;
    let header = |name| letter.headers.get_str(name).unwrap_or_default().to_owned();
    assert_eq!(number_of(&letters[0]), 7);
    assert_eq!(letter.key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(header(names::ORIGINAL_TOPIC), "t");
    assert_eq!(header(names::ORIGINAL_GROUP), "g");
    assert_eq!(header(names::ATTEMPT), "4");
    assert_eq!(header(names::DEAD_LETTER_REASON), "no such luck (unavailable)");
    assert_eq!(header("X-Own"), "kept");
    assert_eq!(lag(&queue, "g", "t").await, 0);
}

/// The handler's own delay is kept, counts as an attempt, and an error's least delay is respected.
#[tokio::test(start_paused = true)]
async fn a_retry_is_not_early() {
    let queue = MemoryQueue::new();
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let recorder = Recorder::answering(move |delivery| {
        seen.lock().unwrap().push(Instant::now());
        match delivery.attempt.get() {
            1 => Ok(Disposition::Retry {
                after: Duration::from_secs(30),
            }),
            2 => Err(Error::new(ErrorKind::RateLimited, "slow down")
                .with_retry(Retry::After(Duration::from_secs(7)))),
            _ => Ok(Disposition::Ack),
        }
    });
    let _subscription = subscribe(&queue, "g", impatient(), recorder.clone()).await;
    producer(&queue)
        .await
        .send(numbered("t", "k", 0))
        .await
        .expect("room");
    recorder.reaches(3).await;
    let times = times.lock().unwrap().clone();
    let (first, second) = (times[1] - times[0], times[2] - times[1]);
    assert!(
        first >= Duration::from_secs(30) && first < Duration::from_secs(31),
        "{first:?}"
    );
    assert!(
        second >= Duration::from_secs(7) && second < Duration::from_secs(8),
        "{second:?}"
    );
}

/// A message that waits for its next attempt holds up neither its own key nor others.
#[tokio::test(start_paused = true)]
async fn a_waiting_retry_holds_up_nothing() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::answering(|delivery| {
        if number_of(delivery) == 0 && delivery.attempt.get() == 1 {
            return Ok(Disposition::Retry {
                after: Duration::from_secs(60),
            });
        }
        Ok(Disposition::Ack)
    });
    let begun = Instant::now();
    let subscription = impatient().with_max_in_flight(count(1));
    let _subscription = subscribe(&queue, "g", subscription, recorder.clone()).await;
    let producer = producer(&queue).await;
    for number in 0..50 {
        producer.send(numbered("t", "k", number)).await.expect("room");
    }
    recorder.reaches(50).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    recorder.reaches(51).await;
    assert!(begun.elapsed() >= Duration::from_secs(60));
    let expected: Vec<u64> = (0..50).chain([0]).collect();
    assert_eq!(recorder.numbers(), expected);
}

/// A panic and a handler that hangs are failures of one message, not of the subscription.
#[tokio::test(start_paused = true)]
async fn panics_and_hanging_handlers_are_isolated() {
    let queue = MemoryQueue::new();
    let handled = Arc::new(AtomicUsize::new(0));
    let counted = handled.clone();
    let handler = handler_fn(move |delivery| {
        let counted = counted.clone();
        async move {
            match number_of(&delivery) {
                0 => panic!("boom"),
                1 => std::future::pending().await,
                _ => {
                    counted.fetch_add(1, Ordering::SeqCst);
                    Ok(Disposition::Ack)
                }
            }
        }
    });
    let subscription = impatient()
        .with_max_attempts(count(2))
        .with_handler_timeout(Duration::from_secs(5));
    let _subscription = subscribe(&queue, "g", subscription, handler).await;
    let producer = producer(&queue).await;
    for number in 0..20 {
        producer
            .send(numbered("t", &format!("k{number}"), number))
            .await
            .expect("room");
    }
    let letters = letters(&queue, 2).await;
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| {
            letter
                .message
                .headers
                .get_str(names::DEAD_LETTER_REASON)
                .unwrap_or_default()
        })
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            "the handler panicked: boom",
            "the handler ran longer than 5s and was stopped (timeout)"
        ]
    );
    assert_eq!(handled.load(Ordering::SeqCst), 18);
    assert_eq!(lag(&queue, "g", "t").await, 0);
}

/// A message that the handler condemns goes at once.
#[tokio::test(start_paused = true)]
async fn a_handler_can_condemn_a_message() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::answering(|_| {
        Ok(Disposition::DeadLetter {
            reason: "not JSON".to_owned(),
        })
    });
    let _subscription = subscribe(&queue, "g", impatient(), recorder.clone()).await;
    producer(&queue)
        .await
        .send(numbered("t", "k", 3))
        .await
        .expect("room");
    let letters = letters(&queue, 1).await;
    assert_eq!((letters.len(), recorder.all().len()), (1, 1));
    let headers = &letters[0].message.headers;
    assert_eq!(headers.get_str(names::DEAD_LETTER_REASON), Some("not JSON"));
    assert_eq!(headers.get_str(names::ATTEMPT), Some("1"));
}

/// A dead-letter topic without room delays its messages and loses none, and each arrives once.
#[tokio::test(start_paused = true)]
async fn a_full_dead_letter_topic_loses_nothing() {
    let overflows = [crate::Overflow::Refuse, crate::Overflow::Wait];
    for overflow in overflows {
        let queue = queue_with(|config| config.with_capacity_messages(4).with_overflow(overflow));
        let recorder = Recorder::answering(|_| {
            Ok(Disposition::DeadLetter {
                reason: "bad".to_owned(),
            })
        });
        let subscription = impatient().with_max_in_flight(count(2));
        let subscribed = subscribe(&queue, "g", subscription, recorder.clone()).await;
        let producer = producer(&queue).await;
        for number in 0..8 {
            while producer.send(numbered("t", "k", number)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        }
        eventually("the topic is full", || recorder.all().len() == 6).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(subscribed.in_flight(), 2, "they wait for room");
        let letters = letters(&queue, 8).await;
        let mut numbers: Vec<u64> = letters.iter().map(number_of).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..8).collect::<Vec<_>>());
        assert_eq!(lag(&queue, "g", "t").await, 0);
    }
}

/// MQ-020: while the broker is away nothing is lost, and what was answered meanwhile is settled afterwards.
#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_loses_nothing() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::new();
    let inner = recorder.clone();
    let slow = handler_fn(move |delivery| {
        let inner = inner.clone();
        async move {
            sleep(Duration::from_millis(500)).await;
            inner.handle(&delivery).await
        }
    });
    let _subscription = subscribe(&queue, "g", impatient(), slow).await;
    let producer = producer(&queue).await;
    for number in 0..10 {
        producer
            .send(numbered("t", &format!("k{number}"), number))
            .await
            .expect("room");
    }
    sleep(Duration::from_millis(100)).await;
    queue.faults().disconnect();
    let refused = producer.send(numbered("t", "k", 99)).await.expect_err("away");
    assert!(refused.kind() == ErrorKind::Unavailable && refused.is_retryable());
    assert_eq!(
        queue.health().await.expect_err("away").kind(),
        ErrorKind::Unavailable
    );
    recorder.reaches(10).await;
    sleep(Duration::from_secs(20)).await;
    queue.faults().reconnect();
    assert_eq!(lag(&queue, "g", "t").await, 10, "nothing could be settled");
    for number in 10..20 {
        producer.send(numbered("t", "k", number)).await.expect("room");
    }
    recorder.reaches(20).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(lag(&queue, "g", "t").await, 0);
    assert_eq!(recorder.all().len(), 20, "and nothing came twice");
}

/// A settlement that a broker loses means a second delivery, which says so.
#[tokio::test(start_paused = true)]
async fn duplicates_can_be_asked_for() {
    let queue = MemoryQueue::new();
    queue.faults().duplicate_next(3);
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", impatient(), recorder.clone()).await;
    let producer = producer(&queue).await;
    for number in 0..10 {
        producer.send(numbered("t", "k", number)).await.expect("room");
    }
    recorder.reaches(13).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(recorder.all().len(), 13);
    let again = recorder
        .all()
        .iter()
        .filter(|delivery| delivery.attempt.get() > 1)
        .count();
    assert_eq!(again, 3);
    assert_eq!(lag(&queue, "g", "t").await, 0);
}

/// A message that was never answered counts its deliveries too: what kills its consumers ends in the dead-letter topic.
#[tokio::test]
async fn a_message_that_kills_its_consumers_is_given_up() {
    let queue = MemoryQueue::new();
    producer(&queue)
        .await
        .send(numbered("t", "k", 5))
        .await
        .expect("room");
    for _ in 0..4 {
        let doomed = queue.clone();
        let death = std::thread::spawn(move || {
            let process = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            process.block_on(async {
                let recorder = Recorder::new();
                let inner = recorder.clone();
                let hanging = handler_fn(move |delivery| {
                    let inner = inner.clone();
                    async move {
                        inner.handle(&delivery).await?;
                        std::future::pending().await
                    }
                });
                let subscription = subscribe(&doomed, "g", impatient(), hanging).await;
                recorder.reaches(1).await;
                std::mem::forget(subscription);
            });
            // The runtime is dropped with its tasks, in whatever state they are.
            drop(process);
        });
        death.join().expect("no panic");
    }
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", impatient(), recorder.clone()).await;
    let letters = Recorder::new();
    let _letters = subscribe(&queue, "letters", Subscription::to(["t.dlq"]), letters.clone()).await;
    letters.reaches(1).await;
    assert!(recorder.all().is_empty());
    let reason = letters.all()[0]
        .message
        .headers
        .get_str(names::DEAD_LETTER_REASON)
        .map(str::to_owned);
    assert_eq!(reason.as_deref(), Some("delivered 5 times and never settled"));
}

/// A member that the broker gave up gets nothing until its handler has ended; another has its message meanwhile.
#[tokio::test(start_paused = true)]
async fn a_lost_session_gives_everything_to_another_and_counts_no_answer() {
    let queue = MemoryQueue::new();
    let producer = producer(&queue).await;
    let recorder = Recorder::new();
    let slow = infra_core::queue::handler_fn(|_| async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(Disposition::Ack)
    });
    let first = subscribe(&queue, "g", Subscription::to(["t"]), slow).await;
    producer.send(numbered("t", "k", 0)).await.expect("room");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first.in_flight(), 1);

    let second = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    assert_eq!(queue.faults().lose_sessions(), 2);
    recorder.reaches(1).await;
    assert_eq!(recorder.all()[0].attempt.get(), 2, "delivered again");
    assert_eq!(first.in_flight(), 1, "while the first still works on it");
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(second);
    producer.send(numbered("t", "k", 1)).await.expect("room");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(first.in_flight(), 1, "it has joined again");
    assert_eq!(recorder.numbers(), [0]);
}

/// A member whose session was lost and that is dropped before it has joined again leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn a_lost_member_that_ends_does_not_join_again() {
    let queue = MemoryQueue::new();
    let recorder = Recorder::new();
    let first = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    assert_eq!(queue.faults().lose_sessions(), 1);
    drop(first);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(queue.faults().lose_sessions(), 0, "nobody is left");
}

/// Two messages of one key come the other way round, and then no more.
#[tokio::test(start_paused = true)]
async fn deliveries_swap_on_command() {
    let queue = MemoryQueue::new();
    let producer = producer(&queue).await;
    for number in 0..6 {
        producer.send(numbered("t", "k", number)).await.expect("room");
    }
    queue.faults().reorder_next(2);
    let recorder = Recorder::new();
    let _subscription = subscribe(&queue, "g", Subscription::to(["t"]), recorder.clone()).await;
    recorder.reaches(6).await;
    assert_eq!(recorder.numbers(), [1, 0, 3, 2, 4, 5]);
}
