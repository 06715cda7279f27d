//! The lock scenarios of the catalogue that concern one table, under paused time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use infra_core::coordination::{Election, ElectionOptions, Locks, LocksExt};

use super::*;
use crate::MemoryCoordinator;

const TTL: Duration = Duration::from_secs(9);

fn client() -> LockClient {
    client_of(&LockTable::new(1000))
}

fn client_of(table: &LockTable) -> LockClient {
    table.client(Arc::new(Link::default()), Limits::DEFAULT)
}

fn options() -> LockOptions {
    LockOptions::new(TTL)
}

/// Waits until `condition` holds; paused time makes the bound free.
async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the condition never held");
}

async fn held_by(client: &LockClient, key: &str) -> LockGuard {
    client.acquire(key, options()).await.expect("acquired")
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_is_refused_even_to_its_holder_and_given_again_after_release() {
    let client = client();
    let guard = held_by(&client, "k").await;
    assert!(client.try_acquire("k", TTL).expect("no error").is_none());
    assert!(client.try_acquire("other", TTL).expect("no error").is_some());
    let first = guard.fencing_token();
    guard.release().await.expect("still ours");
    let again = client.try_acquire("k", TTL).expect("no error").expect("free");
    assert!(again.fencing_token() > first);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_bounded_and_its_error_names_lock_and_time() {
    let client = client();
    let _guard = held_by(&client, "daily report").await;
    let begun = Instant::now();
    let waited = Duration::from_secs(60);
    let error = client
        .acquire("daily report", options().with_wait(waited))
        .await
        .expect_err("held");
    assert_eq!(begun.elapsed(), waited, "renewals did not shorten the wait");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.message().contains("\"daily report\"") && error.message().contains("60s"),
        "{error}"
    );
    assert_eq!(client.table().waiting("daily report"), 0);
    let at_once = client
        .acquire("daily report", options().with_wait(Duration::ZERO))
        .await;
    assert_eq!(at_once.expect_err("held").kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_of_arrival_and_at_once() {
    let client = client();
    let guard = held_by(&client, "k").await;
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let (waiter, order) = (client.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let guard = held_by(&waiter, "k").await;
            order.lock().expect("not poisoned").push(n);
            guard.release().await.expect("ours");
        }));
        eventually(|| client.table().waiting("k") == n + 1).await;
    }
    let begun = Instant::now();
    guard.release().await.expect("ours");
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("not poisoned"), (0..8).collect::<Vec<_>>());
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody polled");
}

#[tokio::test(start_paused = true)]
async fn a_crashed_holder_is_replaced_when_its_lease_ends() {
    let table = LockTable::new(1000);
    let (crashing, waiting) = (client_of(&table), client_of(&table));
    let guard = held_by(&crashing, "k").await;
    tokio::time::sleep(TTL * 3).await;
    assert!(table.is_held("k"), "it was renewed");
    crashing.link().cut();
    let begun = Instant::now();
    let next = held_by(&waiting, "k").await;
    assert!(begun.elapsed() <= TTL, "{:?}", begun.elapsed());
    assert!(next.fencing_token() > guard.fencing_token());
    guard.lost().await;
    crashing.link().mend();
    assert_eq!(
        guard.release().await.expect_err("not ours").kind(),
        ErrorKind::LeaseLost
    );
    assert!(
        next.check().is_ok() && table.is_held("k"),
        "the new owner was not touched"
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_owner_cannot_release_and_a_stolen_lock_is_lost() {
    let client = client();
    let guard = held_by(&client, "k").await;
    let thief = client.table().steal("k", TTL * 10);
    assert!(thief > guard.fencing_token());
    // The thief is not known yet on our side: the release compares owners.
    assert!(guard.check().is_ok());
    assert_eq!(
        guard.release().await.expect_err("stolen").kind(),
        ErrorKind::LeaseLost
    );
    assert!(client.table().is_held("k"));

    let guard = held_by(&client, "other").await;
    assert!(client.table().expire("other") && !client.table().expire("unknown"));
    let begun = Instant::now();
    guard.lost().await;
    assert!(begun.elapsed() <= TTL / 3);
    assert_eq!(guard.check().expect_err("lost").kind(), ErrorKind::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_loses_the_lock_within_its_time_to_live() {
    let coordinator = MemoryCoordinator::new();
    let guard = coordinator.acquire("k", options()).await.expect("free");
    coordinator.faults().go_away();
    let begun = Instant::now();
    let refused = coordinator.try_acquire("other", TTL).await.expect_err("away");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    guard.lost().await;
    assert!(begun.elapsed() <= TTL);
    coordinator.faults().come_back();
    assert!(coordinator.try_acquire("k", TTL).await.expect("back").is_some());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_guard_releases_in_the_background() {
    let client = client();
    drop(held_by(&client, "k").await);
    assert!(client.table().is_held("k"), "drop does no work of its own");
    eventually(|| !client.table().is_held("k")).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_leaves_no_ghost() {
    let client = client();
    let guard = held_by(&client, "k").await;
    let waiter = client.clone();
    let ghost = tokio::spawn(async move { held_by(&waiter, "k").await });
    eventually(|| client.table().waiting("k") == 1).await;
    ghost.abort();
    eventually(|| client.table().waiting("k") == 0).await;
    guard.release().await.expect("ours");
    assert!(client.try_acquire("k", TTL).expect("no error").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_cancelled_at_the_moment_of_its_grant_passes_the_lock_on() {
    let client = client();
    let guard = held_by(&client, "k").await;
    let mut first = Box::pin(client.acquire("k", options()));
    let mut second = Box::pin(client.acquire("k", options()));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    guard.release().await.expect("ours");
    // The first was granted the lock and is dropped before it could look.
    drop(first);
    assert!(futures_util::poll!(second.as_mut()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn shutdown_tells_waiters_closed_and_frees_what_the_client_held() {
    let table = LockTable::new(1000);
    let (leaving, staying) = (client_of(&table), client_of(&table));
    let guard = held_by(&leaving, "held").await;
    let _other = held_by(&staying, "wanted").await;
    let waiter = leaving.clone();
    let waiting = tokio::spawn(async move { waiter.acquire("wanted", options()).await });
    let own_waiter = leaving.clone();
    let waiting_for_own = tokio::spawn(async move { own_waiter.acquire("held", options()).await });
    eventually(|| table.waiting("wanted") == 1 && table.waiting("held") == 1).await;
    leaving.shutdown();
    leaving.shutdown();
    for task in [waiting, waiting_for_own] {
        let error = task.await.expect("no panic").expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert_eq!(
        leaving.try_acquire("x", TTL).expect_err("closed").kind(),
        ErrorKind::Closed
    );
    assert!(staying.try_acquire("held", TTL).expect("no error").is_some());
    guard.lost().await;
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_refused_and_any_text_is_a_key() {
    let client = client();
    let long = "k".repeat(Limits::DEFAULT.max_key_bytes + 1);
    for (key, ttl) in [
        ("", TTL),
        (long.as_str(), TTL),
        ("k", Duration::ZERO),
        ("k", Duration::MAX),
    ] {
        let error = client.try_acquire(key, ttl).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let error = client
            .acquire(key, LockOptions::new(ttl))
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let weird = ["..", "/", "//", "a/", "a", "%2f", "锁", "\u{0}", " "];
    let mut guards = Vec::new();
    for key in weird {
        guards.push(client.try_acquire(key, TTL).expect("accepted").expect("distinct"));
    }
    assert_eq!(guards.len(), weird.len());
}

#[tokio::test(start_paused = true)]
async fn a_sub_second_time_to_live_is_honoured() {
    let client = client();
    let ttl = Duration::from_millis(200);
    let guard = client.try_acquire("k", ttl).expect("accepted").expect("free");
    assert_eq!(guard.ttl(), ttl);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!guard.lost_token().is_cancelled() && client.table().is_held("k"));
    client.link().cut();
    tokio::time::sleep(ttl).await;
    assert!(!client.table().is_held("k"));
}

#[tokio::test(start_paused = true)]
async fn capacity_is_bounded_and_abandoned_leases_give_their_places_back() {
    let table = LockTable::new(4);
    let (crashed, client) = (client_of(&table), client_of(&table));
    for n in 0..4 {
        std::mem::forget(crashed.try_acquire(&format!("lock-{n}"), TTL).expect("room"));
    }
    let error = client.try_acquire("one more", TTL).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    crashed.link().cut();
    tokio::time::sleep(TTL).await;
    assert!(client.try_acquire("one more", TTL).expect("room again").is_some());
}

/// LOCK-011 and LOCK-012: at most one of 32 holds, tokens strictly increase, a guarded store refuses none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_contenders_exactly_one_holds_at_any_instant() {
    let client = client();
    let inside = Arc::new(AtomicUsize::new(0));
    let last_token = Arc::new(AtomicU64::new(0));
    let rounds = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let (client, inside) = (client.clone(), Arc::clone(&inside));
        let (last_token, rounds) = (Arc::clone(&last_token), Arc::clone(&rounds));
        tasks.push(tokio::spawn(async move {
            while rounds.load(Ordering::SeqCst) < 500 {
                let guard = held_by(&client, "contended").await;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                let token = guard.fencing_token().0;
                assert!(
                    last_token.swap(token, Ordering::SeqCst) < token,
                    "a token went back"
                );
                rounds.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                guard.release().await.expect("ours");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(rounds.load(Ordering::SeqCst) >= 500);
}

#[tokio::test(start_paused = true)]
async fn work_under_a_lock_is_stopped_when_the_lock_is_lost() {
    let coordinator = MemoryCoordinator::new();
    let table = coordinator.lock_table().clone();
    let error = coordinator
        .with_lock("k", options(), |_| async move {
            table.expire("k");
            std::future::pending::<Result<()>>().await
        })
        .await
        .expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let value = coordinator.with_lock("k", options(), |_| async { Ok(7) }).await;
    assert_eq!(value.expect("free again"), 7);
    assert!(!coordinator.lock_table().is_held("k"));
}

#[tokio::test(start_paused = true)]
async fn one_candidate_leads_and_the_next_follows_a_resignation_or_a_crash() {
    let first = MemoryCoordinator::new();
    let second = first.connect();
    let stand = |candidate: &MemoryCoordinator| {
        let locks: Arc<dyn Locks> = Arc::new(candidate.clone());
        Election::new(locks, "writer", ElectionOptions::default()).expect("valid")
    };
    let (one, two) = (stand(&first), stand(&second));
    let leader = one.campaign().await.expect("free");
    let follower = tokio::spawn(async move { two.campaign().await });
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert!(
        !follower.is_finished() && !leader.is_lost(),
        "waiting has no end of its own"
    );
    let earlier = leader.fencing_token();
    leader.resign().await.expect("led until now");
    let next = follower.await.expect("no panic").expect("elected");
    assert!(next.fencing_token() > earlier);

    second.faults().disconnect();
    let begun = Instant::now();
    let again = one.campaign().await.expect("the leader is gone");
    assert!(begun.elapsed() <= Duration::from_secs(15));
    assert!(again.fencing_token() > next.fencing_token());
    next.lost().await;
}

#[tokio::test(start_paused = true)]
async fn leading_survives_a_lost_term_and_stops_its_work() {
    let coordinator = MemoryCoordinator::new();
    let table = coordinator.lock_table().clone();
    let locks: Arc<dyn Locks> = Arc::new(coordinator);
    let election = Election::new(locks, "writer", ElectionOptions::default()).expect("valid");
    let terms = AtomicUsize::new(0);
    let result = election
        .lead(|_| {
            let (term, table) = (terms.fetch_add(1, Ordering::SeqCst), table.clone());
            async move {
                if term < 2 {
                    table.expire("election/writer");
                    std::future::pending::<()>().await;
                }
                Ok(term)
            }
        })
        .await;
    assert_eq!(result.expect("the third term ends well"), 2);
}
