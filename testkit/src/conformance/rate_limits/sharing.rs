//! Several buckets, several callers, several clients.

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::rate_limit::{RateLimitStore, Take};

use super::buckets::{quota, take};
use crate::conformance::answers::poll_then_drop;
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error};

/// Names that a careless join, a pattern or a hash tag would take for one another.
const STRANGE: [&str; 11] = [
    "a:b",
    "a_b",
    "a",
    "b",
    "a:",
    ":b",
    "a*",
    "a?",
    "{a}b",
    "a%3Ab",
    "ä\u{308} \n\0",
];

/// Two keys never share a bucket, whatever characters they consist of.
pub async fn limit_010_keys_never_share_a_bucket(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let (store, quota) = (harness.client().await?, quota(0.001, 1)?);
    for name in STRANGE {
        let decision = take(&*store, &harness.name(name), quota, 1).await?;
        check!(
            decision.allowed,
            "the bucket {name:?} was empty before its first use"
        );
    }
    Ok(())
}

/// 64 callers at once spend each token once.
pub async fn limit_011_racers_spend_each_token_once(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let (store, key, quota) = (harness.client().await?, harness.name("bucket"), quota(0.001, 40)?);
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (store, key) = (Arc::clone(&store), key.clone());
        racers.spawn(async move { take(&*store, &key, quota, 1).await });
    }
    let mut allowed = 0;
    while let Some(answer) = racers.join_next().await {
        allowed += u32::from(answer?.premise("a take is answered")?.allowed);
    }
    check_eq!(allowed, 40, "64 callers took tokens from a bucket of 40");
    Ok(())
}

/// A take from several buckets takes from all or from none; each decision says whether its own bucket held enough.
pub async fn limit_012_several_buckets_are_taken_all_or_none(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let store = harness.client().await?;
    let (rich, poor) = (together(harness, "rich"), together(harness, "poor"));
    let (many, one) = (quota(0.001, 10)?, quota(0.001, 1)?);
    take(&*store, &poor, one, 1)
        .await
        .premise("the poor bucket is emptied")?;
    let both = [
        Take::new(rich.as_str(), many, 10),
        Take::new(poor.as_str(), one, 1),
    ];
    let decisions = store.take(&both).await?;
    let allowed: Vec<bool> = decisions.iter().map(|decision| decision.allowed).collect();
    check_eq!(allowed, [true, false], "whether each bucket held enough");
    let all = take(&*store, &rich, many, 10)
        .await
        .premise("the rich bucket is asked again")?;
    check!(
        all.allowed,
        "a take that was denied as a whole took tokens from one of its buckets"
    );
    Ok(())
}

/// A bucket that is named twice in one take must hold the sum.
pub async fn limit_013_a_bucket_named_twice_must_hold_the_sum(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (store, key, quota) = (
        harness.client().await?,
        together(harness, "bucket"),
        quota(0.001, 5)?,
    );
    let twice = [
        Take::new(key.as_str(), quota, 3),
        Take::new(key.as_str(), quota, 3),
    ];
    let decisions = store.take(&twice).await?;
    check!(
        decisions.iter().any(|decision| !decision.allowed),
        "a bucket of 5 paid 3 twice: {decisions:?}"
    );
    Ok(())
}

/// Buckets are the server's: what one client took, another cannot take.
pub async fn limit_014_clients_share_the_buckets_of_the_server(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, quota) = (harness.name("bucket"), quota(0.001, 3)?);
    take(&*ours, &key, quota, 3)
        .await
        .premise("one client empties the bucket")?;
    check!(
        !take(&*theirs, &key, quota, 1).await?.allowed,
        "another client found a full bucket"
    );
    Ok(())
}

/// A take whose future is dropped has taken all of its tokens or none, wherever it was dropped; the bucket works on.
pub async fn limit_015_a_dropped_take_takes_all_or_nothing(harness: &Harness<dyn RateLimitStore>) -> Outcome {
    let store = harness.client().await?;
    for polls in 0..8_u32 {
        let quota = quota(0.001, 6)?;
        let (one, two) = (
            together(harness, &format!("one{polls}")),
            together(harness, &format!("two{polls}")),
        );
        let takes = [
            Take::new(one.as_str(), quota, 4),
            Take::new(two.as_str(), quota, 4),
        ];
        poll_then_drop(polls, store.take(&takes)).await;
        // What was sent may still be on its way.
        harness.pass(Duration::from_millis(50)).await;
        let ask = [
            Take::new(one.as_str(), quota, 1),
            Take::new(two.as_str(), quota, 1),
        ];
        let left: Vec<u64> = store
            .take(&ask)
            .await
            .premise("the buckets are asked")?
            .iter()
            .map(|d| d.remaining)
            .collect();
        check!(
            left == [5, 5] || left == [1, 1],
            "a take dropped after {polls} polls left {left:?} of 5 and 5: neither all nor nothing was taken"
        );
        check!(
            polls > 0 || left == [5, 5],
            "a take that was never polled took tokens: {left:?}"
        );
    }
    Ok(())
}

/// After shutdown every call is refused with Closed, and a second shutdown is fine.
pub async fn limit_016_a_store_that_was_shut_down_is_closed(
    harness: &Harness<dyn RateLimitStore>,
) -> Outcome {
    let (store, quota) = (harness.client().await?, quota(1.0, 1)?);
    store.shutdown(Duration::from_secs(5)).await?;
    store.shutdown(Duration::from_secs(5)).await?;
    let answer = take(&*store, &harness.name("bucket"), quota, 1).await;
    check_error!(answer, ErrorKind::Closed, "a take after shutdown");
    Ok(())
}

/// A key that may share a call with others of this run: stores without atomicity across keys need a common hash tag.
fn together(harness: &Harness<dyn RateLimitStore>, suffix: &str) -> String {
    format!("{{{}}}{suffix}", harness.name("bucket"))
}
