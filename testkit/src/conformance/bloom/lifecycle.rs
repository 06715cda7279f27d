//! What is refused before the server is asked, what errors show, shutdown, and a server that is away.

use infra_core::cache::Bloom;
use infra_core::error::ErrorKind;

use super::steps::{PRECISE, contains, put, reserve};
use crate::conformance::answers::{Answers, all_refused, all_unavailable};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, SLACK, check, limits};

/// Every operation on one filter.
async fn all_on(cache: &dyn Bloom, key: &str) -> Answers {
    vec![
        ("bloom_contains", cache.bloom_contains(key, b"a").await.map(drop)),
        ("bloom_add", cache.bloom_add(key, b"a").await.map(drop)),
        ("bloom_reserve", cache.bloom_reserve(key, PRECISE).await),
    ]
}

/// An empty or oversized key, and adding an oversized item, are refused, whether the server can be asked or not.
pub async fn bloom_015_bad_sizes_are_refused_without_the_server(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let (key, limits) = (harness.name("key"), limits(&*cache));
    let long_key = "k".repeat(limits.max_key_bytes + 1);
    let large = vec![b'0'; limits.max_value_bytes + 1];
    reserve(&*cache, &key).await?;
    let mut answers = Vec::new();
    for away in [false, true] {
        if away {
            harness.disturb(Disturbance::GoAway).await?;
        }
        answers.extend(all_on(&*cache, "").await);
        answers.extend(all_on(&*cache, &long_key).await);
        answers.push(("bloom_add", cache.bloom_add(&key, &large).await.map(drop)));
    }
    harness.disturb(Disturbance::ComeBack).await?;
    all_refused(answers, ErrorKind::InvalidArgument, "with a bad size")
}

/// No error shows an item.
pub async fn bloom_016_errors_show_no_items(harness: &Harness<dyn Bloom>) -> Outcome {
    let cache = harness.client().await?;
    let (key, absent) = (harness.name("key"), harness.name("absent"));
    reserve(&*cache, &key).await?;
    let large = "hunter2".repeat(limits(&*cache).max_value_bytes / 7 + 1);
    for answer in [
        cache.bloom_add(&key, large.as_bytes()).await,
        cache.bloom_add(&absent, b"hunter3").await,
        cache.bloom_add("", b"hunter4").await,
        cache.bloom_contains("", b"hunter5").await,
    ] {
        let error = answer.err().premise("a bad call is refused")?;
        let said = format!("{error} {error:?}");
        check!(!said.contains("hunter"), "an error shows an item: {said}");
    }
    Ok(())
}

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub async fn bloom_017_after_shutdown_every_call_is_refused(harness: &Harness<dyn Bloom>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    let mut answers = all_on(&*ours, &key).await;
    answers.push(("health", ours.health().await));
    all_refused(answers, ErrorKind::Closed, "after shutdown")?;
    reserve(&*theirs, &key).await?;
    put(&*theirs, &key, b"a").await
}

/// While the server is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn bloom_018_an_unreachable_server_is_unavailable(harness: &Harness<dyn Bloom>) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let cache = harness.bare_client().await?;
    let key = harness.name("key");
    reserve(&*cache, &key).await?;
    put(&*cache, &key, b"b").await?;
    harness.disturb(Disturbance::GoAway).await?;
    let mut answers = all_on(&*cache, &key).await;
    answers.push(("health", cache.health().await));
    harness.disturb(Disturbance::ComeBack).await?;
    all_unavailable(answers)?;
    harness
        .eventually(SLACK * 5, "asking after the server came back", async || {
            contains(&*cache, &key, b"b").await.is_ok_and(|found| found)
        })
        .await
}
