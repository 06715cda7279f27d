//! Shutdown, and a store that is away.

use std::sync::Arc;

use bytes::Bytes;
use infra_core::error::ErrorKind;
use infra_core::once::{ClaimRequest, OnceStore};

use super::steps::{LONG_WAIT, claimed};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, SLACK, check, check_error, long_lease};

/// After shutdown every call is refused and who waits is told; a second shutdown succeeds, and other clients are not concerned.
pub async fn idemp_028_after_shutdown_every_call_is_refused(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), long_lease(&*ours));
    claimed(&*theirs, &key, "owner", lease).await?;
    let (waiting, waited) = (Arc::clone(&ours), key.clone());
    let waiter = tokio::spawn(async move { waiting.wait_for_change(&waited, LONG_WAIT).await });
    harness.pass(SLACK / 4).await;
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    let told = harness
        .within(SLACK * 2, "telling who waits of the shutdown", waiter)
        .await??;
    check_error!(told, ErrorKind::Closed, "waiting while the client is shut down");
    let claim = ours
        .claim(ClaimRequest::new(key.as_str(), "another", lease))
        .await;
    let result = Bytes::from_static(b"done");
    let answers = [
        ("claim", claim.map(drop)),
        ("renew", ours.renew(&key, "owner", lease).await),
        (
            "complete",
            ours.complete(&key, "owner", result.clone(), lease).await,
        ),
        ("release", ours.release(&key, "owner").await),
        ("wait_for_change", ours.wait_for_change(&key, SLACK).await),
        ("clear", ours.clear(&key).await.map(drop)),
        ("status", ours.status(&key).await.map(drop)),
        ("health", ours.health().await),
    ];
    for (method, answer) in answers {
        check_error!(answer, ErrorKind::Closed, "{method} after shutdown");
    }
    theirs
        .complete(&key, "owner", result, lease)
        .await
        .premise("an owner completes")
}

/// While the store is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn idemp_029_an_unreachable_store_is_unavailable(harness: &Harness<dyn OnceStore>) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let store = harness.bare_client().await?;
    let (key, lease) = (harness.name("key"), long_lease(&*store));
    harness.disturb(Disturbance::GoAway).await?;
    let claim = store.claim(ClaimRequest::new(key.as_str(), "owner", lease)).await;
    let (status, health) = (store.status(&key).await, store.health().await);
    harness.disturb(Disturbance::ComeBack).await?;
    let error = check_error!(claim, ErrorKind::Unavailable, "claim while the store is away");
    check!(
        error.is_retryable(),
        "the store may come back, and the error says never: {error:?}"
    );
    check_error!(status, ErrorKind::Unavailable, "status while the store is away");
    check_error!(health, ErrorKind::Unavailable, "health while the store is away");
    let what = "asking after the store came back";
    harness
        .eventually(SLACK * 5, what, async || store.status(&key).await.is_ok())
        .await
}
