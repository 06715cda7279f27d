//! Shutdown, a server that is away, and what stays.

use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite, WatchScope};
use infra_core::error::ErrorKind;

use super::steps::{put, text};
use crate::conformance::answers::{all_refused, all_unavailable};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, SLACK, check_eq};

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub async fn config_024_after_shutdown_every_call_is_refused(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    let scope = WatchScope::Key(key.clone());
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    let write = ConfigWrite::set(key.as_str(), "1");
    let answers = vec![
        ("read", ours.read(&scope).await.map(drop)),
        ("write", ours.write(vec![write]).await.map(drop)),
        ("watch", ours.watch(&scope, 0).await.map(drop)),
        ("health", ours.health().await),
    ];
    all_refused(answers, ErrorKind::Closed, "after shutdown")?;
    put(&*theirs, &key, "1").await?;
    Ok(())
}

/// While the server is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn config_025_an_unreachable_server_is_unavailable(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let center = harness.bare_client().await?;
    let key = harness.name("key");
    put(&*center, &key, "1").await?;
    let scope = WatchScope::Key(key.clone());
    harness.disturb(Disturbance::GoAway).await?;
    let write = ConfigWrite::set(key.as_str(), "2");
    let answers = vec![
        ("read", center.read(&scope).await.map(drop)),
        ("write", center.write(vec![write]).await.map(drop)),
        ("health", center.health().await),
    ];
    harness.disturb(Disturbance::ComeBack).await?;
    all_unavailable(answers)?;
    harness
        .eventually(SLACK * 5, "reading after the server came back", async || {
            center.entry(&key).await.is_ok_and(|entry| entry.is_some())
        })
        .await
}

/// A value is no lease: it stays when its writer ends, and when the server loses its sessions.
pub async fn config_026_values_outlive_their_writer(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    put(&*ours, &key, "1").await?;
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    check_eq!(
        text(&*theirs, &key).await?.as_deref(),
        Some("1"),
        "after its writer was shut down"
    );
    harness.disturb(Disturbance::LoseSessions).await?;
    check_eq!(
        text(&*theirs, &key).await?.as_deref(),
        Some("1"),
        "after all sessions were lost"
    );
    Ok(())
}
