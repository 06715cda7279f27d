//! Positions: never past an unfinished message, stored in time, at a drain and at a rebalance.

use infra_core::queue::SubscriptionKeeper;

use super::*;

fn quick() -> Subscription {
    Subscription::to([log::TOPIC])
        .with_backoff(SECOND / 10, SECOND)
        .with_max_attempts(count(3))
}

#[tokio::test(start_paused = true)]
async fn a_position_waits_for_the_slowest_message() {
    let log = Log::new(2);
    log.add(0, "a", "slow:10");
    for key in ["b", "c", "d"] {
        log.add(0, key, key);
        log.add(1, key, key);
    }
    let seen = Seen::default();
    let _running = start(&log, quick(), obedient(&seen));
    sleep(SECOND * 5).await;
    assert_eq!(seen.all().len(), 6, "keys do not wait for each other");
    assert_eq!(log.committed(0), None);
    assert_eq!(log.committed(1), Some(3));
    sleep(SECOND * 7).await;
    assert_eq!(log.committed(0), Some(4));
    assert_eq!(log.state().commits.len(), 2, "one call for many messages");
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_here_and_holds_up_the_position_only() {
    let log = Log::new(1);
    log.add(0, "a", "bad");
    log.add(0, "a", "good");
    let seen = Seen::default();
    let running = start(&log, quick(), obedient(&seen));
    sleep(SECOND / 20).await;
    assert_eq!(seen.all(), [("bad".to_owned(), 1), ("good".to_owned(), 1)]);
    assert_eq!(running.in_flight(), 1, "it waits for its next attempt");
    sleep(SECOND * 3).await;
    let attempts: Vec<u32> = seen
        .all()
        .iter()
        .filter(|(payload, _)| payload == "bad")
        .map(|(_, attempt)| *attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(log.state().letters.len(), 1);
    assert_eq!(log.state().letters[0].topic, "t.dlq");
    assert_eq!(log.committed(0), Some(2));
    assert_eq!(running.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_stores_what_is_finished_and_leaves_the_rest() {
    let log = Log::new(1);
    for payload in ["one", "slow:2", "bad"] {
        log.add(0, payload, payload);
    }
    let seen = Seen::default();
    let subscription = quick().with_backoff(SECOND * 60, SECOND * 60);
    let running = start(&log, subscription, obedient(&seen));
    sleep(SECOND / 10).await;
    running.drain(SECOND * 5).await.expect("in time");
    assert_eq!(
        log.committed(0),
        Some(2),
        "all but the one that waits for its next attempt"
    );
    assert!(log.state().left && running.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_revocation_waits_for_running_handlers_and_stores_their_positions() {
    let log = Log::new(2);
    log.add(0, "a", "slow:2");
    log.add(0, "a", "after");
    log.add(0, "b", "bad");
    log.add(1, "c", "slow:4");
    let seen = Seen::default();
    let subscription = quick().with_backoff(SECOND * 60, SECOND * 60);
    let running = start(&log, subscription, obedient(&seen));
    sleep(SECOND).await;
    let done = log.revoke(0, SECOND * 10).await;
    let begun = tokio::time::Instant::now();
    let when = done.await.expect("completed");
    assert_eq!((when - begun).as_secs(), 1, "when the running handler had ended");
    assert_eq!(log.committed(0), Some(1));
    sleep(SECOND * 100).await;
    assert_eq!(
        seen.payloads(),
        ["bad", "slow:2", "slow:4"],
        "nothing else of the lost partition is handled"
    );
    assert_eq!(log.committed(1), Some(1), "the other partition goes on");
    assert_eq!(running.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_stops_handlers_at_its_deadline() {
    let log = Log::new(1);
    log.add(0, "a", "slow:1000");
    let seen = Seen::default();
    let running = start(&log, quick(), obedient(&seen));
    sleep(SECOND).await;
    let begun = tokio::time::Instant::now();
    let when = log.revoke(0, SECOND * 3).await.await.expect("completed");
    assert_eq!((when - begun).as_secs(), 3);
    assert_eq!(log.committed(0), None);
    assert_eq!((seen.all().len(), running.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_busy_key_does_not_fill_the_window() {
    let log = Log::new(2);
    for _ in 0..100 {
        log.add(0, "busy", "slow:1");
    }
    let seen = Seen::default();
    let running = start(&log, quick().with_max_in_flight(count(8)), obedient(&seen));
    sleep(SECOND / 2).await;
    for key in ["b", "c", "d"] {
        log.add(1, key, "quick");
    }
    sleep(SECOND / 10).await;
    assert_eq!(seen.payloads(), ["quick", "quick", "quick"]);
    assert!(running.in_flight() <= 5, "{}", running.in_flight());
    sleep(SECOND * 200).await;
    assert_eq!(seen.all().len(), 103, "a paused partition is resumed");
    assert!(!log.state().resumed.is_empty());
    running.set_max_in_flight(count(3));
    sleep(SECOND).await;
    assert_eq!(log.state().window, 3);
}
