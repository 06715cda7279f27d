//! Idempotent operations over the in-process store, under paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests too

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra_core::config::Validate;
use infra_core::intercept::{Retrying, Stack};
use infra_core::once::{
    Once, OnceConfig, OnceExt, OnceOptions, OnceOutcome, OnceStatus, OnceStore, StoreOnce, Waiting,
};
use infra_core::retry::Policy;
use infra_core::{Backend, Error, ErrorKind, Result};
use infra_memory::MemoryOnceStore;
use tokio::time::{Instant, sleep};

const TTL: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(30);

fn set_up() -> (Arc<StoreOnce>, MemoryOnceStore) {
    let store = MemoryOnceStore::new();
    let once = StoreOnce::new(Arc::new(store.clone()), OnceConfig::production()).expect("valid");
    (Arc::new(once), store)
}

fn options() -> OnceOptions {
    OnceOptions::new(TTL)
}

/// Work that counts how often it was begun.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn begun(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    async fn returning(self, value: u32) -> Result<u32> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(value)
    }

    async fn after(self, time: Duration, value: u32) -> Result<u32> {
        self.0.fetch_add(1, Ordering::SeqCst);
        sleep(time).await;
        Ok(value)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_call_executes_and_later_ones_get_its_result_until_it_expires() {
    let (once, store) = set_up();
    let work = Counted::default();
    let first = once
        .execute("k", options(), work.clone().returning(7))
        .await
        .expect("done");
    assert_eq!(first, OnceOutcome::Executed(7));
    let again = once
        .execute("k", options(), work.clone().returning(8))
        .await
        .expect("done");
    assert_eq!(again, OnceOutcome::Replayed(7));
    assert!(again.is_replay() && work.begun() == 1);
    assert_eq!(once.status("k").await.expect("answered"), OnceStatus::Done);
    assert_eq!(
        store.status("idempotent:k").await.expect("answered"),
        OnceStatus::Done
    );
    sleep(TTL).await;
    let later = once
        .execute("k", options(), work.clone().returning(9))
        .await
        .expect("done");
    assert_eq!(later, OnceOutcome::Executed(9));

    once.run("nothing to return", TTL, async { Ok(()) })
        .await
        .expect("done");
    assert!(
        once.run("nothing to return", TTL, async { Ok(()) })
            .await
            .expect("done")
            .is_replay()
    );
}

#[tokio::test(start_paused = true)]
async fn of_64_callers_at_once_one_works_and_all_get_its_result_when_it_is_there() {
    let (once, _) = set_up();
    let work = Counted::default();
    let begun = Instant::now();
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let (once, work) = (Arc::clone(&once), work.clone());
            tokio::spawn(async move {
                once.execute("k", options(), work.after(Duration::from_secs(3), n))
                    .await
            })
        })
        .collect();
    let mut results = Vec::new();
    for caller in callers {
        results.push(caller.await.expect("no panic").expect("done"));
    }
    assert_eq!(work.begun(), 1);
    assert_eq!(results.iter().filter(|outcome| !outcome.is_replay()).count(), 1);
    let first = results[0].clone().into_inner();
    assert!(results.into_iter().all(|outcome| outcome.into_inner() == first));
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(3),
        "waiters were told, they did not poll"
    );
}

#[tokio::test(start_paused = true)]
async fn work_in_progress_is_never_reported_as_done() {
    let (once, _) = set_up();
    let (worker, work) = (Arc::clone(&once), Counted::default());
    let slow = work.clone();
    let working = tokio::spawn(async move {
        worker
            .execute("k", options(), slow.after(Duration::from_secs(600), 1))
            .await
    });
    sleep(Duration::from_secs(300)).await;
    let refuse = options().with_waiting(Waiting::Refuse);
    let error = once
        .execute("k", refuse, work.clone().returning(2))
        .await
        .expect_err("busy");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let after = error.retry_after().expect("says when");
    assert!(error.is_retryable() && after > Duration::ZERO && after <= LEASE);

    let begun = Instant::now();
    let bounded = options().with_waiting(Waiting::UpTo(Duration::from_secs(60)));
    let error = once
        .execute("k", bounded, work.clone().returning(2))
        .await
        .expect_err("busy");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
    assert!(
        error.message().contains("\"k\"") && error.message().contains("60s"),
        "{error}"
    );
    assert_eq!(once.status("k").await.expect("answered"), OnceStatus::InProgress);
    assert_eq!(
        working.await.expect("no panic").expect("done"),
        OnceOutcome::Executed(1)
    );
    assert_eq!(work.begun(), 1, "its lease of 30 s was renewed for ten minutes");
}

#[tokio::test(start_paused = true)]
async fn failed_work_releases_its_key_and_a_waiter_takes_over_at_once() {
    let (once, _) = set_up();
    let failing = Arc::clone(&once);
    let failing = tokio::spawn(async move {
        failing
            .execute::<u32, _>("k", options(), async {
                sleep(Duration::from_secs(2)).await;
                Err(Error::new(ErrorKind::Unavailable, "the bank is away"))
            })
            .await
    });
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let work = Counted::default();
    let taken_over = once
        .execute("k", options(), work.clone().returning(2))
        .await
        .expect("done");
    assert_eq!(taken_over, OnceOutcome::Executed(2));
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    let error = failing.await.expect("no panic").expect_err("failed");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, "the bank is away")
    );
}

#[tokio::test(start_paused = true)]
async fn cancelled_and_panicking_work_release_in_the_background() {
    let (once, _) = set_up();
    for panics in [false, true] {
        let worker = Arc::clone(&once);
        let working = tokio::spawn(async move {
            worker
                .execute::<u32, _>("k", options(), async move {
                    assert!(!panics, "a defect of the work");
                    pending().await
                })
                .await
        });
        sleep(Duration::from_millis(1)).await;
        working.abort();
        assert!(working.await.is_err());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(
            once.status("k").await.expect("answered"),
            OnceStatus::Unknown,
            "panics: {panics}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_blocks_the_key_for_its_lease_and_not_for_the_ttl() {
    let (once, store) = set_up();
    let crashed = infra_core::once::ClaimRequest::new("idempotent:k", "a dead process", LEASE);
    store.claim(crashed).await.expect("claimed");
    let begun = Instant::now();
    let waiting = options().with_waiting(Waiting::UpTo(TTL));
    let outcome = once
        .execute("k", waiting, Counted::default().returning(1))
        .await
        .expect("done");
    assert_eq!(outcome, OnceOutcome::Executed(1));
    assert_eq!(begun.elapsed(), LEASE);
}

#[tokio::test(start_paused = true)]
async fn losing_the_claim_stops_the_work() {
    let (once, store) = set_up();
    let lose_by: [&dyn Fn(&MemoryOnceStore); 2] = [
        &|store| assert!(store.lose("idempotent:k")),
        &MemoryOnceStore::go_away,
    ];
    for lose in lose_by {
        let begun = Instant::now();
        let working = once.execute::<u32, _>("k", options(), pending());
        let (outcome, ()) = tokio::join!(working, async {
            sleep(Duration::from_secs(1)).await;
            lose(&store);
        });
        assert_eq!(outcome.expect_err("stopped").kind(), ErrorKind::LeaseLost);
        assert!(begun.elapsed() <= LEASE + Duration::from_secs(1));
        store.come_back();
    }
    let outcome = once
        .execute("k", options(), Counted::default().returning(1))
        .await;
    assert_eq!(outcome.expect("free again"), OnceOutcome::Executed(1));
}

#[tokio::test(start_paused = true)]
async fn clearing_forgets_a_result_and_takes_the_claim_from_work_in_progress() {
    let (once, _) = set_up();
    assert!(!once.clear("k").await.expect("answered"));
    once.run("k", TTL, async { Ok(()) }).await.expect("done");
    assert!(once.clear("k").await.expect("answered"));
    let (worker, work) = (Arc::clone(&once), Counted::default());
    let slow = work.clone();
    let working = tokio::spawn(async move {
        worker
            .execute("k", options(), slow.after(Duration::from_secs(1), 1))
            .await
    });
    sleep(Duration::from_millis(10)).await;
    assert!(once.clear("k").await.expect("answered"));
    let error = working.await.expect("no panic").expect_err("not alone any more");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(
        once.status("k").await.expect("answered"),
        OnceStatus::Unknown,
        "and not remembered"
    );
}

#[tokio::test(start_paused = true)]
async fn another_request_under_the_same_key_is_a_conflict() {
    let (once, _) = set_up();
    let ask = |fingerprint: &'static str| {
        let once = Arc::clone(&once);
        async move {
            let options = options().with_fingerprint(fingerprint);
            once.execute("k", options, Counted::default().returning(1)).await
        }
    };
    ask("amount=100").await.expect("done");
    assert!(ask("amount=100").await.expect("done").is_replay());
    let error = ask("amount=900").await.expect_err("another request");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, false));
    assert!(!format!("{error:?}").contains("900"));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_decode_is_reported_with_its_key() {
    let (once, store) = set_up();
    once.execute("k", options(), async { Ok(vec![1, 2]) })
        .await
        .expect("done");
    for spoiled in ["[1,\"two\"]", "[1", "[1] tail", ""] {
        assert!(store.overwrite_result("idempotent:k", spoiled));
        let error = once
            .execute("k", options(), async { Ok(vec![3]) })
            .await
            .expect_err("spoiled");
        assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{spoiled}");
        assert!(
            error.message().contains("\"k\"") && !error.message().contains("two"),
            "{error}"
        );
    }
    let empty = once
        .execute_bytes("raw", options(), Box::pin(async { Ok(Bytes::new()) }))
        .await;
    assert_eq!(empty.expect("done"), OnceOutcome::Executed(Bytes::new()));
    let again = once
        .execute_bytes("raw", options(), Box::pin(async { Ok(Bytes::from("x")) }))
        .await;
    assert_eq!(
        again.expect("done"),
        OnceOutcome::Replayed(Bytes::new()),
        "an empty result is a result"
    );
}

#[tokio::test(start_paused = true)]
async fn an_oversized_result_is_refused_and_the_key_released() {
    let store = MemoryOnceStore::new();
    let config = OnceConfig::development().with_max_result_bytes(10);
    let once = StoreOnce::new(Arc::new(store), config).expect("valid");
    let error = once
        .execute("k", options(), async { Ok("x".repeat(20)) })
        .await
        .expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(once.status("k").await.expect("answered"), OnceStatus::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_of_the_store_at_the_end_is_bridged_and_a_long_one_is_told() {
    let (once, store) = set_up();
    let away_at_the_end = |away: Duration| {
        let store = store.clone();
        async move {
            store.go_away();
            tokio::spawn(async move {
                sleep(away).await;
                store.come_back();
            });
            Ok(1)
        }
    };
    let bridged = once
        .execute("short", options(), away_at_the_end(Duration::from_millis(100)))
        .await;
    assert_eq!(bridged.expect("stored"), OnceOutcome::Executed(1));
    assert_eq!(once.status("short").await.expect("answered"), OnceStatus::Done);
    let error = once
        .execute("long", options(), away_at_the_end(Duration::from_secs(120)))
        .await
        .expect_err("not stored");
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::OutcomeUnknown, false)
    );
}

/// A stack that repeats says when it has repeated enough, which is sooner than a claim ends.
#[tokio::test(start_paused = true)]
async fn a_short_absence_is_bridged_behind_a_stack_too() {
    let store = MemoryOnceStore::new();
    let stack = Stack::new().with(Retrying::new(Policy::development()));
    let behind: Arc<dyn OnceStore> = stack.wrap(Arc::new(store.clone()) as Arc<dyn OnceStore>);
    let once = StoreOnce::new(behind, OnceConfig::production()).expect("valid");
    let outcome = once
        .execute("k", options(), async {
            store.go_away();
            let store = store.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(400)).await;
                store.come_back();
            });
            Ok(1)
        })
        .await;
    assert_eq!(outcome.expect("stored"), OnceOutcome::Executed(1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_while_the_store_is_away_or_closed_or_the_arguments_are_bad() {
    let (once, store) = set_up();
    let work = Counted::default();
    let long = "k".repeat(2000);
    for (key, ttl) in [("", TTL), (long.as_str(), TTL), ("k", Duration::ZERO)] {
        let error = once
            .execute(key, OnceOptions::new(ttl), work.clone().returning(1))
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    store.go_away();
    let error = once
        .execute("k", options(), work.clone().returning(1))
        .await
        .expect_err("away");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.come_back();
    store.shutdown(TTL).await.expect("closed");
    let error = once
        .execute("k", options(), work.clone().returning(1))
        .await
        .expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(work.begun(), 0);

    let bad = OnceConfig::development()
        .with_lease(Duration::ZERO)
        .with_max_result_bytes(0);
    let error = bad.check().expect_err("refused");
    assert!(
        error.message().contains("lease") && error.message().contains("max_result_bytes"),
        "{error}"
    );
    let unfit = OnceConfig::development().with_lease(Duration::MAX);
    let error = StoreOnce::new(Arc::new(store), unfit).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}
