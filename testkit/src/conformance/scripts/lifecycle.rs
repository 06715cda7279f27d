//! Shutdown, and a server that is away.

use infra_core::cache::{Script, Scripts};
use infra_core::error::ErrorKind;

use super::steps::{batch, put, set, text, together};
use crate::conformance::{Disturbance, Harness, Outcome, SLACK, check, check_eq, check_error};

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub async fn script_015_after_shutdown_every_call_is_refused(harness: &Harness<dyn Scripts>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = together(harness, "key");
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    let script = Script::new("return 1");
    for (call, answer) in [
        (
            "atomically",
            ours.atomically(batch([set(&key, "1")])).await.map(drop),
        ),
        (
            "run_script",
            ours.run_script(&script, &[&key], &[]).await.map(drop),
        ),
        ("health", ours.health().await),
    ] {
        check_error!(answer, ErrorKind::Closed, "{call} after shutdown");
    }
    check_eq!(text(&*theirs, &key).await?, None, "what was set after shutdown");
    put(&*theirs, &key, "1").await
}

/// While the server is away batches fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn script_016_an_unreachable_server_is_unavailable(harness: &Harness<dyn Scripts>) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let scripts = harness.bare_client().await?;
    let key = together(harness, "key");
    put(&*scripts, &key, "1").await?;
    harness.disturb(Disturbance::GoAway).await?;
    let answer = scripts.atomically(batch([set(&key, "2")])).await;
    harness.disturb(Disturbance::ComeBack).await?;
    let error = check_error!(answer, ErrorKind::Unavailable, "a batch while the server is away");
    check!(
        error.is_retryable(),
        "the server may come back, and the error says never: {error:?}"
    );
    harness
        .eventually(SLACK * 5, "a batch after the server came back", async || {
            scripts.atomically(batch([set(&key, "3")])).await.is_ok()
        })
        .await
}
