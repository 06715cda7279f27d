//! Who holds a lock, and under which token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::capability::Capability;
use infra_core::coordination::{FencingToken, LockOptions, Locks};

use super::steps::{LONG_WAIT, free_within, hold};
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, TimeControl, check, check_eq, declares,
    long_lease,
};

/// A lock that nobody holds is acquired at once.
pub async fn lock_001_a_free_lock_is_acquired(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let name = harness.name("lock");
    let guard = locks.try_acquire(&name, long_lease(&*locks)).await?;
    check!(guard.is_some(), "the free lock {name} was refused");
    let other = harness.name("other");
    let options = LockOptions::new(long_lease(&*locks)).with_wait(SLACK);
    let guard = locks.acquire(&other, options).await?;
    guard.check()?;
    Ok(())
}

/// A lock that another client holds is refused, without waiting.
pub async fn lock_002_a_held_lock_is_refused(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let name = harness.name("lock");
    let held = hold(&*ours, &name, long_lease(&*ours)).await?;
    let second = theirs.try_acquire(&name, long_lease(&*theirs));
    let second = harness
        .within(SLACK * 5, "the answer without waiting", second)
        .await??;
    check!(
        second.is_none(),
        "{name} was given to two holders: {second:?} besides {held:?}"
    );
    Ok(())
}

/// A client that holds a lock is refused like any other.
pub async fn lock_003_a_lock_is_not_reentrant(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("lock"), long_lease(&*locks));
    let _held = hold(&*locks, &name, ttl).await?;
    let again = locks.try_acquire(&name, ttl).await?;
    check!(again.is_none(), "{name} was given to its holder once more");
    let options = LockOptions::new(ttl).with_wait(Duration::from_millis(100));
    let waited = locks.acquire(&name, options).await;
    check!(
        waited.is_err(),
        "the holder of {name} got it once more by waiting"
    );
    Ok(())
}

/// A lock that was released can be acquired at once, by the same client too.
pub async fn lock_005_a_released_lock_can_be_acquired_again(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("lock"), long_lease(&*locks));
    for round in 1..=3 {
        let guard = locks.try_acquire(&name, ttl).await?;
        let Some(guard) = guard else {
            return match round {
                1 => Err(Failure::premise("a free lock was refused")),
                _ => Err(Failure::broken(format!(
                    "{name} was released and is refused in round {round}"
                ))),
            };
        };
        guard.release().await?;
    }
    Ok(())
}

/// Of 32 contenders on four clients exactly one holds the lock at any instant, round after round.
pub async fn lock_011_of_32_contenders_exactly_one_holds(harness: &Harness<dyn Locks>) -> Outcome {
    let rounds: usize = match harness.time() {
        TimeControl::Virtual => 500,
        TimeControl::Real => 100,
    };
    let name = harness.name("contended");
    let (inside, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(harness.client().await?);
    }
    let mut contenders = Vec::new();
    for contender in 0..32 {
        let locks = Arc::clone(&clients[contender % clients.len()]);
        let (name, inside, done) = (name.clone(), Arc::clone(&inside), Arc::clone(&done));
        contenders.push(tokio::spawn(async move {
            let options = LockOptions::new(long_lease(&*locks)).with_wait(LONG_WAIT);
            while done.load(Ordering::SeqCst) < rounds {
                let guard = locks.acquire(&name, options).await?;
                let before = inside.fetch_add(1, Ordering::SeqCst);
                check_eq!(before, 0, "other holders of {name} besides {guard:?}");
                tokio::time::sleep(Duration::from_millis(1)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
                guard.release().await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    for contender in contenders {
        contender.await??;
    }
    Ok(())
}

/// A store that refuses what is older than what it has seen.
#[derive(Debug, Default)]
struct GuardedStore {
    newest: AtomicU64,
}

impl GuardedStore {
    fn write(&self, FencingToken(token): FencingToken) -> bool {
        self.newest.fetch_max(token, Ordering::SeqCst) <= token
    }
}

/// Tokens strictly increase from owner to owner, so that a guarded store refuses an owner that was overtaken.
pub async fn lock_012_fencing_tokens_grow_and_keep_stale_owners_out(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    needs_fencing(&*ours)?;
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let store = GuardedStore::default();
    let mut last = None;
    for client in [&ours, &ours, &theirs, &ours, &theirs, &theirs] {
        let options = LockOptions::new(ttl).with_wait(LONG_WAIT);
        let guard = client
            .acquire(&name, options)
            .await
            .premise("a free lock is given out")?;
        let token = guard.fencing_token();
        check!(
            last < Some(token),
            "the owner after {last:?} got the token {token}"
        );
        check!(store.write(token), "the present owner was kept out of the store");
        let stale = last.filter(|stale| store.write(*stale));
        check!(
            stale.is_none(),
            "the stale token {stale:?} was let into the store"
        );
        last = Some(token);
        guard.release().await.premise("a held lock is released")?;
    }
    Ok(())
}

/// Tokens go on increasing also when the server forgot who held what.
pub async fn lock_031_fencing_tokens_grow_on_after_sessions_were_lost(
    harness: &Harness<dyn Locks>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    needs_fencing(&*ours)?;
    let name = harness.name("lock");
    let before = hold(&*ours, &name, long_lease(&*ours)).await?;
    harness.disturb(Disturbance::LoseSessions).await?;
    let free = free_within(harness, &*theirs, &name, SLACK * 5, "a lock without a session");
    let after = free.await.premise("a lock without a session is given out")?;
    check!(
        after.fencing_token() > before.fencing_token(),
        "after the loss of the sessions the token {} followed {}",
        after.fencing_token(),
        before.fencing_token()
    );
    Ok(())
}

fn needs_fencing(locks: &dyn Locks) -> Outcome {
    if declares(locks, Capability::Fencing) {
        return Ok(());
    }
    Err(Failure::skipped("this backend does not declare fencing"))
}
