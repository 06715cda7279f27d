//! What holds for the key as a whole: its time to live and its type.

use infra_core::Ttl;
use infra_core::error::ErrorKind;

use super::Collection;
use super::steps::{give_time, members, put, time_left};
use crate::conformance::answers::all_refused;
use crate::conformance::{
    Disturbance, Harness, Outcome, Premise, check, check_eq, limits, long_lease, short_lease,
};

/// Adding and removing members leaves the time to live of the key as it is.
pub(crate) async fn writing_keeps_the_time_to_live<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    put(&*client, &key, &["a", "b"]).await?;
    let ttl = long_lease(&*client);
    give_time(&*client, &key, ttl).await?;
    put(&*client, &key, &["a", "c"]).await?;
    client.remove(&key, &["b"]).await.premise("a member is removed")?;
    for (call, answer) in client.writes(&key, "1").await {
        answer.premise(call)?;
        let left = time_left(&*client, &key).await?;
        check!(
            matches!(left, Some(Ttl::After(left)) if left <= ttl),
            "after {call}, a key for {ttl:?} says {left:?}"
        );
    }
    Ok(())
}

/// When its time is over it is gone with all members, never later than declared: it counts nothing, and what is added is new.
pub(crate) async fn what_expired_is_gone_whole<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    put(&*client, &key, &["a", "b"]).await?;
    let ttl = short_lease(harness, &*client);
    give_time(&*client, &key, ttl).await?;
    check_eq!(
        members(&*client, &key).await?,
        ["a", "b"],
        "before its time is over"
    );
    harness.pass(ttl + limits(&*client).ttl_granularity).await;
    check_eq!(client.count(&key).await?, 0, "how many members expired ones are");
    let found = client.members(&key).await?;
    check!(found.is_empty(), "expired members are read: {found:?}");
    check_eq!(
        client.remove(&key, &["a"]).await?,
        0,
        "how many expired members there were"
    );
    check_eq!(
        client.add(&key, &["a"]).await?,
        1,
        "how many members are new after the old expired"
    );
    let left = time_left(&*client, &key).await?;
    check_eq!(
        left,
        Some(Ttl::Never),
        "the time of what was made after the old expired"
    );
    Ok(())
}

/// On a key that holds another type every operation of this one is a conflict.
pub(crate) async fn another_type_is_refused<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    harness
        .disturb(Disturbance::StoreText { key: key.clone() })
        .await?;
    let mut answers = client.reads(&key).await;
    answers.extend(client.writes(&key, "1").await);
    all_refused(answers, ErrorKind::Conflict, "on a key that holds a string")?;
    check!(client.exists(&key).await?, "what was there is gone");
    Ok(())
}
