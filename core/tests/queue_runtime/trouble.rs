//! A broker that is away or closed: nothing is settled too early, nothing is lost, everything ends.

use infra_core::queue::{SubscriptionKeeper, names};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_stored_before_its_message_is_settled_however_long_it_takes() {
    let log = Log::new(1);
    log.add(0, "a", "slow:1");
    log.add(0, "b", "bad");
    let seen = Seen::default();
    let subscription = Subscription::to([log::TOPIC]).with_max_attempts(count(1));
    let running = start(&log, subscription, obedient(&seen));
    tokio::task::yield_now().await;
    sleep(SECOND / 100).await;
    assert_eq!(log.state().letters.len(), 1);
    log.add(0, "c", "bad again");
    log.go_away();
    sleep(SECOND * 60).await;
    assert_eq!(log.committed(0), None, "no position could be stored");
    let failures = log.state().failures;
    assert!(
        (10..200).contains(&failures),
        "it tries at growing distances: {failures}"
    );
    log.come_back();
    sleep(SECOND * 20).await;
    assert_eq!(log.state().letters.len(), 2, "each once");
    assert_eq!(log.committed(0), Some(3));
    let letter = log.state().letters[0].clone();
    assert_eq!(
        letter.headers.get_str(names::DEAD_LETTER_REASON),
        Some("as told (internal)")
    );
    assert_eq!(running.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_although_the_broker_is_away() {
    let log = Log::new(1);
    log.add(0, "a", "one");
    let seen = Seen::default();
    let running = start(&log, Subscription::to([log::TOPIC]), obedient(&seen));
    sleep(SECOND / 10).await;
    log.go_away();
    let begun = tokio::time::Instant::now();
    running.drain(SECOND * 2).await.expect("no handler was stopped");
    assert!(begun.elapsed() <= SECOND * 8, "{:?}", begun.elapsed());
    assert_eq!(log.committed(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_the_subscription() {
    let log = Log::new(1);
    log.add(0, "a", "slow:3");
    let seen = Seen::default();
    let running = start(&log, Subscription::to([log::TOPIC]), obedient(&seen));
    sleep(SECOND).await;
    log.close_it();
    sleep(SECOND).await;
    assert!(!running.has_ended(), "the running handler may finish");
    sleep(SECOND * 2).await;
    assert!(running.has_ended());
    assert_eq!(seen.payloads(), ["slow:3"]);
    running.drain(SECOND).await.expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_stops_handlers_at_once() {
    let log = Log::new(1);
    log.add(0, "a", "slow:100");
    let seen = Seen::default();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let handle = start(&log, Subscription::to([log::TOPIC]), obedient(&seen)).handle();
    sleep(SECOND).await;
    assert_eq!((alive() - before, handle.in_flight()), (2, 1));
    drop(handle);
    sleep(SECOND / 100).await;
    assert_eq!(alive(), before);
    assert!(log.state().left && seen.all().is_empty());
    assert_eq!(log.committed(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_stops_at_once() {
    let log = Log::new(1);
    log.add(0, "a", "slow:3");
    let seen = Seen::default();
    let handle = start(&log, Subscription::to([log::TOPIC]), obedient(&seen)).handle();
    sleep(SECOND).await;
    let given_up = tokio::time::timeout(SECOND, handle.drain(SECOND * 10)).await;
    assert!(given_up.is_err());
    sleep(SECOND * 100).await;
    assert!(seen.all().is_empty(), "the handler ended with the drain");
    assert_eq!(log.committed(0), None, "its message goes back to the group");
}
