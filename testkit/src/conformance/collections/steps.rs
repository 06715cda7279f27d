//! What several scenarios do first: each step is a premise, which another scenario proves.

use infra_core::Ttl;

use super::Collection;
use crate::conformance::{Failure, Premise};

/// Adds members, whether they are new or not.
pub(crate) async fn put<T: Collection + ?Sized>(
    client: &T,
    key: &str,
    members: &[&str],
) -> Result<(), Failure> {
    let added = client.add(key, members).await;
    added.map(drop).premise("members are added")
}

/// Gives a key that is there a time to live.
pub(crate) async fn give_time<T: Collection + ?Sized>(
    client: &T,
    key: &str,
    ttl: impl Into<Ttl>,
) -> Result<(), Failure> {
    let given = client.expire(key, ttl.into()).await;
    given
        .premise("a key is given a time")?
        .premise("a key with members is there")
}

/// How long a key has to live.
pub(crate) async fn time_left<T: Collection + ?Sized>(client: &T, key: &str) -> Result<Option<Ttl>, Failure> {
    client.ttl(key).await.premise("a key is asked for its time")
}

/// Every member, in the order of their bytes.
pub(crate) async fn members<T: Collection + ?Sized>(client: &T, key: &str) -> Result<Vec<String>, Failure> {
    let mut members = client.members(key).await.premise("members are read")?;
    members.sort_unstable();
    Ok(members)
}
