//! Waiting for a lock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::capability::Capability;
use infra_core::coordination::{LockOptions, Locks};
use infra_core::error::ErrorKind;
use tokio::time::Instant;

use super::steps::{LONG_WAIT, free_within, hold, queued, wait_for};
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, check_error, declares,
    long_lease, over_within, short_lease,
};

/// A wait ends when its time is over, with an error that names the lock and the time waited; a wait of no time at all ends at once.
pub async fn lock_004_a_wait_times_out_and_says_so(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("daily report"), long_lease(&*ours));
    let _held = hold(&*ours, &name, ttl).await?;
    for wait in [Duration::from_millis(1500), Duration::ZERO] {
        let begun = Instant::now();
        let answer = theirs.acquire(&name, LockOptions::new(ttl).with_wait(wait)).await;
        let waited = begun.elapsed();
        let error = check_error!(answer, ErrorKind::Timeout, "waiting {wait:?} for a held lock");
        check!(
            waited >= wait && waited <= wait + SLACK,
            "the wait of {wait:?} took {waited:?}"
        );
        check!(
            error.message().contains(&name),
            "the error does not name the lock {name:?}: {error}"
        );
        // "1.5s", or a little more on a real clock.
        let said = error.message().contains("1.5") || wait.is_zero() || waited > wait;
        check!(said, "the error does not say how long was waited: {error}");
    }
    Ok(())
}

/// A release hands the lock to its waiter promptly, long before the lease would have ended.
pub async fn lock_006_a_release_wakes_the_waiter(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let held = hold(&*ours, &name, ttl).await?;
    let waiter = wait_for(&theirs, &name, LockOptions::new(ttl).with_wait(LONG_WAIT));
    queued(harness, &name, 2).await?;
    check!(!waiter.is_finished(), "the waiter did not wait for {name}");
    held.release().await.premise("a held lock is released")?;
    let woken = harness.within(SLACK * 2, "waking the waiter after a release", waiter);
    woken.await???.check()?;
    Ok(())
}

/// A waiter that is dropped leaves the queue: the lock is not handed to it.
pub async fn lock_014_a_cancelled_waiter_leaves_no_ghost(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let held = hold(&*ours, &name, ttl).await?;
    let ghost = wait_for(&theirs, &name, LockOptions::new(ttl).with_wait(LONG_WAIT));
    queued(harness, &name, 2).await?;
    ghost.abort();
    check!(ghost.await.is_err(), "a waiter got the held lock {name}");
    held.release().await.premise("a held lock is released")?;
    let what = "getting a lock whose only waiter went away";
    free_within(harness, &*theirs, &name, SLACK * 2, what).await?;
    Ok(())
}

/// A client that is shut down tells its waiters so, at once.
pub async fn lock_015_a_waiter_learns_of_shutdown(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let _held = hold(&*ours, &name, ttl).await?;
    let waiter = wait_for(&theirs, &name, LockOptions::new(ttl).with_wait(LONG_WAIT));
    queued(harness, &name, 2).await?;
    theirs.shutdown(SLACK).await?;
    let answer = harness
        .within(SLACK * 2, "the waiter's answer after shutdown", waiter)
        .await??;
    check_error!(answer, ErrorKind::Closed, "waiting while the client is shut down");
    Ok(())
}

/// Waiters get the lock in the order in which they came, where the backend declares that.
pub async fn lock_016_waiters_are_served_in_their_order(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    if !declares(&*ours, Capability::FairLocks) {
        return Err(Failure::skipped("this backend does not declare fair locks"));
    }
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let held = hold(&*ours, &name, ttl).await?;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..6_u32 {
        let client = if number % 2 == 0 { &ours } else { &theirs };
        let waiter = wait_for(client, &name, LockOptions::new(ttl).with_wait(LONG_WAIT));
        let served = Arc::clone(&served);
        waiters.push(tokio::spawn(async move {
            let guard = waiter.await??;
            served.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            guard.release().await?;
            Ok::<_, Failure>(())
        }));
        queued(harness, &name, u64::from(number) + 2).await?;
    }
    held.release().await.premise("a held lock is released")?;
    for waiter in waiters {
        waiter.await?.premise("every waiter gets the lock")?;
    }
    let served = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
    check_eq!(
        served,
        [0, 1, 2, 3, 4, 5],
        "the order in which waiters were served"
    );
    Ok(())
}

/// A waiter gets the lock when the lease of a holder that died is over, without anybody else asking.
pub async fn lock_023_a_waiter_gets_the_lock_of_a_dead_holder(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let _held = hold(&*ours, &name, ttl).await?;
    let waiter = wait_for(
        &theirs,
        &name,
        LockOptions::new(long_lease(&*theirs)).with_wait(LONG_WAIT),
    );
    queued(harness, &name, 2).await?;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    let served = harness.within(
        over_within(&*ours, ttl),
        "serving the waiter of a dead holder",
        waiter,
    );
    served.await???.check()?;
    Ok(())
}

/// Whoever waited longer than a lease gets a whole one.
pub async fn lock_024_the_lease_of_a_waiter_begins_with_the_grant(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let held = hold(&*ours, &name, long_lease(&*ours)).await?;
    let waiter = wait_for(&theirs, &name, LockOptions::new(ttl).with_wait(LONG_WAIT));
    queued(harness, &name, 2).await?;
    harness.pass(ttl + ttl / 2).await;
    held.release().await.premise("a held lock is released")?;
    let granted = harness.within(LONG_WAIT, "serving the waiter", waiter).await;
    let guard = granted
        .premise("a waiter is served")??
        .premise("a waiter is served")?;
    harness.pass(ttl / 2).await;
    guard.check()?;
    let other = ours.try_acquire(&name, ttl).await?;
    check!(
        other.is_none(),
        "{name} was given to another half a lease after its waiter got it"
    );
    Ok(())
}

/// A lock that was granted to a waiter at the very moment at which it went away is given back, or ends by its lease.
pub async fn lock_025_a_grant_that_nobody_took_is_given_back(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let held = hold(&*ours, &name, ttl).await?;
    let mut ghost = theirs.acquire(&name, LockOptions::new(ttl).with_wait(LONG_WAIT));
    // Nothing polls it again: the grant comes and nobody takes it.
    let early = tokio::time::timeout(Duration::from_millis(300), ghost.as_mut()).await;
    check!(early.is_err(), "a waiter got the held lock {name}");
    held.release().await.premise("a held lock is released")?;
    harness.pass(Duration::from_millis(300)).await;
    drop(ghost);
    let what = "getting a lock that was granted to somebody who went away";
    free_within(harness, &*theirs, &name, over_within(&*ours, ttl), what).await?;
    Ok(())
}

/// However many waits for one lock timed out, other locks are given out: contention is no failure of the server.
pub async fn lock_033_many_waits_that_timed_out_cost_nothing(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let _held = hold(&*ours, &name, ttl).await?;
    for _ in 0..100 {
        let answer = theirs
            .acquire(&name, LockOptions::new(ttl).with_wait(Duration::ZERO))
            .await;
        answer.is_err().premise("a held lock is given to nobody else")?;
    }
    let other = harness.name("other");
    let guard = theirs.acquire(&other, LockOptions::new(ttl)).await?;
    guard.check()?;
    Ok(())
}
