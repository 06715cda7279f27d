//! Holding a lock: renewal, loss, the end of a lease.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_core::coordination::{LockOptions, Locks, LocksExt};
use infra_core::error::{ErrorKind, Result};
use tokio::time::Instant;

use super::steps::{LONG_WAIT, abandon, free_within, hold};
use crate::conformance::{
    Disturbance, Harness, Outcome, Premise, SLACK, check, check_eq, check_error, limits, long_lease,
    over_within, short_lease,
};

/// Whoever holds a lock no more cannot release it, and does nothing to its new owner.
pub async fn lock_007_a_stolen_lock_cannot_be_released(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    let held = hold(&*ours, &name, ttl).await?;
    harness
        .disturb(Disturbance::StealLock { key: name.clone() })
        .await?;
    check_error!(
        held.release().await,
        ErrorKind::LeaseLost,
        "releasing a lock that another holds"
    );
    let third = theirs.try_acquire(&name, ttl).await?;
    check!(
        third.is_none(),
        "the new owner of {name} lost it to a foreign release"
    );
    Ok(())
}

/// The lock of a holder that died is free when its lease is over, and not before.
pub async fn lock_008_the_lock_of_a_dead_holder_is_reclaimed(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let _held = hold(&*ours, &name, ttl).await?;
    harness.pass(ttl + ttl / 2).await;
    let early = theirs.try_acquire(&name, ttl).await?;
    early.is_none().premise("a held lock is renewed")?;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    let died = Instant::now();
    let bound = over_within(&*ours, ttl);
    free_within(
        harness,
        &*theirs,
        &name,
        bound,
        "reclaiming the lock of a dead holder",
    )
    .await?;
    // Renewed a third of the lease ago at most.
    check!(
        died.elapsed() >= ttl / 2,
        "the lock was free {:?} after its holder died; its lease is {ttl:?}",
        died.elapsed()
    );
    Ok(())
}

/// A lock that is held longer than its lease stays held.
pub async fn lock_009_a_held_lock_is_renewed(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let guard = hold(&*ours, &name, ttl).await?;
    for _ in 0..5 {
        harness.pass(ttl / 2 + limits(&*ours).ttl_granularity / 4).await;
        guard.check()?;
        let other = theirs.try_acquire(&name, ttl).await?;
        check!(
            other.is_none(),
            "{name} was given to another while its holder lives"
        );
    }
    guard.release().await?;
    Ok(())
}

/// The holder of a lock that was stolen, or whose lease was ended, is told within a lease.
pub async fn lock_010_a_holder_is_told_of_its_loss(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let ttl = short_lease(harness, &*locks);
    for how in ["stolen", "expired"] {
        let key = harness.name(how);
        let guard = hold(&*locks, &key, ttl).await?;
        let early = tokio::time::timeout(ttl / 10, guard.lost()).await;
        check!(
            early.is_err(),
            "the holder of {key} was told of a loss that did not happen"
        );
        let disturbance = match how {
            "stolen" => Disturbance::StealLock { key },
            _ => Disturbance::ExpireLock { key },
        };
        harness.disturb(disturbance).await?;
        let told = format!("telling the holder of a lock that it was {how}");
        harness.within(ttl + SLACK, &told, guard.lost()).await?;
        check_error!(
            guard.check(),
            ErrorKind::LeaseLost,
            "checking a lock that was {how}"
        );
        check!(
            guard.lost_token().is_cancelled(),
            "the token does not say that the lock was {how}"
        );
        check_error!(
            guard.release().await,
            ErrorKind::LeaseLost,
            "releasing a lock that was {how}"
        );
    }
    Ok(())
}

/// A guard that is dropped gives the lock back; where it cannot, its lease is renewed no more and ends.
pub async fn lock_013_an_abandoned_guard_is_renewed_no_more(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let ttl = short_lease(harness, &*ours);
    let dropped = harness.name("dropped");
    let guard = hold(&*ours, &dropped, long_lease(&*ours)).await?;
    drop(guard);
    let what = "getting a lock whose guard was dropped";
    free_within(harness, &*theirs, &dropped, SLACK * 2, what).await?;

    let abandoned = harness.name("abandoned");
    abandon(hold(&*ours, &abandoned, ttl).await?)?;
    harness.pass(ttl / 5).await;
    let early = theirs.try_acquire(&abandoned, ttl).await?;
    check!(
        early.is_none(),
        "an abandoned lock was free before its lease was over"
    );
    let what = "the end of an abandoned lease";
    free_within(harness, &*theirs, &abandoned, over_within(&*ours, ttl), what).await?;
    Ok(())
}

/// A lease of less than a second is honoured, or refused as too short; it never becomes a longer one.
pub async fn lock_020_a_short_lease_is_honoured_or_refused(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), Duration::from_millis(250));
    if ttl < limits(&*ours).min_ttl {
        check_error!(
            ours.try_acquire(&name, ttl).await,
            ErrorKind::InvalidArgument,
            "a lease shorter than the backend can"
        );
        return Ok(());
    }
    let guard = ours.try_acquire(&name, ttl).await?;
    let guard = guard.premise("a free lock is given out")?;
    check_eq!(guard.ttl(), ttl, "the lease that was granted");
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    let what = "the end of a lease of 250 ms";
    free_within(harness, &*theirs, &name, over_within(&*ours, ttl), what).await?;
    Ok(())
}

/// Sets a flag when it is dropped: how work notices that it is stopped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Work under a lock is stopped when the lock is lost; a lock that was waited for is no exception.
pub async fn lock_022_work_under_a_lost_lock_is_stopped(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*locks));
    let options = LockOptions::new(ttl).with_wait(LONG_WAIT);
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Flag(Arc::clone(&stopped));
    let (begin, begun) = tokio::sync::oneshot::channel();
    let run = locks.with_lock(&name, options, |_| async move {
        let _flag = flag;
        // The scenario is waiting for it; if it is over, nobody is.
        let _ = begin.send(());
        pending::<Result<()>>().await
    });
    let steal = async {
        begun
            .await
            .is_ok()
            .premise("a free lock is given out and the work begins")?;
        harness
            .disturb(Disturbance::StealLock { key: name.clone() })
            .await
    };
    // What cannot be stolen here would never be stopped.
    let both = async { tokio::try_join!(async { Ok(run.await) }, steal) };
    let stop = harness.within(ttl + SLACK * 2, "stopping work whose lock was stolen", both);
    let (answer, ()) = stop.await??;
    check_error!(answer, ErrorKind::LeaseLost, "work whose lock was stolen");
    check!(
        stopped.load(Ordering::SeqCst),
        "the work goes on although its lock was stolen"
    );
    Ok(())
}

/// A holder that cannot reach the server gives its lock up when the lease is over, which the server does too.
pub async fn lock_029_a_partition_ends_the_lease_on_both_sides(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let guard = hold(&*ours, &name, ttl).await?;
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    harness
        .within(
            ttl + SLACK / 2,
            "giving up a lock that cannot be renewed",
            guard.lost(),
        )
        .await?;
    check_error!(
        guard.check(),
        ErrorKind::LeaseLost,
        "a lock that could not be renewed"
    );
    let free = free_within(
        harness,
        &*theirs,
        &name,
        over_within(&*ours, ttl),
        "the end of the lease",
    );
    let next = free.await.premise("the lock of a dead holder is reclaimed")?;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    drop(guard);
    harness.pass(SLACK / 2).await;
    next.check()?;
    Ok(())
}

/// A partition shorter than the lease costs nobody a lock.
pub async fn lock_030_a_short_partition_is_survived(harness: &Harness<dyn Locks>) -> Outcome {
    let ours = harness.client().await?;
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let guard = hold(&*ours, &name, ttl).await?;
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    harness.pass(ttl / 2).await;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    // Enough for another renewal, and still within the first lease.
    let early = tokio::time::timeout(ttl * 2 / 5, guard.lost()).await;
    check!(
        early.is_err(),
        "half a lease without the server was taken for a loss"
    );
    guard.check()?;
    Ok(())
}
