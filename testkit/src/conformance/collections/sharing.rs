//! What several clients and several scopes see of one another.

use futures_util::future::try_join_all;

use super::Collection;
use super::steps::{members, put};
use crate::conformance::{Harness, Outcome, Premise, SLACK, check_eq};

/// Of racers that add the same members each is new to one of them, and none loses what another added.
pub(crate) async fn racers_add_each_member_once<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    const RACERS: usize = 8;
    const SHARED: [&str; 4] = ["a", "b", "c", "d"];
    let key = harness.name("key");
    let mut racers = Vec::new();
    for number in 0..RACERS {
        racers.push((harness.client().await?, format!("own {number}")));
    }
    let racing = racers.iter().map(|(client, own)| async {
        let mut mine = SHARED.to_vec();
        mine.push(own);
        client.add(&key, &mine).await
    });
    let new: u64 = try_join_all(racing).await?.iter().sum();
    let (client, _) = racers.first().premise("there is a racer")?;
    let found = members(&**client, &key).await?;
    check_eq!(
        found.len(),
        SHARED.len() + RACERS,
        "how many members {RACERS} racers left"
    );
    check_eq!(
        new,
        found.len() as u64,
        "how many members were new to the racers together"
    );
    Ok(())
}

/// Scopes keep members apart under one key, also a scope in another.
pub(crate) async fn scopes_keep_members_apart<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let (outer, inner) = (harness.name("outer"), harness.name("inner"));
    let paths: [&[&str]; 4] = [&[], &[&outer], &[&outer, &inner], &[&inner]];
    let key = harness.name("key");
    let mut scopes = Vec::new();
    for (number, path) in paths.into_iter().enumerate() {
        let client = harness.scoped_client(path).await?;
        check_eq!(
            client.count(&key).await?,
            0,
            "how many members others left in {path:?}"
        );
        let names: Vec<String> = (0..=number).map(|member| format!("{number}-{member}")).collect();
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        put(&*client, &key, &borrowed).await?;
        scopes.push((path, client, names));
    }
    for (path, client, names) in &scopes {
        check_eq!(members(&**client, &key).await?, *names, "the members in {path:?}");
        check_eq!(
            client.count(&key).await?,
            names.len() as u64,
            "how many there are in {path:?}"
        );
    }
    Ok(())
}

/// Others see what a client added, and see it still when that client was shut down.
pub(crate) async fn members_outlive_their_writer<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    put(&*ours, &key, &["a", "b"]).await?;
    check_eq!(
        members(&*theirs, &key).await?,
        ["a", "b"],
        "what another client added"
    );
    ours.close(SLACK).await.premise("a client is shut down")?;
    check_eq!(
        members(&*theirs, &key).await?,
        ["a", "b"],
        "after their writer was shut down"
    );
    Ok(())
}
