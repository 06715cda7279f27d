//! Indexes and aliases.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::capability::Capability;
use infra_core::search::{FieldKind, Query, Search};

use super::{fill, ids, index, message, schema};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error, declares};

/// The same schema again is no error, so that every instance may ask at its start; another schema is.
pub async fn search_022_creating_an_index_again_succeeds_with_the_same_schema_only(
    harness: &Harness<dyn Search>,
) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    search.create_index(&index, schema()).await?;
    let other = schema().with_field("sent_at", FieldKind::Keyword);
    check_error!(
        search.create_index(&index, other).await,
        ErrorKind::AlreadyExists,
        "the index with another schema"
    );
    Ok(())
}

/// Whatever is asked of an index that is not there is NotFound, and creates none.
pub async fn search_023_an_unknown_index_is_not_found(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let absent = harness.name("absent");
    check_error!(
        search.search(&absent, Query::all()).await,
        ErrorKind::NotFound,
        "a search"
    );
    check_error!(
        search.bulk(&absent, vec![message(1, "x")]).await,
        ErrorKind::NotFound,
        "a write"
    );
    check_error!(search.get(&absent, "m001").await, ErrorKind::NotFound, "a read");
    check_error!(search.count(&absent).await, ErrorKind::NotFound, "a count");
    check_error!(search.refresh(&absent).await, ErrorKind::NotFound, "a refresh");
    check!(
        !search.index_exists(&absent).await?,
        "asking for an index made one"
    );
    Ok(())
}

/// What is written to one index is not in another.
pub async fn search_024_indexes_are_apart(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let (one, other) = (index(harness, &*search).await?, harness.name("others"));
    search
        .create_index(&other, schema())
        .await
        .premise("an index is created")?;
    fill(&*search, &one, vec![message(1, "hello")]).await?;
    search.refresh(&other).await.premise("a refresh")?;
    check!(
        ids(&*search, &other, Query::all()).await?.is_empty(),
        "a document of one index was found in another"
    );
    check!(
        search.get(&other, "m001").await?.is_none(),
        "a document of one index was read from another"
    );
    Ok(())
}

/// Deleting an index says whether there was one, and takes all of it away.
pub async fn search_025_a_deleted_index_is_gone(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    fill(&*search, &index, vec![message(1, "hello")]).await?;
    check!(
        search.index_exists(&index).await?,
        "an index that was created does not exist"
    );
    check!(
        search.delete_index(&index).await?,
        "deleting an index says that there was none"
    );
    check!(
        !search.delete_index(&index).await?,
        "deleting it again says that there was one"
    );
    check!(!search.index_exists(&index).await?, "a deleted index exists");
    search.create_index(&index, schema()).await?;
    check!(
        search.get(&index, "m001").await?.is_none(),
        "an index that was made anew has a document of before"
    );
    Ok(())
}

/// An alias stands for its index, and moves to another in one step; undeclared, it is refused.
pub async fn search_026_an_alias_moves_in_one_step(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let (old, alias) = (index(harness, &*search).await?, harness.name("current"));
    if !declares(&*search, Capability::Aliases) {
        check_error!(
            search.set_alias(&alias, &old).await,
            ErrorKind::Unsupported,
            "an alias, not declared"
        );
        return Ok(());
    }
    let new = harness.name("messages2");
    search
        .create_index(&new, schema())
        .await
        .premise("an index is created")?;
    fill(&*search, &old, vec![message(1, "old")]).await?;
    fill(&*search, &new, vec![message(2, "new")]).await?;
    search.set_alias(&alias, &old).await?;
    check_eq!(
        ids(&*search, &alias, Query::all()).await?,
        ["m001"],
        "what the alias leads to"
    );
    search.set_alias(&alias, &new).await?;
    check_eq!(
        ids(&*search, &alias, Query::all()).await?,
        ["m002"],
        "what the alias leads to after it was moved"
    );
    check_error!(
        search.delete_index(&alias).await,
        ErrorKind::InvalidArgument,
        "deleting an index by its alias"
    );
    check_error!(
        search.set_alias(&old, &new).await,
        ErrorKind::AlreadyExists,
        "an alias with the name of an index"
    );
    Ok(())
}

/// After shutdown every call is refused with Closed, and a second shutdown is fine.
pub async fn search_027_a_search_that_was_shut_down_is_closed(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    search.shutdown(Duration::from_secs(10)).await?;
    search.shutdown(Duration::from_secs(10)).await?;
    check_error!(
        search.search(&index, Query::all()).await,
        ErrorKind::Closed,
        "a search after shutdown"
    );
    check_error!(
        search.bulk(&index, vec![message(1, "x")]).await,
        ErrorKind::Closed,
        "a write after shutdown"
    );
    Ok(())
}
