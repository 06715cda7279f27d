//! What can be asked for: keys, times, results.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use infra_core::error::ErrorKind;
use infra_core::once::{Claim, ClaimRequest, Once, OnceConfig, OnceOptions, OnceStore, StoreOnce};

use super::steps::{Counted, claimed, execute, over, remembering};
use crate::conformance::{
    Failure, Harness, Outcome, Premise, check, check_eq, check_error, limits, long_lease,
};

/// A result above the bound is refused: by the store's limit before anything is stored, and by the caller's own.
pub async fn idemp_019_a_result_that_is_too_large_is_refused(harness: &Harness<dyn OnceStore>) -> Outcome {
    const LARGEST: usize = 64 * 1024 * 1024;
    let store = harness.client().await?;
    let lease = long_lease(&*store);
    let config = OnceConfig::development()
        .with_prefix("")
        .with_lease(lease)
        .with_max_result_bytes(10);
    let once = StoreOnce::new(Arc::clone(&store), config).premise("the lease fits the store")?;
    let own = harness.name("own");
    claimed(&*store, &own, "owner", lease).await?;
    store.release(&own, "owner").await.premise("an owner releases")?;
    let work = Counted::default();
    check_error!(
        once.execute_bytes(&own, remembering(&store), work.giving("eleven byte"))
            .await,
        ErrorKind::InvalidArgument,
        "a result above the caller's bound"
    );
    let largest = limits(&*store).max_value_bytes;
    if largest <= LARGEST {
        let key = harness.name("limit");
        claimed(&*store, &key, "owner", lease).await?;
        let too_large = Bytes::from(vec![0; largest + 1]);
        check_error!(
            store.complete(&key, "owner", too_large, lease).await,
            ErrorKind::InvalidArgument,
            "a result above the store's limit"
        );
    }
    Ok(())
}

/// A key that is empty or longer than declared is refused by every method; the longest one is not.
pub async fn idemp_020_keys_outside_the_limits_are_refused(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (base, lease) = (harness.name(""), long_lease(&*store));
    let longest = limits(&*store).max_key_bytes.saturating_sub(base.len());
    let key = format!("{base}{}", "k".repeat(longest));
    claimed(&*store, &key, "owner", lease).await?;
    for bad in [String::new(), format!("{key}k")] {
        let what = format!("a key of {} bytes", bad.len());
        let result = Bytes::from_static(b"done");
        let answers = [
            (
                "claim",
                store
                    .claim(ClaimRequest::new(bad.as_str(), "owner", lease))
                    .await
                    .map(drop),
            ),
            ("renew", store.renew(&bad, "owner", lease).await),
            ("complete", store.complete(&bad, "owner", result, lease).await),
            ("release", store.release(&bad, "owner").await),
            (
                "wait_for_change",
                store.wait_for_change(&bad, Duration::from_millis(10)).await,
            ),
            ("clear", store.clear(&bad).await.map(drop)),
            ("status", store.status(&bad).await.map(drop)),
        ];
        for (method, answer) in answers {
            check_error!(answer, ErrorKind::InvalidArgument, "{method} with {what}");
        }
    }
    Ok(())
}

/// A lease or a time to remember of zero or outside the declared limits is refused, and the work is not begun.
pub async fn idemp_027_times_outside_the_limits_are_refused(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (key, lease) = (harness.name("key"), long_lease(&*store));
    let limits = limits(&*store);
    let once = over(&store, lease)?;
    claimed(&*store, &key, "owner", lease).await?;
    let work = Counted::default();
    for time in [
        Duration::ZERO,
        limits.min_ttl.saturating_sub(Duration::from_nanos(1)),
        limits.max_ttl.saturating_add(Duration::from_secs(1)),
    ] {
        let claim = store
            .claim(ClaimRequest::new(harness.name("new"), "owner", time))
            .await;
        check_error!(claim, ErrorKind::InvalidArgument, "claim for {time:?}");
        check_error!(
            store.renew(&key, "owner", time).await,
            ErrorKind::InvalidArgument,
            "renew for {time:?}"
        );
        check_error!(
            store.complete(&key, "owner", Bytes::new(), time).await,
            ErrorKind::InvalidArgument,
            "complete for {time:?}"
        );
        let other = harness.name("other");
        let executed = once.execute_bytes(&other, OnceOptions::new(time), work.giving("done"));
        check_error!(
            executed.await,
            ErrorKind::InvalidArgument,
            "executing for {time:?}"
        );
    }
    check_eq!(work.begun(), 0, "how often the work was begun");
    Ok(())
}

const WEIRD: &[&str] = &[
    "/", "//", "/..", "/a", "/a/", "/A", "%2f", "%2F", "%", "_", "*", "?", "\\", "'", "\"", ":", "{x}", "#",
    " ", "\n", "\u{0}", "é", "e\u{301}", "单", "\u{200b}",
];

/// Keys are data: no two of them are one, whatever they look like.
pub async fn idemp_034_similar_keys_are_different_keys(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (base, lease) = (harness.name("key"), long_lease(&*store));
    claimed(&*store, &base, "owner of the base", lease).await?;
    for ending in WEIRD {
        let key = format!("{base}{ending}");
        match store
            .claim(ClaimRequest::new(
                key.as_str(),
                format!("owner of {ending:?}"),
                lease,
            ))
            .await
        {
            Ok(Claim::Acquired { .. }) => {}
            Ok(other) => {
                return Err(Failure::broken(format!(
                    "{key:?} is taken for another key: {other:?}"
                )));
            }
            // A store may refuse what it cannot keep apart.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Results and requests stand in no error: they may hold anything.
pub async fn idemp_035_errors_show_no_results(harness: &Harness<dyn OnceStore>) -> Outcome {
    const SECRET: &str = "card 4111";
    let store = harness.client().await?;
    let (key, lease) = (harness.name("key"), long_lease(&*store));
    claimed(&*store, &key, "owner", lease).await?;
    let foreign = store
        .complete(&key, "another", Bytes::from_static(SECRET.as_bytes()), lease)
        .await;
    let foreign = foreign.err().premise("only the owner completes")?;
    let once = over(&store, lease)?;
    let other = harness.name("other");
    let request = remembering(&store).with_fingerprint(SECRET);
    execute(&once, &other, request, Counted::default().giving(SECRET)).await?;
    let different = remembering(&store).with_fingerprint("card 5222");
    let refused = once
        .execute_bytes(&other, different, Counted::default().giving(SECRET))
        .await;
    let refused = refused.err().premise("another request is refused")?;
    for error in [foreign, refused] {
        let shown = format!("{error} {error:?}");
        check!(
            !shown.contains(SECRET) && !shown.contains("5222"),
            "an error shows what was to be stored"
        );
    }
    Ok(())
}
