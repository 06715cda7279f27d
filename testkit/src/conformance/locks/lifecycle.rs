//! Shutdown, and a server that is away.

use infra_core::coordination::{LockOptions, Locks};
use infra_core::error::ErrorKind;

use super::steps::{free_within, hold};
use crate::conformance::{
    Disturbance, Harness, Outcome, Premise, SLACK, check, check_error, long_lease, over_within, short_lease,
};

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub async fn lock_026_after_shutdown_every_call_is_refused(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), long_lease(&*ours));
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    check_error!(
        ours.try_acquire(&name, ttl).await,
        ErrorKind::Closed,
        "try_acquire after shutdown"
    );
    check_error!(
        ours.acquire(&name, LockOptions::new(ttl)).await,
        ErrorKind::Closed,
        "acquire after shutdown"
    );
    check_error!(ours.health().await, ErrorKind::Closed, "health after shutdown");
    hold(&*theirs, &name, ttl).await?;
    Ok(())
}

/// What a client held when it was shut down is free within a lease at the latest, and whoever still has the guard is told.
pub async fn lock_027_shutdown_gives_up_what_was_held(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("lock"), short_lease(harness, &*ours));
    let guard = hold(&*ours, &name, ttl).await?;
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    let bound = over_within(&*ours, ttl);
    free_within(
        harness,
        &*theirs,
        &name,
        bound,
        "the lock of a client that was shut down",
    )
    .await?;
    harness
        .within(
            bound,
            "telling the guard of a client that was shut down",
            guard.lost(),
        )
        .await
}

/// While the server is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn lock_028_an_unreachable_server_is_unavailable(harness: &Harness<dyn Locks>) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let locks = harness.bare_client().await?;
    let (name, ttl) = (harness.name("lock"), long_lease(&*locks));
    harness.disturb(Disturbance::GoAway).await?;
    let tried = locks.try_acquire(&name, ttl).await;
    let waited = locks.acquire(&name, LockOptions::new(ttl).with_wait(SLACK)).await;
    let health = locks.health().await;
    harness.disturb(Disturbance::ComeBack).await?;
    let tried = check_error!(
        tried,
        ErrorKind::Unavailable,
        "try_acquire while the server is away"
    );
    check!(
        tried.is_retryable(),
        "the server may come back, and the error says never: {tried:?}"
    );
    check_error!(waited, ErrorKind::Unavailable, "acquire while the server is away");
    check_error!(health, ErrorKind::Unavailable, "health while the server is away");
    // A client may have a pause before it connects again.
    let acquired = harness.eventually(SLACK * 5, "acquiring after the server came back", async || {
        matches!(locks.try_acquire(&name, ttl).await, Ok(Some(_)))
    });
    acquired.await
}
