//! The store's own scenarios, under paused time.

use super::*;

const LEASE: Duration = Duration::from_secs(9);
const TTL: Duration = Duration::from_secs(3600);

async fn claim(store: &MemoryOnceStore, key: &str, owner: &str) -> Claim {
    store
        .claim(ClaimRequest::new(key, owner, LEASE))
        .await
        .expect("answered")
}

fn fence(claim: &Claim) -> u64 {
    match claim {
        Claim::Acquired { fence } => *fence,
        other => panic!("not acquired: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn one_owner_claims_completes_and_everybody_gets_the_result_until_it_expires() {
    let store = MemoryOnceStore::new();
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::Unknown);
    let first = fence(&claim(&store, "k", "a").await);
    assert_eq!(
        claim(&store, "k", "b").await,
        Claim::InProgress { remaining: LEASE }
    );
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::InProgress);
    assert_eq!(
        fence(&claim(&store, "k", "a").await),
        first,
        "a lost answer is repaired"
    );
    for _ in 0..2 {
        store
            .complete("k", "a", Bytes::from_static(b"r"), TTL)
            .await
            .expect("ours, twice");
    }
    for owner in ["a", "b"] {
        assert_eq!(
            claim(&store, "k", owner).await,
            Claim::Done {
                result: Bytes::from_static(b"r")
            }
        );
    }
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::Done);
    tokio::time::sleep(TTL).await;
    assert!(fence(&claim(&store, "k", "b").await) > first);
}

#[tokio::test(start_paused = true)]
async fn only_the_present_owner_renews_completes_or_releases() {
    let store = MemoryOnceStore::new();
    let old = fence(&claim(&store, "k", "old").await);
    tokio::time::sleep(LEASE - Duration::from_secs(1)).await;
    store.renew("k", "old", LEASE).await.expect("ours");
    tokio::time::sleep(LEASE - Duration::from_secs(1)).await;
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::InProgress);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::Unknown);
    assert!(fence(&claim(&store, "k", "new").await) > old);
    for refused in [
        store.renew("k", "old", LEASE).await,
        store.release("k", "old").await,
        store.complete("k", "old", Bytes::new(), TTL).await,
        store.release("unknown", "old").await,
    ] {
        assert_eq!(refused.expect_err("not ours").kind(), ErrorKind::LeaseLost);
    }
    store.release("k", "new").await.expect("ours, untouched");
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_not_released_by_its_former_owner() {
    let store = MemoryOnceStore::new();
    claim(&store, "k", "a").await;
    store.complete("k", "a", Bytes::new(), TTL).await.expect("ours");
    assert_eq!(
        store.release("k", "a").await.expect_err("over").kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(
        store.renew("k", "a", LEASE).await.expect_err("over").kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(store.status("k").await.expect("answered"), OnceStatus::Done);
    assert!(store.clear("k").await.expect("answered") && !store.clear("k").await.expect("answered"));
}

#[tokio::test(start_paused = true)]
async fn fingerprints_are_compared_while_working_and_when_done() {
    let store = MemoryOnceStore::new();
    let request = |owner: &str, digest: &str| {
        ClaimRequest::new("k", owner, LEASE).with_fingerprint(Some(digest.to_owned()))
    };
    fence(&store.claim(request("a", "one")).await.expect("answered"));
    for _ in 0..2 {
        assert_eq!(
            store.claim(request("b", "two")).await.expect("answered"),
            Claim::FingerprintMismatch
        );
        let same = store.claim(request("b", "one")).await.expect("answered");
        assert!(matches!(same, Claim::InProgress { .. } | Claim::Done { .. }));
        let without = claim(&store, "k", "c").await;
        assert!(matches!(without, Claim::InProgress { .. } | Claim::Done { .. }));
        store.complete("k", "a", Bytes::new(), TTL).await.expect("ours");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_any_change_at_once_and_by_itself_when_the_claim_ends() {
    let store = MemoryOnceStore::new();
    store
        .wait_for_change("unknown", TTL)
        .await
        .expect("nothing to wait for");
    for change in ["complete", "release", "clear", "expire", "timeout"] {
        store.lose("k");
        claim(&store, "k", "a").await;
        let begun = Instant::now();
        let waiting = store.clone();
        let timeout = if change == "timeout" { LEASE / 3 } else { TTL };
        let waiter = tokio::spawn(async move { waiting.wait_for_change("k", timeout).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiter.is_finished(), "{change}");
        match change {
            "complete" => store.complete("k", "a", Bytes::new(), TTL).await.expect("ours"),
            "release" => store.release("k", "a").await.expect("ours"),
            "clear" => assert!(store.clear("k").await.expect("answered")),
            _ => {}
        }
        waiter.await.expect("no panic").expect("woken");
        let expected = match change {
            "expire" => LEASE,
            "timeout" => LEASE / 3,
            _ => Duration::from_secs(1),
        };
        assert_eq!(begun.elapsed(), expected, "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_expired_entries_make_room() {
    let config = MemoryOnceConfig::default()
        .with_max_entries(3)
        .with_max_bytes(100);
    let store = MemoryOnceStore::with_config(config);
    for key in ["a", "b", "c"] {
        claim(&store, key, "x").await;
    }
    let full = store
        .claim(ClaimRequest::new("d", "x", LEASE))
        .await
        .expect_err("full");
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    let large = store
        .complete("a", "x", Bytes::from(vec![0; 200]), TTL)
        .await
        .expect_err("too much");
    assert_eq!(large.kind(), ErrorKind::ResourceExhausted);
    tokio::time::sleep(LEASE).await;
    claim(&store, "d", "x").await;
    assert_eq!(store.lock().entries.len(), 1);
    assert_eq!(store.lock().bytes, 1);
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_and_a_closed_store_are_refused() {
    let store = MemoryOnceStore::new();
    let limits = *store.limits();
    let long = "k".repeat(limits.max_key_bytes + 1);
    for (key, lease) in [("", LEASE), (long.as_str(), LEASE), ("k", Duration::ZERO)] {
        let error = store
            .claim(ClaimRequest::new(key, "x", lease))
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    claim(&store, "k", "x").await;
    let large = Bytes::from(vec![0; limits.max_value_bytes + 1]);
    let error = store.complete("k", "x", large, TTL).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let waiting = store.clone();
    let waiter = tokio::spawn(async move { waiting.wait_for_change("k", TTL).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    store.shutdown(TTL).await.expect("closed");
    let error = waiter.await.expect("no panic").expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(
        store.status("k").await.expect_err("closed").kind(),
        ErrorKind::Closed
    );
}
