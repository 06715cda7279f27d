//! The set of fakes keeps what its documentation says.

use std::sync::Arc;
use std::time::Duration;

use infra_core::cache::{KeyValue, KeyValueExt as _, SortedSets};
use infra_core::coordination::{LockOptions, Locks, LocksExt as _};
use infra_core::intercept::Fault;
use infra_core::once::{OnceExt as _, OnceOptions};
use infra_core::queue::{Disposition, Message, Subscription, handler_fn};
use infra_core::rate_limit::{RateLimiterExt as _, Rule};
use infra_core::{ErrorKind, Ttl};
use infra_testkit::time::{advance, eventually};
use infra_testkit::{TestInfra, unique};

/// Which of a hundred calls fail.
async fn failures(infra: &TestInfra) -> Vec<bool> {
    let cache = infra.cache();
    let mut failed = Vec::new();
    for _ in 0..100 {
        failed.push(cache.get("key").await.is_err());
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_a_run_and_another_seed_does_not() {
    let seeded = |seed| TestInfra::seeded(seed).with_chance(0.2, Fault::Err(ErrorKind::Unavailable));
    let (first, again, other) = (seeded(7), seeded(7), seeded(8));
    let pattern = failures(&first).await;
    assert_eq!((first.seed(), &pattern), (7, &failures(&again).await));
    assert_ne!(pattern, failures(&other).await);
    let failed = pattern.iter().filter(|failed| **failed).count();
    assert!((5..40).contains(&failed), "{failed} of 100 at 20 %");
}

#[tokio::test(start_paused = true)]
async fn one_state_stands_behind_every_handle() {
    let infra = TestInfra::new();
    let strings: Arc<dyn KeyValue> = infra.cache();
    let sorted: Arc<dyn SortedSets> = infra.cache();
    strings.set_json("key", &1, Ttl::Never).await.expect("well");
    assert_eq!(
        sorted.sorted_len("key").await.expect_err("a string").kind(),
        ErrorKind::Conflict
    );
    assert_eq!(infra.recorder().labels(), ["cache.set", "cache.sorted_len"]);
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_mends_what_repeating_can_mend() {
    let infra = TestInfra::new().hardened().expect("the standard stack");
    infra.faults().script(
        "cache.get",
        [
            Fault::Err(ErrorKind::Unavailable),
            Fault::Delay(Duration::from_secs(60)),
        ],
    );
    infra.faults().script("cache.set_if_absent", [Fault::DropReply]);
    let cache = infra.cache();
    assert_eq!(cache.get("key").await.expect("the third attempt"), None);
    assert_eq!(
        infra.recorder().count("cache.get"),
        3,
        "an error, a timeout, an answer"
    );

    // Not idempotent, and nobody knows whether it took effect: not repeated.
    let lost = cache
        .set_if_absent("key", "value".into(), Ttl::Never)
        .await
        .expect_err("no answer");
    assert_eq!(lost.kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(infra.recorder().count("cache.set_if_absent"), 1);
    assert!(cache.exists("key").await.expect("well"), "it did take effect");
    assert_eq!(infra.faults().remaining(), 0);
}

#[tokio::test(start_paused = true)]
async fn locks_are_lost_on_command() {
    let infra = TestInfra::new();
    let locks: Arc<dyn Locks> = infra.coordinator();
    let options = LockOptions::new(Duration::from_secs(30));
    let lost = infra.memory_coordinator().lock_table().clone();
    let work = locks.with_lock("report", options, |held| async move {
        lost.expire("report");
        // Renewal finds out; until then the work goes on and is then dropped.
        std::future::pending::<()>().await;
        Ok(held.fencing_token())
    });
    assert_eq!(work.await.expect_err("lost").kind(), ErrorKind::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn limits_refill_with_the_paused_clock() {
    let infra = TestInfra::new().with_rule("post", Rule::new(1.0, 1));
    let limiter = infra.limiter().expect("a valid rule");
    assert!(limiter.check("ann", "post").await.expect("decided").allowed);
    assert!(!limiter.check("ann", "post").await.expect("decided").allowed);
    advance(Duration::from_secs(1)).await;
    assert!(limiter.check("ann", "post").await.expect("decided").allowed);
}

#[tokio::test(start_paused = true)]
async fn work_is_done_once_although_its_note_was_lost_on_the_way_back() {
    let infra = TestInfra::new();
    infra.faults().script("once_store.complete", [Fault::DropReply]);
    let once = infra.once().expect("a valid configuration");
    let options = || OnceOptions::new(Duration::from_secs(60));
    let heard = once.execute("pay", options(), async { Ok(1) }).await;
    let again = once
        .execute("pay", options(), async { Ok(2) })
        .await
        .expect("answered");
    assert_eq!(again.into_inner(), 1, "after {heard:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_go_round_and_ids_are_unlike() {
    let infra = TestInfra::new();
    let topic = unique("orders");
    let producer = infra.producer().await.expect("open");
    let consumer = infra.consumer("billing").await.expect("open");
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handled = seen.clone();
    let handler = handler_fn(move |delivery| {
        handled
            .lock()
            .expect("not poisoned")
            .push(delivery.message.payload.clone());
        async { Ok(Disposition::Ack) }
    });
    let subscription = consumer
        .subscribe(Subscription::to([topic.clone()]), handler)
        .await
        .expect("subscribed");
    let ids = [
        infra.ids().snowflake().expect("an id"),
        infra.ids().snowflake().expect("another"),
    ];
    assert!(ids[0] < ids[1]);
    for id in ids {
        producer
            .send(Message::new(topic.clone(), id.to_string()))
            .await
            .expect("sent");
    }
    assert!(
        eventually(Duration::from_secs(5), async || seen
            .lock()
            .expect("not poisoned")
            .len()
            == 2)
        .await
    );
    subscription
        .drain(Duration::from_secs(5))
        .await
        .expect("nothing is left");
}
