//! What is refused before the server is asked, what errors show, shutdown, and a server that is away.

use std::time::Duration;

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::{Expected, KeyValue, KeyValueExt};
use infra_core::error::ErrorKind;

use super::steps::{put, text};
use crate::conformance::answers::{Answers, all_refused, all_unavailable, poll_then_drop};
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, check_error, limits,
};

/// Every operation on one key.
async fn all_on(cache: &dyn KeyValue, key: &str, value: &Bytes) -> Answers {
    let mut answers = reads_on(cache, key).await;
    answers.extend(writes_on(cache, key, value).await);
    answers
}

/// Every operation on one key that takes no value.
async fn reads_on(cache: &dyn KeyValue, key: &str) -> Answers {
    vec![
        ("get", cache.get(key).await.map(drop)),
        ("get_many", cache.get_many(&[key]).await.map(drop)),
        ("exists", cache.exists(key).await.map(drop)),
        ("ttl", cache.ttl(key).await.map(drop)),
        ("expire", cache.expire(key, Ttl::Never).await.map(drop)),
        ("delete", cache.delete(&[key]).await.map(drop)),
        (
            "compare_and_delete",
            cache.compare_and_delete(key, "0".into()).await.map(drop),
        ),
        ("incr_by", cache.incr_by(key, 0).await.map(drop)),
    ]
}

/// Every operation on one key that stores a value.
async fn writes_on(cache: &dyn KeyValue, key: &str, value: &Bytes) -> Answers {
    let (value, ttl) = (|| value.clone(), Ttl::Never);
    // Refused as a whole, or the only entry of it.
    let many = cache.set_many(&[(key, value())], ttl).await;
    let compared = cache.compare_and_set(key, Expected::Absent, value(), ttl).await;
    vec![
        ("set", cache.set(key, value(), ttl).await),
        ("set_many", many.and_then(|results| results.into_iter().collect())),
        (
            "set_if_absent",
            cache.set_if_absent(key, value(), ttl).await.map(drop),
        ),
        ("get_set", cache.get_set(key, value(), ttl).await.map(drop)),
        ("compare_and_set", compared.map(drop)),
    ]
}

/// An empty or oversized key and an oversized value are refused by every operation, whether the server can be asked or not.
pub async fn cache_019_bad_sizes_are_refused_without_the_server(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (key, limits) = (harness.name("key"), limits(&*cache));
    let small = Bytes::from("1");
    let long_key = "k".repeat(limits.max_key_bytes + 1);
    let large = Bytes::from(vec![b'0'; limits.max_value_bytes + 1]);
    let mut answers = Vec::new();
    for away in [false, true] {
        if away {
            harness.disturb(Disturbance::GoAway).await?;
        }
        for (what, batch) in [
            ("an empty key", all_on(&*cache, "", &small).await),
            ("a key that is too long", all_on(&*cache, &long_key, &small).await),
            (
                "a value that is too large",
                writes_on(&*cache, &key, &large).await,
            ),
        ] {
            answers.extend(batch.into_iter().map(|(call, answer)| (what, call, away, answer)));
        }
    }
    harness.disturb(Disturbance::ComeBack).await?;
    for (what, call, away, answer) in answers {
        let when = if away { "away" } else { "there" };
        check_error!(
            answer,
            ErrorKind::InvalidArgument,
            "{call} with {what} while the server is {when}"
        );
    }
    Ok(())
}

/// No error shows a value, not even to a debugger: neither the one that is there nor the one that was to be stored.
pub async fn cache_036_errors_show_no_values(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, r#""hunter2""#).await?;
    let large = "hunter3".repeat(limits(&*cache).max_value_bytes / 7 + 1);
    let answers = [
        cache.incr_by(&key, 1).await.map(drop),
        cache.get_json::<u32>(&key).await.map(drop),
        cache.set(&key, large.into(), Ttl::Never).await,
        cache
            .set(&key, "hunter4".into(), Ttl::After(Duration::ZERO))
            .await,
        cache.compare_and_delete("", "hunter5".into()).await.map(drop),
    ];
    for answer in answers {
        let error = answer.err().premise("a bad call is refused")?;
        let said = format!("{error} {error:?}");
        check!(!said.contains("hunter"), "an error shows a value: {said}");
    }
    Ok(())
}

/// After shutdown every call is refused; a second shutdown succeeds, and other clients are not concerned.
pub async fn cache_037_after_shutdown_every_call_is_refused(harness: &Harness<dyn KeyValue>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    ours.shutdown(SLACK).await?;
    ours.shutdown(SLACK).await?;
    let mut answers = all_on(&*ours, &key, &Bytes::from("1")).await;
    answers.push(("scan", ours.scan(&key, None, 10).await.map(drop)));
    answers.push(("delete_prefix", ours.delete_prefix(&key).await.map(drop)));
    answers.push(("health", ours.health().await));
    all_refused(answers, ErrorKind::Closed, "after shutdown")?;
    put(&*theirs, &key, "1").await?;
    Ok(())
}

/// While the server is away calls fail as unavailable, which may be tried again; when it is back they succeed.
pub async fn cache_038_an_unreachable_server_is_unavailable(harness: &Harness<dyn KeyValue>) -> Outcome {
    // Directly: a stack may say in its own way what it made of many failures.
    let cache = harness.bare_client().await?;
    let key = harness.name("key");
    put(&*cache, &key, "1").await?;
    harness.disturb(Disturbance::GoAway).await?;
    let mut answers = all_on(&*cache, &key, &Bytes::from("2")).await;
    answers.push(("scan", cache.scan(&key, None, 10).await.map(drop)));
    answers.push(("delete_prefix", cache.delete_prefix(&key).await.map(drop)));
    answers.push(("health", cache.health().await));
    harness.disturb(Disturbance::ComeBack).await?;
    all_unavailable(answers)?;
    harness
        .eventually(SLACK * 5, "reading after the server came back", async || {
            cache.get(&key).await.is_ok_and(|value| value.is_some())
        })
        .await
}

/// A write whose future is dropped was done or not: the value is the new or the old one, wherever it was dropped.
pub async fn cache_040_a_dropped_write_is_done_or_not(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    for polls in 0..8_u32 {
        let key = harness.name(&format!("key{polls}"));
        put(&*cache, &key, "old").await?;
        poll_then_drop(polls, cache.set(&key, "new".into(), Ttl::Never)).await;
        // What was sent may still be on its way.
        harness.pass(Duration::from_millis(50)).await;
        let value = text(&*cache, &key).await?;
        match (polls, value.as_deref()) {
            (_, Some("old")) | (1.., Some("new")) => {}
            (_, other) => {
                return Err(Failure::broken(format!(
                    "a write dropped after {polls} polls left {other:?}"
                )));
            }
        }
    }
    Ok(())
}

/// A value is no lease: it stays when the client that wrote it is shut down.
pub async fn cache_043_values_outlive_their_writer(harness: &Harness<dyn KeyValue>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    put(&*ours, &key, "1").await?;
    ours.shutdown(SLACK).await.premise("a client is shut down")?;
    check_eq!(
        text(&*theirs, &key).await?.as_deref(),
        Some("1"),
        "after its writer was shut down"
    );
    Ok(())
}
