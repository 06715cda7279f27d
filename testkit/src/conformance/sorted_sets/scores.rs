//! Ranges of scores.

use infra_core::cache::ScoreBound::{Excluded, Included, Unbounded};
use infra_core::cache::{ScoreBound, ScoreRange, SortedSets};

use super::steps::{by_score, put};
use crate::conformance::{Failure, Harness, Outcome, Premise, check_eq};

fn range(min: ScoreBound, max: ScoreBound) -> ScoreRange {
    ScoreRange::ALL.with_min(min).with_max(max)
}

/// Checks that a range holds these members, ascending, descending and counted.
async fn holds(cache: &dyn SortedSets, key: &str, range: ScoreRange, expected: &str) -> Outcome {
    let found = by_score(cache, key, range).await?.concat();
    check_eq!(found, expected, "the members in {range:?}");
    let found = by_score(cache, key, range.descending()).await?.concat();
    let reversed: String = expected.chars().rev().collect();
    check_eq!(found, reversed, "the members in {range:?}, descending");
    let count = cache.sorted_count(key, range).await?;
    check_eq!(
        count,
        expected.len() as u64,
        "how many members there are in {range:?}"
    );
    Ok(())
}

/// Three members of the scores 1, 2 and 3.
async fn three(cache: &dyn SortedSets, key: &str) -> Result<(), Failure> {
    put(cache, key, &[("a", 1.0), ("b", 2.0), ("c", 3.0)]).await
}

/// A bound includes its score, excludes it, or is none.
pub async fn zset_016_bounds_are_included_or_not(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    three(&*cache, &key).await?;
    for (min, max, expected) in [
        (Unbounded, Unbounded, "abc"),
        (Included(1.0), Included(3.0), "abc"),
        (Excluded(1.0), Included(3.0), "bc"),
        (Included(1.0), Excluded(3.0), "ab"),
        (Excluded(1.0), Excluded(3.0), "b"),
        (Unbounded, Excluded(2.0), "a"),
        (Excluded(2.0), Unbounded, "c"),
        (Included(2.0), Included(2.0), "b"),
        (Included(1.5), Included(1.75), ""),
        (Included(-9.0), Excluded(-8.0), ""),
    ] {
        holds(&*cache, &key, range(min, max), expected).await?;
    }
    Ok(())
}

/// Neighbouring numbers are told apart by a bound.
pub async fn zset_017_bounds_keep_full_precision(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    for (number, score) in [0.1_f64, 1_766_000_000_123.456_7, 1e-300, 9_007_199_254_740_991.0]
        .into_iter()
        .enumerate()
    {
        let key = harness.name(&format!("key{number}"));
        let members = [("a", score.next_down()), ("b", score), ("c", score.next_up())];
        put(&*cache, &key, &members).await?;
        for (member, score) in members {
            let kept = cache.sorted_score(&key, member.into()).await;
            (kept.premise("a score is read")? == Some(score)).premise("scores keep full precision")?;
        }
        holds(&*cache, &key, range(Included(score), Unbounded), "bc").await?;
        holds(&*cache, &key, range(Excluded(score), Unbounded), "c").await?;
        holds(&*cache, &key, range(Unbounded, Included(score)), "ab").await?;
        holds(&*cache, &key, ScoreRange::between(score, score), "b").await?;
    }
    Ok(())
}

/// Infinite bounds are bounds like others: included they hold what is infinite, excluded they leave it out.
pub async fn zset_018_infinite_bounds_hold(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let (least, most) = (f64::NEG_INFINITY, f64::INFINITY);
    put(&*cache, &key, &[("a", least), ("b", 0.0), ("c", most)]).await?;
    for (min, max, expected) in [
        (Included(least), Included(most), "abc"),
        (Excluded(least), Excluded(most), "b"),
        (Included(most), Unbounded, "c"),
        (Excluded(most), Unbounded, ""),
        (Unbounded, Included(least), "a"),
        (Unbounded, Excluded(least), ""),
    ] {
        holds(&*cache, &key, range(min, max), expected).await?;
    }
    Ok(())
}

/// A range whose lower end lies above its upper end, or that excludes its only score, holds nothing.
pub async fn zset_019_a_range_upside_down_is_empty(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    three(&*cache, &key).await?;
    for (min, max) in [
        (Included(3.0), Included(1.0)),
        (Excluded(2.0), Excluded(2.0)),
        (Included(2.0), Excluded(2.0)),
        (Excluded(2.0), Included(2.0)),
    ] {
        holds(&*cache, &key, range(min, max), "").await?;
    }
    Ok(())
}

/// An offset and a limit are of the result, in its order and within its bounds.
pub async fn zset_020_a_page_is_of_the_result(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let members = [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0), ("e", 5.0)];
    put(&*cache, &key, &members).await?;
    let four = ScoreRange::between(2.0, 5.0);
    for (offset, limit, up, down) in [
        (0, 2, "bc", "ed"),
        (1, 2, "cd", "dc"),
        (3, 9, "e", "b"),
        (4, 1, "", ""),
        (0, 0, "", ""),
        (0, u64::MAX, "bcde", "edcb"),
        (u64::MAX, u64::MAX, "", ""),
    ] {
        let found = by_score(&*cache, &key, four.page(offset, limit)).await?.concat();
        check_eq!(found, up, "{limit} members behind {offset}");
        let found = by_score(&*cache, &key, four.descending().page(offset, limit))
            .await?
            .concat();
        check_eq!(found, down, "{limit} members behind {offset}, descending");
    }
    let mut rest = four;
    rest.offset = 2;
    check_eq!(
        by_score(&*cache, &key, rest).await?.concat(),
        "de",
        "all members behind 2"
    );
    Ok(())
}

/// Counting ignores the offset and the limit of a range.
pub async fn zset_021_counting_ignores_the_page(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    three(&*cache, &key).await?;
    for (offset, limit) in [(0, 1), (2, 1), (9, 9), (0, 0)] {
        let page = ScoreRange::between(1.0, 2.0).page(offset, limit);
        let count = cache.sorted_count(&key, page).await?;
        check_eq!(count, 2, "how many members there are in {page:?}");
    }
    Ok(())
}
