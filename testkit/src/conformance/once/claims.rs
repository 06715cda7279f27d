//! The store itself: who owns a claim, and what only its owner can do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use infra_core::error::{ErrorKind, Result};
use infra_core::once::{Claim, ClaimRequest, OnceStatus, OnceStore};

use super::steps::claimed;
use crate::conformance::{
    Failure, Harness, Outcome, Premise, check, check_eq, check_error, long_lease, over_within, short_lease,
};

/// Fences strictly increase from owner to owner, however the one before ended.
pub async fn idemp_012_fences_grow_from_owner_to_owner(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (key, long, short) = (
        harness.name("key"),
        long_lease(&*store),
        short_lease(harness, &*store),
    );
    let mut fences = vec![claimed(&*store, &key, "first", long).await?];
    store.release(&key, "first").await.premise("an owner releases")?;
    fences.push(claimed(&*store, &key, "second", short).await?);
    harness.pass(over_within(&*store, short)).await;
    fences.push(claimed(&*store, &key, "third", long).await?);
    let result = Bytes::from_static(b"done");
    store
        .complete(&key, "third", result.clone(), short)
        .await
        .premise("an owner completes")?;
    harness.pass(over_within(&*store, short)).await;
    fences.push(claimed(&*store, &key, "fourth", long).await?);
    store
        .complete(&key, "fourth", result, long)
        .await
        .premise("an owner completes")?;
    store.clear(&key).await.premise("a key is cleared")?;
    fences.push(claimed(&*store, &key, "fifth", long).await?);
    check!(
        fences.windows(2).all(|pair| pair[0] < pair[1]),
        "the fences after release, expiry, result and clearing: {fences:?}"
    );
    Ok(())
}

/// A key whose first owner's claim is over, and which a second owner claimed.
struct Overtaken {
    store: Arc<dyn OnceStore>,
    key: String,
    lease: Duration,
}

impl Overtaken {
    async fn new(harness: &Harness<dyn OnceStore>) -> Result<Self, Failure> {
        let store = harness.client().await?;
        let (key, lease) = (harness.name("key"), short_lease(harness, &*store));
        claimed(&*store, &key, "first", lease).await?;
        harness.pass(over_within(&*store, lease)).await;
        claimed(&*store, &key, "second", long_lease(&*store)).await?;
        Ok(Self { store, key, lease })
    }

    /// The second owner still has its claim, and completes it.
    async fn second_completes(&self) -> Outcome {
        let Self { store, key, lease } = self;
        store
            .complete(key, "second", Bytes::from_static(b"second"), *lease)
            .await?;
        match store
            .claim(ClaimRequest::new(key.as_str(), "third", *lease))
            .await?
        {
            Claim::Done { result } => {
                check_eq!(result, Bytes::from_static(b"second"), "whose result is stored")
            }
            other => {
                return Err(Failure::broken(format!(
                    "the result of the owner is not there: {other:?}"
                )));
            }
        }
        Ok(())
    }
}

/// An owner that was overtaken cannot store its result, and does nothing to the new owner.
pub async fn idemp_014_a_lost_owner_cannot_complete(harness: &Harness<dyn OnceStore>) -> Outcome {
    let overtaken = Overtaken::new(harness).await?;
    let Overtaken { store, key, lease } = &overtaken;
    check_error!(
        store
            .complete(key, "first", Bytes::from_static(b"first"), *lease)
            .await,
        ErrorKind::LeaseLost,
        "completing a claim that another has"
    );
    overtaken.second_completes().await
}

/// An owner that was overtaken cannot renew.
pub async fn idemp_015_a_lost_owner_cannot_renew(harness: &Harness<dyn OnceStore>) -> Outcome {
    let overtaken = Overtaken::new(harness).await?;
    let Overtaken { store, key, lease } = &overtaken;
    check_error!(
        store.renew(key, "first", *lease).await,
        ErrorKind::LeaseLost,
        "renewing a claim that another has"
    );
    overtaken.second_completes().await
}

/// An owner that was overtaken cannot release, and the new owner keeps its claim.
pub async fn idemp_016_a_lost_owner_cannot_release(harness: &Harness<dyn OnceStore>) -> Outcome {
    let overtaken = Overtaken::new(harness).await?;
    let Overtaken { store, key, .. } = &overtaken;
    check_error!(
        store.release(key, "first").await,
        ErrorKind::LeaseLost,
        "releasing a claim that another has"
    );
    overtaken.second_completes().await
}

/// A claim that is over is as good as none, also where nobody came after it.
pub async fn idemp_017_a_claim_that_is_over_is_none(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (key, lease) = (harness.name("key"), short_lease(harness, &*store));
    claimed(&*store, &key, "late", lease).await?;
    harness.pass(over_within(&*store, lease)).await;
    check_error!(
        store.renew(&key, "late", lease).await,
        ErrorKind::LeaseLost,
        "renewing a claim that is over"
    );
    check_eq!(
        store.status(&key).await?,
        OnceStatus::Unknown,
        "the status of a claim that is over"
    );
    check_error!(
        store
            .complete(&key, "late", Bytes::from_static(b"late"), lease)
            .await,
        ErrorKind::LeaseLost,
        "completing a claim that is over"
    );
    Ok(())
}

/// The present owner may claim again, after a reply that was lost, and has the same fence.
pub async fn idemp_025_an_owner_may_claim_again(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (key, lease) = (harness.name("key"), long_lease(&*store));
    let fence = claimed(&*store, &key, "owner", lease).await?;
    let again = store
        .claim(ClaimRequest::new(key.as_str(), "owner", lease))
        .await?;
    check_eq!(again, Claim::Acquired { fence }, "the same claim a second time");
    Ok(())
}

/// Completing again succeeds, after a reply that was lost, and the first result stays.
pub async fn idemp_026_an_owner_may_complete_again(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let (key, lease) = (harness.name("key"), long_lease(&*store));
    claimed(&*store, &key, "owner", lease).await?;
    let result = Bytes::from_static(b"done");
    store
        .complete(&key, "owner", result.clone(), lease)
        .await
        .premise("an owner completes")?;
    store.complete(&key, "owner", result.clone(), lease).await?;
    let stored = store
        .claim(ClaimRequest::new(key.as_str(), "another", lease))
        .await?;
    check_eq!(stored, Claim::Done { result }, "the result after two completions");
    Ok(())
}

/// Of many who claim a key at one time one gets it.
pub async fn idemp_032_of_many_claims_one_is_granted(harness: &Harness<dyn OnceStore>) -> Outcome {
    let clients = [harness.client().await?, harness.client().await?];
    let lease = long_lease(&*clients[0]);
    for round in 0..4 {
        let key = harness.name(&format!("key{round}"));
        let mut racers = Vec::new();
        for racer in 0..64 {
            let store = Arc::clone(&clients[racer % clients.len()]);
            let request = ClaimRequest::new(key.as_str(), format!("racer{racer}"), lease);
            racers.push(tokio::spawn(async move { store.claim(request).await }));
        }
        let mut granted = 0;
        for racer in racers {
            match racer.await?? {
                Claim::Acquired { .. } => granted += 1,
                Claim::InProgress { .. } => {}
                other => return Err(Failure::premise(format!("work in progress is called {other:?}"))),
            }
        }
        (granted > 0).premise("a free key is claimed")?;
        check_eq!(granted, 1, "how many of 64 were given the key {key}");
    }
    Ok(())
}
