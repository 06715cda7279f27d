//! Who holds a lock.

use std::time::Duration;

use infra_core::coordination::Locks;

use crate::conformance::{Harness, Outcome, Premise, check};

const TTL: Duration = Duration::from_secs(30);

/// A lock that nobody holds is acquired at once.
pub async fn lock_001_a_free_lock_is_acquired(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let name = harness.name("lock");
    let guard = locks.try_acquire(&name, TTL).await?;
    check!(guard.is_some(), "the free lock {name} was refused");
    Ok(())
}

/// A lock that another client holds is refused, without waiting.
pub async fn lock_002_a_held_lock_is_refused(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let name = harness.name("lock");
    let held = ours.try_acquire(&name, TTL).await?;
    let held = held.premise("a free lock is given out")?;
    let second = theirs.try_acquire(&name, TTL).await?;
    check!(
        second.is_none(),
        "{name} was given to two holders: {second:?} besides {held:?}"
    );
    Ok(())
}
