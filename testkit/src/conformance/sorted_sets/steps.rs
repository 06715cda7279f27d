//! What several scenarios of sorted sets do first: each step is a premise, which another scenario proves.

use infra_core::cache::{RankRange, ScoreRange, Scored, SortedSets};

use crate::conformance::{Failure, Premise};

/// Adds members with their scores.
pub(crate) async fn put(cache: &dyn SortedSets, key: &str, members: &[(&str, f64)]) -> Result<(), Failure> {
    let members: Vec<_> = members
        .iter()
        .map(|(member, score)| Scored::new((*member).to_owned(), *score))
        .collect();
    let added = cache.sorted_add(key, &members).await;
    added.map(drop).premise("members are added with their scores")
}

/// The names of members, in their order.
pub(crate) fn names(members: &[Scored]) -> Vec<String> {
    let name = |scored: &Scored| String::from_utf8_lossy(&scored.member).into_owned();
    members.iter().map(name).collect()
}

/// The names of members by rank.
pub(crate) async fn by_rank(
    cache: &dyn SortedSets,
    key: &str,
    range: RankRange,
) -> Result<Vec<String>, Failure> {
    Ok(names(&cache.sorted_range(key, range).await?))
}

/// The names of members by score.
pub(crate) async fn by_score(
    cache: &dyn SortedSets,
    key: &str,
    range: ScoreRange,
) -> Result<Vec<String>, Failure> {
    Ok(names(&cache.sorted_range_by_score(key, range).await?))
}
