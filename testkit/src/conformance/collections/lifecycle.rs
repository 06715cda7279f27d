//! Shutdown, a server that is away, and calls that are dropped.

use std::time::Duration;

use infra_core::error::ErrorKind;

use super::steps::{members, put};
use super::{Collection, key_calls};
use crate::conformance::answers::{Answers, all_refused, all_unavailable, poll_then_drop};
use crate::conformance::{Disturbance, Harness, Outcome, SLACK, check};

/// Every operation there is, on one key.
async fn all_on<T: Collection + ?Sized>(client: &T, key: &str) -> Answers {
    let mut answers = client.reads(key).await;
    answers.extend(client.writes(key, "1").await);
    answers.extend(key_calls(client, key).await);
    answers.push(("health", client.health().await));
    answers
}

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub(crate) async fn after_shutdown_every_call_is_refused<T: Collection + ?Sized>(
    harness: &Harness<T>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    ours.close(SLACK).await?;
    ours.close(SLACK).await?;
    all_refused(all_on(&*ours, &key).await, ErrorKind::Closed, "after shutdown")?;
    put(&*theirs, &key, &["a"]).await
}

/// While the server is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub(crate) async fn an_unreachable_server_is_unavailable<T: Collection + ?Sized>(
    harness: &Harness<T>,
) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let client = harness.bare_client().await?;
    let key = harness.name("key");
    put(&*client, &key, &["a"]).await?;
    harness.disturb(Disturbance::GoAway).await?;
    let answers = all_on(&*client, &key).await;
    harness.disturb(Disturbance::ComeBack).await?;
    all_unavailable(answers)?;
    harness
        .eventually(SLACK * 5, "counting after the server came back", async || {
            client.count(&key).await.is_ok_and(|count| count == 1)
        })
        .await
}

/// A write whose future is dropped was done or not: of two members both are there or none, wherever it was dropped.
pub(crate) async fn a_dropped_write_is_done_or_not<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    for polls in 0..8_u32 {
        let key = harness.name(&format!("key{polls}"));
        poll_then_drop(polls, client.add(&key, &["a", "b"])).await;
        // What was sent may still be on its way.
        harness.pass(Duration::from_millis(50)).await;
        let found = members(&*client, &key).await?;
        check!(
            found.is_empty() || polls > 0 && found == ["a", "b"],
            "a write of two members dropped after {polls} polls left {found:?}"
        );
    }
    Ok(())
}
