//! Who leads next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use infra_core::coordination::{HeldLock, Locks};
use infra_core::error::Result;

use super::steps::{candidate, lead_now, lock_of, stand, waiting};
use crate::conformance::locks::steps::LONG_WAIT;
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, long_lease, over_within,
    short_lease,
};

/// A leader that resigns hands over at once, not when its lease would have ended.
pub async fn elect_004_a_resignation_hands_over(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), long_lease(&*ours));
    let leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    let rival = stand(&candidate(&theirs, &name, ttl)?);
    waiting(harness, &name, 1).await?;
    leadership.resign().await?;
    let succeeded = harness.within(SLACK * 2, "leading after a resignation", rival);
    let next = succeeded.await???;
    check!(
        !next.is_lost(),
        "the successor's leadership is lost from the beginning"
    );
    Ok(())
}

/// Work that leads is stopped when leadership is lost, and begun again when it is won back; its result ends it.
pub async fn elect_006_a_leader_that_was_robbed_stands_again(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("writer"), short_lease(harness, &*locks));
    let election = candidate(&locks, &name, ttl)?;
    let (terms, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = {
        let (terms, running) = (Arc::clone(&terms), Arc::clone(&running));
        move |held: HeldLock| term(held, Arc::clone(&terms), Arc::clone(&running))
    };
    let leading = tokio::spawn(async move { election.lead(work).await });
    let begun = harness.eventually(SLACK * 5, "leading alone", async || {
        terms.load(Ordering::SeqCst) == 1
    });
    begun.await.premise("a sole candidate leads")?;
    let key = lock_of(&name);
    harness
        .disturb(Disturbance::StealLock { key: key.clone() })
        .await?;
    let what = "stopping work that leads no more";
    harness
        .eventually(ttl * 10, what, async || running.load(Ordering::SeqCst) == 0)
        .await?;
    harness.disturb(Disturbance::ExpireLock { key }).await?;
    let again = harness.within(LONG_WAIT, "leading again after a loss", leading);
    let term = again.await???;
    check_eq!(term, 2, "the term that came to an end");
    Ok(())
}

/// Counts what runs.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The first term goes on for ever, the second one gives its number.
async fn term(held: HeldLock, terms: Arc<AtomicUsize>, running: Arc<AtomicUsize>) -> Result<usize> {
    running.fetch_add(1, Ordering::SeqCst);
    let _running = Running(running);
    let number = terms.fetch_add(1, Ordering::SeqCst) + 1;
    if number == 1 {
        let _held = held;
        std::future::pending::<()>().await;
    }
    Ok(number)
}

/// The token of a term is greater than that of every term before, also for a leader that leads again.
pub async fn elect_008_terms_grow(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), long_lease(&*ours));
    if !crate::conformance::declares(&*ours, infra_core::capability::Capability::Fencing) {
        return Err(Failure::skipped("this backend does not declare fencing"));
    }
    let (ours, theirs) = (candidate(&ours, &name, ttl)?, candidate(&theirs, &name, ttl)?);
    let mut last = None;
    for leader in [&ours, &ours, &theirs, &ours] {
        let leadership = lead_now(harness, leader).await?;
        let token = leadership.fencing_token();
        check!(
            last < Some(token),
            "the term after {last:?} has the token {token}"
        );
        last = Some(token);
        leadership.resign().await.premise("a leader resigns")?;
    }
    Ok(())
}

/// A leader that died is succeeded by whoever waits, when its lease is over.
pub async fn elect_010_a_dead_leader_is_succeeded(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), short_lease(harness, &*ours));
    let _leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    let rival = stand(&candidate(&theirs, &name, ttl)?);
    waiting(harness, &name, 1).await?;
    harness.disturb(Disturbance::Crash { client: 0 }).await?;
    let succeeded = harness.within(over_within(&*theirs, ttl), "succeeding a dead leader", rival);
    succeeded.await???;
    Ok(())
}

/// A leader whose client is shut down leads no more, and is succeeded within a lease.
pub async fn elect_013_a_leader_that_is_shut_down_is_succeeded(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), short_lease(harness, &*ours));
    let leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    let rival = stand(&candidate(&theirs, &name, ttl)?);
    waiting(harness, &name, 1).await?;
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    let bound = over_within(&*theirs, ttl);
    let succeeded = harness.within(bound, "succeeding a leader that was shut down", rival);
    succeeded.await???;
    harness
        .within(bound, "telling a leader that was shut down", leadership.lost())
        .await
}
